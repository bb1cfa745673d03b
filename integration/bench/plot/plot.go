// Package plot draws what something costs against its size, on logarithmic axes: a line that
// rises by a decade for each decade is a cost that grows as the size does, a level one a cost
// that doesn't grow.
//
//	svg := plot.Plot{Title: "…", X: "networks", Y: "µs for a packet", Series: …}.SVG()
//
// The picture is in the reader's theme, without script or font of its own. Lines differ by
// dashes and marks too, not by colours alone.
//
// Be aware: values that are not above nothing have no place on such an axis and are left
// out.
package plot

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

//go:embed style.css
var style string

// Point is one value, with the interval it is uncertain in.
type Point struct{ X, Y, Low, High float64 }

// Series is the points of one line, by rising X.
type Series struct {
	Name   string
	Points []Point
}

// Plot is one picture.
type Plot struct {
	Title, X, Y string
	Series      []Series
}

// Of the picture, in pixels.
const (
	width, height            = 720, 420
	left, right, top, bottom = 76, 190, 46, 54
)

// Empty tells whether there is nothing to draw.
func (p Plot) Empty() bool {
	for _, s := range p.Series {
		for _, at := range s.Points {
			if at.X > 0 && at.Y > 0 {
				return false
			}
		}
	}
	return true
}

// axis maps a decade range onto pixels.
type axis struct{ low, high, from, to float64 }

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-math.Log10(a.low))/(math.Log10(a.high)-math.Log10(a.low))*(a.to-a.from)
}

// newAxis has room for all values, and begins and ends at 1, 2 or 5 of a decade.
func newAxis(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	a := axis{below(low), above(high), from, to}
	if a.low == a.high {
		a.low, a.high = a.low/2, a.high*2
	}
	return a
}

// steps are the marks within a decade.
var steps = []float64{1, 2, 5, 10}

func below(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	found := decade
	for _, s := range steps {
		if s*decade <= v*(1+1e-9) {
			found = s * decade
		}
	}
	return found
}

func above(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, s := range steps {
		if s*decade >= v*(1-1e-9) {
			return s * decade
		}
	}
	return 10 * decade
}

// ticks are the marks of an axis: all of 1, 2 and 5, or the decades where those are many.
func (a axis) ticks() (all []float64) {
	few := math.Log10(a.high/a.low) > 3.01
	for decade := math.Floor(math.Log10(a.low)); decade <= math.Ceil(math.Log10(a.high)); decade++ {
		for _, s := range steps[:3] {
			v := s * math.Pow(10, decade)
			if v >= a.low*(1-1e-9) && v <= a.high*(1+1e-9) && (s == 1 || !few) {
				all = append(all, v)
			}
		}
	}
	return all
}

// SVG draws the plot.
func (p Plot) SVG() []byte {
	var xs, ys []float64
	for i := range p.Series {
		p.Series[i].Points = shown(p.Series[i].Points)
		for _, at := range p.Series[i].Points {
			xs, ys = append(xs, at.X), append(ys, at.Y, at.Low, at.High)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="pl" role="img" aria-labelledby="pl-title pl-desc" viewBox="0 0 %d %d" width="%d" height="%d">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"pl-title\">%s</title>\n<desc id=\"pl-desc\">%s</desc>\n<style>\n%s</style>\n", escape(p.Title), escape(p.prose()), style)
	fmt.Fprintf(&b, `<rect class="pl-bg" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="pl-title" x="%d" y="24">%s</text>`+"\n", left, escape(p.Title))
	if len(xs) > 0 {
		x, y := newAxis(xs, left, width-right), newAxis(ys, height-bottom, top)
		p.grid(&b, x, y)
		for i, s := range p.Series {
			line(&b, i, s, x, y)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// shown leaves out what has no place, and keeps intervals within what has.
func shown(points []Point) (all []Point) {
	for _, at := range points {
		if at.X <= 0 || at.Y <= 0 || math.IsInf(at.Y, 0) {
			continue
		}
		if !(at.Low > 0) || !(at.High >= at.Y) || math.IsInf(at.High, 0) {
			at.Low, at.High = at.Y, at.Y
		}
		all = append(all, at)
	}
	return all
}

func (p Plot) grid(b *bytes.Buffer, x, y axis) {
	for _, v := range x.ticks() {
		at := pixels(x.at(v))
		fmt.Fprintf(b, `<path class="pl-grid" d="M%s %dV%d"/><text class="pl-tick" x="%s" y="%d" text-anchor="middle">%s</text>`+"\n", at, top, height-bottom, at, height-bottom+18, number(v))
	}
	for _, v := range y.ticks() {
		at := y.at(v)
		fmt.Fprintf(b, `<path class="pl-grid" d="M%d %sH%d"/><text class="pl-tick" x="%d" y="%s" text-anchor="end">%s</text>`+"\n", left, pixels(at), width-right, left-8, pixels(at+4), number(v))
	}
	fmt.Fprintf(b, `<text class="pl-axis" x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-12, escape(p.X))
	fmt.Fprintf(b, `<text class="pl-axis" transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, escape(p.Y))
}

// line draws a series and its entry of the legend.
func line(b *bytes.Buffer, nth int, s Series, x, y axis) {
	class := fmt.Sprint("pl-s", nth%6)
	var d strings.Builder
	for i, at := range s.Points {
		d.WriteString(map[bool]string{true: "M", false: "L"}[i == 0] + pixels(x.at(at.X)) + " " + pixels(y.at(at.Y)))
	}
	if d.Len() > 0 {
		fmt.Fprintf(b, `<path class="pl-line %s" d="%s"/>`+"\n", class, d.String())
	}
	for _, at := range s.Points {
		if at.Low < at.High {
			fmt.Fprintf(b, `<path class="pl-range %s" d="M%s %sV%s"/>`+"\n", class, pixels(x.at(at.X)), pixels(y.at(at.Low)), pixels(y.at(at.High)))
		}
		mark(b, nth, class, x.at(at.X), y.at(at.Y))
	}
	row := float64(top + 12 + 22*nth)
	fmt.Fprintf(b, `<path class="pl-line %s" d="M%d %sh28"/>`, class, width-right+14, pixels(row))
	mark(b, nth, class, width-right+28, row)
	fmt.Fprintf(b, `<text x="%d" y="%s">%s</text>`+"\n", width-right+50, pixels(row+4), escape(s.Name))
}

// mark draws a point: a form for each series.
func mark(b *bytes.Buffer, nth int, class string, x, y float64) {
	forms := []string{"M-4 -4h8v8h-8z", "M0 -5L5 4H-5z", "M0 -5L5 0L0 5L-5 0z", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "M0 5L5 -4H-5z", "M-5 -2h10v4h-10z"}
	fmt.Fprintf(b, `<path class="pl-mark %s" transform="translate(%s %s)" d="%s"/>`+"\n", class, pixels(x), pixels(y), forms[nth%len(forms)])
}

// prose says what the picture shows to who doesn't see it.
func (p Plot) prose() string {
	var all []string
	for _, s := range p.Series {
		var points []string
		for _, at := range s.Points {
			points = append(points, fmt.Sprintf("%s at %s", number(at.Y), number(at.X)))
		}
		all = append(all, s.Name+": "+strings.Join(points, ", "))
	}
	return fmt.Sprintf("%s by %s. %s.", p.Y, p.X, strings.Join(all, "; "))
}

func pixels(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// number has three digits that count, or all of those before the point.
func number(f float64) string {
	if math.Abs(f) >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func escape(s string) string { return html.EscapeString(s) }
