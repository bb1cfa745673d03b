package topology

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// graphviz draws graphs, one or several, and returns the texts that are in the pictures.
func graphviz(t *testing.T, graphs []byte) []string {
	t.Helper()
	program, err := exec.LookPath("dot")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs graphviz")
	}
	cmd := exec.CommandContext(t.Context(), program, "-Tsvg")
	cmd.Stdin = bytes.NewReader(graphs)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	svg, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("dot: %v, %s", err, stderr.Bytes())
	}
	var all []string
	for _, picture := range strings.SplitAfter(string(svg), "</svg>") {
		_, picture, found := strings.Cut(picture, "<svg")
		if !found {
			continue
		}
		texts, err := wellFormed([]byte("<svg" + picture))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts["text"] {
			all = append(all, strings.ReplaceAll(text, "\u00a0", " "))
		}
	}
	return all
}

// TestGraphviz: each line of each node is drawn by Graphviz as it is.
func TestGraphviz(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			s := Of(e.view, e.host, e.most)
			texts := graphviz(t, s.DOT())
			want := s.dotEdge()
			for _, n := range s.networks {
				want = append(want, n.dotLines()...)
			}
			for _, b := range s.boxes {
				want = append(want, b.dotLines()...)
			}
			for _, line := range want {
				if !slices.Contains(texts, line) {
					t.Errorf("no %q among %q", line, texts)
				}
			}
		})
	}
}

// TestGraphvizTakesAny: whatever is in a view, what is made of it is a graph.
func TestGraphvizTakesAny(t *testing.T) {
	scene := rapid.Custom(func(t *rapid.T) Scene {
		v, h := anyView(t)
		return Of(v, h, anyLimits(t))
	})
	var graphs bytes.Buffer
	for seed := range 30 {
		graphs.Write(scene.Example(seed).DOT())
	}
	if texts := graphviz(t, graphs.Bytes()); !slices.Contains(texts, "routing, NAT") {
		t.Errorf("no edge among %q", texts)
	}
}
