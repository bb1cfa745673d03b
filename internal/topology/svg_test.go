package topology

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// checkPicture says what holds for every picture: shapes are inside of what they are in and
// cover nothing else, and texts have room, with a margin, and don't touch each other.
func checkPicture(p *picture) error {
	const (
		apart  = 4.0 // between shapes
		beside = 6.0 // a text and the frame around it
	)
	type area struct{ x, y, w, h float64 }
	around := func(in int) area {
		if in < 0 {
			return area{0, 0, p.width, p.height}
		}
		return area{p.shapes[in].x, p.shapes[in].y, p.shapes[in].w, p.shapes[in].h}
	}
	within := func(a, b area, margin float64) bool {
		return a.x >= b.x+margin && a.y >= b.y && a.x+a.w <= b.x+b.w-margin && a.y+a.h <= b.y+b.h
	}
	meet := func(a, b area, gap float64) bool {
		return a.x < b.x+b.w+gap && b.x < a.x+a.w+gap && a.y < b.y+b.h+gap && b.y < a.y+a.h+gap
	}
	for i, s := range p.shapes {
		a := area{s.x, s.y, s.w, s.h}
		if !within(a, around(s.in), 0) {
			return fmt.Errorf("shape %d (%s) is not inside of %d: %v, %v", i, s.class, s.in, a, around(s.in))
		}
		for j, o := range p.shapes[:i] {
			if o.in == s.in && meet(a, area{o.x, o.y, o.w, o.h}, apart) {
				return fmt.Errorf("shapes %d (%s) and %d (%s) meet: %v, %v", i, s.class, j, o.class, a, o)
			}
		}
	}
	var areas []area
	for _, l := range p.texts {
		// A column of a monospaced font is 0.61 times its size wide, at most.
		w := float64(l.columns) * fontSize * 0.61
		a := area{l.x, l.y - fontSize*0.6, w, fontSize * 1.2}
		switch l.anchor {
		case "end":
			a.x -= w
		case "middle":
			a.x -= w / 2
		}
		if !within(a, around(l.in), beside) {
			return fmt.Errorf("%q has no room: %v, %v", l.parts, a, around(l.in))
		}
		for j, o := range areas {
			if meet(a, o, 0) {
				return fmt.Errorf("%q and %q meet: %v, %v", l.parts, p.texts[j].parts, a, o)
			}
		}
		for j, s := range p.shapes {
			if s.in == l.in && j != l.in && meet(a, area{s.x, s.y, s.w, s.h}, 0) {
				return fmt.Errorf("%q is covered by shape %d (%s)", l.parts, j, s.class)
			}
		}
		areas = append(areas, a)
	}
	return nil
}

// wellFormed reads the XML to its end, and returns the texts of its elements by name.
func wellFormed(svg []byte) (map[string][]string, error) {
	texts := make(map[string][]string)
	var open []string
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if err == io.EOF {
			return texts, nil
		} else if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			name := token.Name.Local
			if name == "tspan" {
				name = ""
			} else {
				texts[name] = append(texts[name], "")
			}
			open = append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, name := range slices.Backward(open) {
				if name != "" {
					texts[name][len(texts[name])-1] += string(token)
					break
				}
			}
		}
	}
}

func TestPictureHasRoomForAll(t *testing.T) {
	for _, e := range examples() {
		if err := checkPicture(Of(e.view, e.host, e.most).picture()); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}

// TestAnyPicture: a browser reads what is drawn of any view, as the texts that they are.
func TestAnyPicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, h := anyView(t)
		s := Of(v, h, anyLimits(t))
		p := s.picture()
		if err := checkPicture(p); err != nil {
			t.Fatal(err)
		}
		texts, err := wellFormed(s.SVG())
		if err != nil {
			t.Fatal(err)
		}
		for name := range texts {
			if !slices.Contains([]string{"svg", "title", "desc", "style", "rect", "path", "circle", "text"}, name) {
				t.Fatalf("there is an element %s", name)
			}
		}
		var want []string
		for _, l := range p.texts {
			text := ""
			for _, part := range l.parts {
				text += part.text
			}
			want = append(want, text)
		}
		if !slices.Equal(texts["text"], want) {
			t.Fatalf("texts are %q, not %q", texts["text"], want)
		}
		prose := texts["desc"][0]
		for _, b := range s.boxes {
			if !strings.Contains(prose, b.title) {
				t.Fatalf("the description lacks %q: %s", b.title, prose)
			}
		}
	})
}

// TestContrast: texts have at least the contrast of 4.5 to what is behind them, and lines
// that of 3 (WCAG 2.2, 1.4.3 and 1.4.11), in both themes.
func TestContrast(t *testing.T) {
	light, dark, ok := strings.Cut(style, "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("there is no dark theme")
	}
	for theme, css := range map[string]string{"light": light, "dark": dark} {
		colours := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z0-9]+): #([0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			colours[m[1]] = luminance(m[2])
		}
		for _, behind := range []string{"bg", "ns", "box", "edge", "lan"} {
			for name, least := range map[string]float64{"text": 4.5, "muted": 4.5, "line": 3,
				"n0": 4.5, "n1": 4.5, "n2": 4.5, "n3": 4.5, "n4": 4.5, "n5": 4.5} {
				a, known := colours[name]
				b, alsoKnown := colours[behind]
				if !known || !alsoKnown {
					t.Fatalf("%s: no colour %s or %s", theme, name, behind)
				}
				if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < least {
					t.Errorf("%s: %s on %s has the contrast %.2f, want %.1f", theme, name, behind, ratio, least)
				}
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(hex string) (l float64) {
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, _ := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		c := float64(n) / 255
		if c <= 0.04045 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return l
}
