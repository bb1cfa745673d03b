package topology

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// style has both themes. Its classes begin with tp- so that a page can hold the picture.
//
//go:embed style.css
var style string

// SVG draws for browsers: as a file of its own or inside of a page, in the reader's theme,
// without script or font of its own. Texts stay texts.
func (s Scene) SVG() []byte {
	p := s.picture()
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="tp" role="img" aria-labelledby="tp-title tp-desc" viewBox="0 0 %s %s" width="%s" height="%s">`+"\n",
		number(p.width), number(p.height), number(p.width), number(p.height))
	fmt.Fprintf(&b, "<title id=\"tp-title\">%s</title>\n<desc id=\"tp-desc\">%s</desc>\n", escape(s.title()), escape(strings.Join(s.prose(), " ")))
	fmt.Fprintf(&b, "<style>\n%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="tp-bg" width="%s" height="%s"/>`+"\n", number(p.width), number(p.height))
	for _, r := range p.shapes {
		writeShape(&b, r)
	}
	for _, l := range p.lines {
		if strings.Contains(l.class, "tp-hop") {
			fmt.Fprintf(&b, `<path class="tp-halo" d="%s"/>`+"\n", path(l.points))
		}
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`+"\n", l.class, path(l.points))
		if strings.HasPrefix(l.class, "tp-link") {
			writeEnds(&b, l)
		}
	}
	for _, r := range p.frames {
		r.class, r.about = "tp-wall", ""
		writeShape(&b, r)
	}
	for _, l := range p.texts {
		writeText(&b, l)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func writeShape(b *bytes.Buffer, r shape) {
	fmt.Fprintf(b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="5"`, r.class, number(r.x), number(r.y), number(r.w), number(r.h))
	if r.about == "" {
		b.WriteString("/>\n")
		return
	}
	fmt.Fprintf(b, "><title>%s</title></rect>\n", escape(r.about))
}

// writeEnds draws what is at the ends of a veth pair: a port of the bridge, an interface.
func writeEnds(b *bytes.Buffer, l line) {
	class := strings.NewReplacer("tp-link", "tp-end", " tp-hop", "", " tp-closed", "").Replace(l.class)
	for _, at := range [][2]float64{l.points[0], l.points[len(l.points)-1]} {
		fmt.Fprintf(b, `<circle class="%s" cx="%s" cy="%s" r="3.5"/>`+"\n", class, number(at[0]), number(at[1]))
	}
}

func writeText(b *bytes.Buffer, l label) {
	anchor := ""
	if l.anchor != "" {
		anchor = fmt.Sprintf(` text-anchor="%s"`, l.anchor)
	}
	fmt.Fprintf(b, `<text x="%s" y="%s"%s xml:space="preserve">`, number(l.x), number(l.y+fontSize*0.36), anchor)
	for _, p := range l.parts {
		if p.class == "" {
			b.WriteString(escape(p.text))
		} else {
			fmt.Fprintf(b, `<tspan class="%s">%s</tspan>`, p.class, escape(p.text))
		}
	}
	b.WriteString("</text>\n")
}

// round is how far from a corner its curve begins.
const round = 6.0

// path goes along horizontal and vertical lines, around corners.
func path(points [][2]float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%s %s", number(points[0][0]), number(points[0][1]))
	for i := 1; i < len(points); i++ {
		if i == len(points)-1 {
			fmt.Fprintf(&b, "L%s %s", number(points[i][0]), number(points[i][1]))
			break
		}
		before, after := toward(points[i], points[i-1]), toward(points[i], points[i+1])
		fmt.Fprintf(&b, "L%s %sQ%s %s %s %s", number(before[0]), number(before[1]),
			number(points[i][0]), number(points[i][1]), number(after[0]), number(after[1]))
	}
	return b.String()
}

// toward is a place near from, in the direction of to.
func toward(from, to [2]float64) [2]float64 {
	x, y := to[0]-from[0], to[1]-from[1]
	length := math.Hypot(x, y)
	if length == 0 {
		return from
	}
	r := min(round, length/2) / length
	return [2]float64{from[0] + x*r, from[1] + y*r}
}

func number(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }

// escape is for texts and attributes of XML. Control characters, which XML doesn't have, are
// not in a Scene.
func escape(s string) string { return html.EscapeString(s) }
