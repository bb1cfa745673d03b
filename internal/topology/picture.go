package topology

import (
	"fmt"
	"strings"

	"github.com/rivo/uniseg"
)

// A picture has the rows and columns of the text drawing, each this many units wide and
// high. The letters of monospaced fonts are 0.55 to 0.61 times as wide as the font is high,
// wide ones at most twice that: fontSize is such that they have a margin.
const (
	columnWidth = 8.0
	rowHeight   = 20.0
	fontSize    = 12.5
	margin      = 12.0 // around everything
	colours     = 6    // of networks; they come again
)

// picture is a Scene as shapes, in the order in which they are drawn.
type picture struct {
	width, height float64
	shapes        []shape
	lines         []line
	frames        []shape // drawn again over the lines: these pass through
	texts         []label
}

// shape is a rectangle. in is the one that it is in, -1 for the picture itself.
type shape struct {
	x, y, w, h float64
	class      string
	in         int
	about      string // shown by browsers when it is pointed at
}

// line goes from corner to corner, round ones.
type line struct {
	class  string
	points [][2]float64
}

// label is a text of one line.
type label struct {
	x, y    float64 // y: the middle
	parts   []part
	columns int    // how wide it is
	anchor  string // of SVG; "": x is where it begins
	in      int
}

type part struct{ class, text string }

func (p *picture) shape(s shape) int {
	p.shapes = append(p.shapes, s)
	return len(p.shapes) - 1
}

// text puts words into a row, from a column on.
func (p *picture) text(column, row, in int, parts ...part) {
	l := label{x: columnX(column), y: middle(row), parts: parts, in: in}
	for _, part := range parts {
		l.columns += uniseg.StringWidth(part.text)
	}
	if l.columns > 0 {
		p.texts = append(p.texts, l)
	}
}

func columnX(column int) float64 { return margin + float64(column)*columnWidth }
func rowY(row int) float64       { return margin + float64(row)*rowHeight }
func middle(row int) float64     { return rowY(row) + rowHeight/2 }

// frame is a rectangle around the rows from top, which has the title, to end, where there
// is no text.
func frame(left, top, right, end int, class string, in int) shape {
	x, y := columnX(left)+columnWidth/2, rowY(top)-rowHeight*0.2
	return shape{x: x, y: y, w: columnX(right) + columnWidth/2 - x, h: rowY(end) + rowHeight*0.4 - y, class: class, in: in}
}

func (s Scene) picture() *picture {
	d := s.textDrawing(Unicode)
	right := d.hostRight()
	if len(d.boxes) > 0 || d.counts() {
		right = d.boxRight()
	}
	last := d.end
	for _, b := range d.boxes {
		last = max(last, b.end)
	}
	p := &picture{width: columnX(right+1) + margin, height: rowY(last) + rowHeight/2 + margin}
	host := p.shape(frame(0, 2, d.hostRight(), d.end, "tp-ns", -1))
	p.frames = append(p.frames, p.shapes[host])
	d.pictureEdge(p, host)
	for i := range d.bridges {
		d.pictureBridge(p, i, host)
	}
	for i, text := range d.lastLines() {
		p.text(bridgeX, d.end-len(d.lastLines())+i, host, part{"tp-m", text})
	}
	for i := range d.boxes {
		d.pictureBox(p, i)
	}
	for _, l := range d.links {
		if l.lane >= 0 {
			x := columnX(d.hostRight()+2+laneWidth*l.lane) + columnWidth/2
			p.lines = append(p.lines, line{"tp-link tp-hop " + d.colour(l.end), [][2]float64{
				{columnX(d.bridgeRight()) + columnWidth/2, middle(l.to)}, {x, middle(l.to)}, {x, middle(l.from)},
				{columnX(d.boxLeft()) + columnWidth/2, middle(l.from)}}})
		}
	}
	return p
}

// counts reports whether something is counted beside a bridge.
func (d *textDrawing) counts() bool {
	for _, n := range d.networks {
		if n.more > 0 {
			return true
		}
	}
	return false
}

func (d *textDrawing) boxRight() int { return d.boxLeft() + d.box + boxSide - 1 }

// colour is the class of a network's lines.
func colour(network int) string { return fmt.Sprintf("tp-n%d", network%colours) }

func (d *textDrawing) colour(e end) string { return colour(d.Scene.boxes[e.box].nics[e.nic].network) }

