package topology

import (
	"strings"

	"github.com/rivo/uniseg"
)

// draw puts the parts on a canvas. Lines that meet become corners and junctions by themselves.
func (d *textDrawing) draw() *canvas {
	c := &canvas{glyphs: d.glyphs, width: Width}
	c.frame(0, 2, d.hostRight(), d.end, double, "")
	title := edgeX
	if len(d.uplinks) > 0 {
		title = trunkX + 2
	}
	c.text(title, 2, " "+clip(d.hostTitle(), d.hostRight()-title-4, d.glyphs)+" ")
	d.drawEdge(c)
	for i := range d.bridges {
		d.drawBridge(c, i)
	}
	for i, text := range d.lastLines() {
		c.text(bridgeX, d.end-len(d.lastLines())+i, text)
	}
	for _, l := range d.links {
		if l.lane >= 0 {
			x := d.hostRight() + 2 + laneWidth*l.lane
			c.across(d.bridgeRight(), l.to, x, single)
			c.downTo(x, l.from, l.to, single)
			c.across(x, l.from, d.boxLeft(), single)
		}
	}
	for i, b := range d.boxes {
		c.frame(d.boxLeft(), b.top, d.boxRight(), b.end, double, d.boxTitle(i))
		for _, n := range b.nics {
			for k, line := range n.lines {
				c.text(d.boxLeft()+2, n.y+k, line)
			}
		}
	}
	return c
}

func (d *textDrawing) bridgeRight() int { return bridgeX + d.inner + 3 }
func (d *textDrawing) hostRight() int   { return d.bridgeRight() + 2 }
func (d *textDrawing) boxLeft() int     { return d.hostRight() + gap + 1 + laneWidth*d.lanes }

// drawEdge draws what is above the bridges: from the LAN to the trunk.
func (d *textDrawing) drawEdge(c *canvas) {
	top := d.edgeTop()
	if len(d.uplinks) > 0 {
		c.across(0, 0, d.hostRight()-5, single)
		c.text(d.hostRight()-3, 0, "LAN")
		c.downTo(trunkX, 0, top, single)
	} else {
		c.text(0, 0, "No interface leads outside.")
	}
	for i, line := range d.uplinks {
		text := strings.TrimLeft(line, " ")
		c.text(trunkX+len(line)-len(text), 3+i, text)
	}
	bottom := top + len(d.edge) + 1
	c.frame(edgeX, top, d.bridgeRight(), bottom, single, "")
	c.text(trunkX+1, top, " routing, NAT ")
	for i, line := range d.edge {
		c.text(edgeX+2, top+1+i, line)
	}
	trunk := bottom
	for i, n := range d.networks {
		if n.linked {
			trunk = d.bridges[i].top + 1
			c.across(trunkX, trunk, bridgeX, single)
		}
	}
	if trunk > bottom {
		c.downTo(trunkX, bottom, trunk, single)
	}
}

func (d *textDrawing) drawBridge(c *canvas, i int) {
	b := d.bridges[i]
	c.frame(bridgeX, b.top, d.bridgeRight(), b.end, single, d.networkTitle(i))
	for k, line := range b.head {
		c.text(bridgeX+2, b.top+1+k, line)
	}
	for _, p := range b.ports {
		c.text(d.bridgeRight()-1-uniseg.StringWidth(p.text), p.y, p.text)
		switch {
		case p.next:
			c.across(d.bridgeRight(), p.y, d.boxLeft(), single)
		case p.far != "":
			c.across(d.bridgeRight(), p.y, d.boxLeft(), single)
			c.text(d.boxLeft()+2, p.y, clip(p.far, d.box, d.glyphs))
		}
	}
}
