package topology

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// at is the character of a place in a drawing.
func (c *canvas) at(x, y int) string {
	if cell := c.cell(x, y); cell.text != "" || cell.taken {
		return cell.text
	}
	return c.glyph(c.cell(x, y).lines)
}

// words are what stands in a row between two columns.
func (c *canvas) words(y, from, to int) string {
	var b strings.Builder
	for x := from; x <= to; x++ {
		b.WriteString(c.at(x, y))
	}
	return strings.TrimSpace(b.String())
}

// follow goes from an interface of a container along the line of its pair, and returns the
// row in which it comes to a bridge. It takes each turn and crosses straight on.
func (d *textDrawing) follow(t *rapid.T, c *canvas, y int) int {
	x := d.boxLeft() - 1
	for dx, dy := -1, 0; ; x, y = x+dx, y+dy {
		switch glyph := c.at(x, y); {
		case glyph == "├" && x == d.bridgeRight():
			return y
		case glyph == "─" && dy == 0, glyph == "│" && dx == 0, glyph == "┼", glyph == "╫" && dy == 0:
		case glyph == "┌" && dx == -1:
			dx, dy = 0, 1
		case glyph == "┘" && dy == 1:
			dx, dy = -1, 0
		default:
			t.Fatalf("the line is lost at column %d of row %d, which has %q:\n%s", x, y, glyph, c)
		}
	}
}

// TestTextFits: no text covers a frame, and each line leads from a container's interface to
// the port of its bridge that has the name of the pair's other end.
func TestTextFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, h := anyView(t)
		d := Of(v, h, anyLimits(t)).textDrawing(Unicode)
		c := d.draw()
		frame := func(x, top, end int) {
			for y := top; y <= end; y++ {
				if glyph := c.at(x, y); !strings.Contains("║╔╚╗╝╢╟╫│┌└┐┘┤├", glyph) {
					t.Fatalf("%q is in the frame at column %d of row %d:\n%s", glyph, x, y, c)
				}
			}
		}
		frame(0, 2, d.end)
		frame(d.hostRight(), 2, d.end)
		frame(d.bridgeRight(), d.edgeTop(), d.edgeTop()+len(d.edge)+1)
		row := 2
		for i, b := range d.bridges {
			if b.top <= row {
				t.Fatalf("bridge %d covers the one above:\n%s", i, c)
			}
			row = b.end
			frame(bridgeX, b.top, b.end)
			frame(d.bridgeRight(), b.top, b.end)
		}
		row = 0
		for i, b := range d.boxes {
			if b.top <= row {
				t.Fatalf("container %d covers the one above:\n%s", i, c)
			}
			row = b.end
			frame(d.boxLeft(), b.top, b.end)
			frame(d.boxLeft()+d.box+boxSide-1, b.top, b.end)
			for k, n := range b.nics {
				want := d.portText(end{i, k})
				if d.said[end{i, k}] {
					continue
				}
				y := d.follow(t, c, n.y)
				if have := c.words(y, bridgeX+1, d.bridgeRight()-1); have != strings.TrimSpace(want) {
					t.Fatalf("interface %d of container %d leads to %q, not %q:\n%s", k, i, have, want, c)
				}
				if on := d.bridges[d.Scene.boxes[i].nics[k].network]; y <= on.top || y >= on.end {
					t.Fatalf("interface %d of container %d leads to another bridge:\n%s", k, i, c)
				}
			}
		}
	})
}
