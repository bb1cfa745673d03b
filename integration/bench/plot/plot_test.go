package plot

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func example() Plot {
	return Plot{
		Title: "What a packet costs", X: "networks", Y: "µs for a packet",
		Series: []Series{
			{Name: "bridge", Points: []Point{{1, 10, 9.5, 10.6}, {100, 11, 10.8, 11.4}, {500, 11.5, 11, 12}}},
			{Name: "mybr-iptables", Points: []Point{{1, 9.8, 9.1, 10.2}, {100, 48, 45, 52}, {500, 210, 190, 240}}},
			{Name: "<floor> & one point", Points: []Point{{1, 8, 8, 8}}},
		},
	}
}

func TestGolden(t *testing.T) {
	have := example().SVG()
	path := filepath.Join("testdata", "example.svg")
	if *update {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is out of date: go test ./integration/bench/plot -update, and look at it", path)
	}
}

// A name is a text, and the picture is XML, also with nothing to draw.
func TestWellFormed(t *testing.T) {
	for _, p := range []Plot{example(), {}, {Series: []Series{{Name: "none", Points: []Point{{0, 1, 1, 1}, {1, 0, 0, 0}, {1, math.Inf(1), 1, 1}}}}}} {
		for d := xml.NewDecoder(bytes.NewReader(p.SVG())); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if svg := string(example().SVG()); strings.Contains(svg, "<floor>") {
		t.Error("a name is not escaped")
	}
}

func TestEmpty(t *testing.T) {
	if example().Empty() || !(Plot{}).Empty() || !(Plot{Series: []Series{{Points: []Point{{0, 5, 5, 5}}}}}).Empty() {
		t.Error("what has values is empty, or what has none isn't")
	}
}

// Points lie where the logarithm puts them, and marks are of the scale.
func TestAxis(t *testing.T) {
	a := newAxis([]float64{3, 700}, 0, 100)
	if a.low != 2 || a.high != 1000 {
		t.Errorf("from %v to %v, want 2 to 1000", a.low, a.high)
	}
	if at := a.at(math.Sqrt(2 * 1000)); math.Abs(at-50) > 1e-9 {
		t.Errorf("the middle is at %v", at)
	}
	if one := newAxis([]float64{5}, 0, 100); one.low >= 5 || one.high <= 5 {
		t.Errorf("one value: %+v", one)
	}
	if have := newAxis([]float64{1, 100}, 0, 1).ticks(); len(have) != 7 {
		t.Errorf("two decades have %v", have)
	}
	if have := newAxis([]float64{1, 1e6}, 0, 1).ticks(); len(have) != 7 {
		t.Errorf("six decades have %v", have)
	}
	for _, v := range []float64{1, 2, 5, 10, 0.1, 0.002, 1000} {
		if below(v) != v || math.Abs(above(v)-v) > 1e-12 {
			t.Errorf("%v is a mark, and is rounded to %v and %v", v, below(v), above(v))
		}
	}
}

// An interval that isn't one does not draw a line into nowhere.
func TestShown(t *testing.T) {
	for _, p := range shown([]Point{{1, 5, math.Inf(-1), math.Inf(1)}, {2, 5, -3, 9}, {3, 5, math.NaN(), 6}, {-1, 2, 2, 2}}) {
		if p.Low != 5 || p.High != 5 {
			t.Errorf("%+v", p)
		}
	}
}