// pictureEdge draws what is above the bridges.
func (d *textDrawing) pictureEdge(p *picture, host int) {
	top := d.edgeTop()
	trunk := columnX(trunkX) + columnWidth/2
	edge := frame(edgeX, top, d.bridgeRight(), top+len(d.edge)+1, "tp-box tp-edge", host)
	title := edgeX
	if len(d.uplinks) > 0 {
		title = trunkX + 2
		lan := p.shape(shape{x: columnX(0) + columnWidth/2, y: rowY(0), w: 6 * columnWidth, h: rowHeight * 1.2, class: "tp-lan", in: -1})
		p.texts = append(p.texts, label{x: trunk, y: rowY(0) + rowHeight*0.6, parts: []part{{"tp-t", "LAN"}}, columns: 3, anchor: "middle", in: lan})
		up := p.shape(shape{x: columnX(edgeX) + columnWidth/2, y: rowY(3) - 2, w: float64(d.bridgeRight()-edgeX) * columnWidth,
			h: float64(len(d.uplinks))*rowHeight + 4, class: "tp-box", in: host})
		for i, text := range d.uplinks {
			p.text(trunkX+1, 3+i, up, emphasize(text, d.uplinkName(text))...)
		}
		p.lines = append(p.lines,
			line{"tp-trunk", [][2]float64{{trunk, rowY(0) + rowHeight*1.2}, {trunk, rowY(3) - 2}}},
			line{"tp-trunk", [][2]float64{{trunk, rowY(top-1) + 2}, {trunk, edge.y}}})
	} else {
		p.text(0, 0, -1, part{"tp-m", "No interface leads outside."})
	}
	p.text(title, 2, host, part{"tp-t", clip(d.hostTitle(), d.hostRight()-title-2, d.glyphs)})
	p.texts[len(p.texts)-1].y -= 3 // farther from the interfaces below
	in := p.shape(edge)
	p.text(trunkX+1, top, in, part{"tp-t", "routing, NAT"})
	for i, text := range d.edge {
		from, to, arrow := strings.Cut(text, " → ")
		parts := []part{{"", text}}
		if arrow {
			parts = []part{{"tp-b", from}, {"tp-m", " → "}, {"", to}}
		}
		p.text(edgeX+2, top+1+i, in, parts...)
	}
	for i, n := range d.networks {
		if y := middle(d.bridges[i].top + 1); n.linked {
			p.lines = append(p.lines, line{"tp-trunk", [][2]float64{{trunk, edge.y + edge.h}, {trunk, y}, {columnX(bridgeX) + columnWidth/2, y}}})
		}
	}
}

// uplinkName is the name that a line begins with.
func (d *textDrawing) uplinkName(line string) string {
	for _, u := range d.Scene.uplinks {
		if u.name != "" && strings.HasPrefix(line+" ", u.name+" ") {
			return u.name
		}
	}
	return ""
}

// emphasize is a text that may begin with a name.
func emphasize(text, name string) []part {
	if rest, ok := strings.CutPrefix(text, name); ok && name != "" {
		return []part{{"tp-b", name}, {"", rest}}
	}
	return []part{{"", text}}
}

func (d *textDrawing) pictureBridge(p *picture, i, host int) {
	b, n := d.bridges[i], d.networks[i]
	class := "tp-box " + colour(i)
	if !n.linked {
		class += " tp-closed"
	}
	s := frame(bridgeX, b.top, d.bridgeRight(), b.end, class, host)
	s.about = "bridge " + n.bridge + " of network " + n.title
	in := p.shape(s)
	parts := []part{{"tp-t " + strings.Replace(colour(i), "tp-n", "tp-c", 1), clip(n.title, d.inner, d.glyphs)}}
	if room := d.inner - uniseg.StringWidth(parts[0].text); n.bridge != "" && room > 5 {
		parts = append(parts, part{"tp-m", clip(" · "+n.bridge, room, d.glyphs)})
	}
	p.text(bridgeX+2, b.top, in, parts...)
	for k, text := range b.head {
		p.text(bridgeX+2, b.top+1+k, in, part{"", text})
	}
	edge := columnX(d.bridgeRight()) + columnWidth/2
	for _, row := range b.ports {
		p.texts = append(p.texts, label{x: columnX(d.bridgeRight() - 1), y: middle(row.y), parts: []part{{"tp-m", row.text}},
			columns: uniseg.StringWidth(row.text), anchor: "end", in: in})
		beside := [][2]float64{{edge, middle(row.y)}, {columnX(d.boxLeft()) + columnWidth/2, middle(row.y)}}
		switch {
		case row.next:
			p.lines = append(p.lines, line{"tp-link " + colour(i), beside})
		case row.far != "":
			p.lines = append(p.lines, line{"tp-link tp-closed " + colour(i), beside})
			far := shape{x: columnX(d.boxLeft()) + columnWidth/2, y: rowY(row.y), w: float64(d.box+boxSide-1) * columnWidth, h: rowHeight, class: "tp-box tp-closed", in: -1}
			p.text(d.boxLeft()+2, row.y, p.shape(far), part{"tp-m", clip(row.far, d.box, d.glyphs)})
		}
	}
}

func (d *textDrawing) pictureBox(p *picture, i int) {
	b, rows := d.Scene.boxes[i], d.boxes[i]
	s := frame(d.boxLeft(), rows.top, d.boxRight(), rows.end, "tp-ns", -1)
	s.about = b.title
	in := p.shape(s)
	p.text(d.boxLeft()+2, rows.top, in, part{"tp-t", clip(d.boxTitle(i), d.box, d.glyphs)})
	for k, n := range rows.nics {
		for j, text := range n.lines {
			name := ""
			if j == 0 {
				name = b.nics[k].inside
			}
			p.text(d.boxLeft()+2, n.y+j, in, emphasize(text, name)...)
		}
	}
}
