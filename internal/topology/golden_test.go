package topology

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Errorf("%s differs; go test ./internal/topology -run Golden -update writes it anew. Have:\n%s", path, have)
	}
}

// TestGoldenDocs: the pictures in the documents are what is drawn.
func TestGoldenDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/topology.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, e := range examples() {
		begin := "<!-- drawing: " + e.name + " -->\n```\n"
		before, rest, found := strings.Cut(text, begin)
		if !found {
			continue
		}
		_, after, found := strings.Cut(rest, "```\n")
		if !found {
			t.Fatalf("the drawing of %s has no end", e.name)
		}
		text = before + begin + Of(e.view, e.host, e.most).Text(Unicode) + "```\n" + after
	}
	golden(t, "../../../docs/topology.md", []byte(text))
	for _, e := range examples() {
		if e.name == "several" {
			golden(t, "../../../docs/topology.svg", Of(e.view, e.host, e.most).SVG())
		}
	}
}

func TestGolden(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			s := Of(e.view, e.host, e.most)
			golden(t, e.name+".txt", []byte(s.Text(Unicode)))
			golden(t, e.name+".ascii.txt", []byte(s.Text(ASCII)))
			golden(t, e.name+".svg", s.SVG())
			golden(t, e.name+".dot", s.DOT())
		})
	}
}
