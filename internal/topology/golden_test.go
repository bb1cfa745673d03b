package topology

import (
	"flag"
	"os"
	"path/filepath"
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
