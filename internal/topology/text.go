package topology

import "fmt"

// Width is how many columns a text drawing has at most.
const Width = 100

// Columns of a text drawing, from the left: the host's frame, the trunk from the uplink to
// the bridges, their boxes; then the links, and the containers.
const (
	edgeX   = 2 // the box of the edge
	trunkX  = 3
	bridgeX = 5

	edgeMore  = 3                   // columns that the text of the edge has more than that of a bridge
	hostSide  = bridgeX + 2 + 2 + 2 // what is beside the text of a bridge: frames and blanks
	boxSide   = 4                   // what is beside the text of a container
	gap       = 3                   // between host and containers, without lanes
	laneWidth = 2
	mostLanes = 8
	textWidth = Width - hostSide - boxSide - gap // for bridges and containers together, without lanes
)

// textDrawing is a Scene being laid out in rows and columns.
type textDrawing struct {
	Scene
	glyphs  Glyphs
	inner   int // columns for the text of a bridge
	box     int // columns for the text of a container
	lanes   int
	uplinks []string
	edge    []string
	bridges []bridgeRows
	boxes   []boxRows
	links   []link
	said    map[end]bool // links that words stand for
	end     int          // the last row of the host's frame
}

// end is an interface of a container.
type end struct{ box, nic int }

// bridgeRows is where a bridge is drawn.
type bridgeRows struct {
	top, end int
	head     []string
	ports    []portRow
}

// portRow is a veth pair's row in a bridge, or that of those which are counted.
type portRow struct {
	y    int
	text string
	far  string // behind a line that leads nowhere
	next bool   // a line leads to the container beside
}

type boxRows struct {
	top, end int
	nics     []nicRows
}

type nicRows struct {
	y     int
	lines []string
}

// link is a veth pair of a container that is drawn beside another bridge. Its line goes
// through a lane, down to its bridge.
type link struct {
	end
	from, to int // rows
	lane     int // -1: all are taken
}

// Text draws for a terminal, in at most Width columns.
func (s Scene) Text(g Glyphs) string { return s.textDrawing(g).draw().String() }

func (s Scene) textDrawing(g Glyphs) *textDrawing {
	d := &textDrawing{Scene: s, glyphs: g, inner: textWidth, box: textWidth}
	d.place() // tells how wide everything is, and which lines go side by side
	room := textWidth - laneWidth*d.lanes
	need, inner, box := d.widths()
	if need+box > room {
		box = min(box, max(room/2, room-need))
	}
	inner = min(inner, room-box)
	d.inner, d.box = inner, box
	d.place()
	return d
}

// widths are those that nothing has to be broken for: need is that of the bridges, inner
// that of the edge, too.
func (d *textDrawing) widths() (need, inner, box int) {
	need = max(24, widest(d.hostTitle()), widest(d.lastLines()...))
	for i, b := range d.bridges {
		need = max(need, widest(b.head...), widest(d.networkTitle(i))+2)
		for _, p := range b.ports {
			need = max(need, widest(p.text))
		}
	}
	inner = max(need, widest(d.edge...)-edgeMore, widest(d.uplinks...)-edgeMore)
	box = 12
	for i, b := range d.boxes {
		box = max(box, widest(d.boxTitle(i))+2)
		for _, n := range b.nics {
			box = max(box, widest(n.lines...))
		}
	}
	return need, inner, box
}

// place gives everything its rows. Row 0 is the LAN.
func (d *textDrawing) place() {
	d.uplinks, d.edge = d.uplinkLines(d.inner+edgeMore), d.edgeLines(d.inner+edgeMore)
	d.bridges, d.boxes = make([]bridgeRows, len(d.networks)), make([]boxRows, len(d.Scene.boxes))
	d.links = nil
	y := d.edgeTop() + len(d.edge) + 3
	for i := range d.networks {
		y = d.placeNetwork(i, y) + 2
	}
	d.end = y - 1 + len(d.lastLines())
	d.route()
}

// edgeTop is the row of the edge's upper border: the uplinks are above.
func (d *textDrawing) edgeTop() int { return 4 + len(d.uplinks) }

// placeNetwork gives the i-th bridge and the containers beside it their rows from y on, and
// returns the last one.
func (d *textDrawing) placeNetwork(i, y int) int {
	b := bridgeRows{top: y, head: d.headLines(i)}
	next := y + len(b.head) + 1 // the first free row in the bridge
	for k := range d.links {    // of containers above
		l := &d.links[k]
		if n := d.Scene.boxes[l.box].nics[l.nic]; n.network == i {
			l.to = next
			b.ports = append(b.ports, portRow{y: next, text: d.portText(l.end)})
			next++
		}
	}
	boxTop, last := next-1, next-1
	for _, at := range d.networks[i].home {
		b.ports = append(b.ports, d.placeBox(at, i, boxTop)...)
		last = d.boxes[at].end
		boxTop = last + 1
	}
	if n := d.networks[i].more; n > 0 {
		last++
		b.ports = append(b.ports, portRow{y: last, text: d.glyphs.say("…"), far: d.glyphs.say(fmt.Sprintf("… %d more", n))})
	}
	b.end = y + len(b.head) + 1
	if len(b.ports) > 0 {
		b.end = b.ports[len(b.ports)-1].y + 1
	}
	d.bridges[i] = b
	return max(b.end, last)
}

// placeBox gives a container its rows from top on, and returns those of the bridge beside.
func (d *textDrawing) placeBox(at, beside, top int) (ports []portRow) {
	rows := boxRows{top: top}
	y := top + 1
	for i, n := range d.Scene.boxes[at].nics {
		e := end{at, i}
		lines := d.nicLines(n, e)
		rows.nics = append(rows.nics, nicRows{y, lines})
		if n.network == beside {
			ports = append(ports, portRow{y: y, text: d.portText(e), next: true})
		} else {
			d.links = append(d.links, link{end: e, from: y})
		}
		y += len(lines)
	}
	rows.end = y
	d.boxes[at] = rows
	return ports
}

// route gives the links their lanes. Of two, the one that begins higher has the lane farther
// left, so that lines between the same two networks don't cross. Which ones find a lane hangs
// on the order of rows alone, so that it is the same for every width.
func (d *textDrawing) route() {
	var busy [mostLanes]int // up to which row
	d.lanes, d.said = 0, make(map[end]bool)
	for k := range d.links {
		l := &d.links[k]
		l.lane = -1
		for i, until := range busy {
			if until < l.from {
				l.lane, busy[i] = i, l.to
				d.lanes = max(d.lanes, i+1)
				break
			}
		}
		if l.lane < 0 {
			d.said[l.end] = true
		}
	}
}
