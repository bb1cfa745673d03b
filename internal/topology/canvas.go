package topology

import (
	"strconv"
	"strings"

	"github.com/rivo/uniseg"
)

// Glyphs are the characters that a terminal can show.
type Glyphs int

// Of box drawing, or those of ASCII alone: other characters of names are escaped then.
const (
	Unicode Glyphs = iota
	ASCII
)

// say is a text in these characters.
func (g Glyphs) say(s string) string {
	if g == Unicode {
		return s
	}
	s = strings.NewReplacer("→", "->", "…", "...", "·", "-").Replace(s)
	quoted := strconv.QuoteToASCII(s)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}

// Where a line goes on from a cell.
const (
	up = 1 << iota
	right
	down
	left
)

// weight is how a line looks: the frames of network namespaces are double.
type weight int

const (
	single weight = iota
	double
)

// cell is one column of one row. The second column of a wide character is taken.
type cell struct {
	text  string
	taken bool
	lines [2]int // by weight
}

// canvas is a drawing of characters; it grows downwards.
type canvas struct {
	glyphs Glyphs
	width  int
	rows   [][]cell
}

func (c *canvas) cell(x, y int) *cell {
	for y >= len(c.rows) {
		c.rows = append(c.rows, make([]cell, c.width))
	}
	return &c.rows[y][x]
}

// text puts s over what is there, as far as there is room.
func (c *canvas) text(x, y int, s string) {
	for clusters := uniseg.NewGraphemes(s); clusters.Next(); {
		w := clusters.Width()
		if w == 0 && x > 0 { // goes with what it follows
			c.cell(x-1, y).text += clusters.Str()
			continue
		}
		if x+w > c.width {
			return
		}
		c.cell(x, y).text = clusters.Str()
		for i := 1; i < w; i++ {
			*c.cell(x+i, y) = cell{taken: true}
		}
		x += w
	}
}

// across draws a line from x to the right end, and downTo one from y to the lower end.
func (c *canvas) across(x, y, end int, w weight) {
	for i := x; i <= end; i++ {
		c.cell(i, y).lines[w] |= ifelse(i > x, left) | ifelse(i < end, right)
	}
}

func (c *canvas) downTo(x, y, end int, w weight) {
	for i := y; i <= end; i++ {
		c.cell(x, i).lines[w] |= ifelse(i > y, up) | ifelse(i < end, down)
	}
}

func (c *canvas) frame(x, y, endX, endY int, w weight, title string) {
	c.across(x, y, endX, w)
	c.across(x, endY, endX, w)
	c.downTo(x, y, endY, w)
	c.downTo(endX, y, endY, w)
	if title != "" {
		c.text(x+2, y, " "+clip(title, endX-x-5, c.glyphs)+" ")
	}
}

func ifelse(condition bool, bit int) int {
	if condition {
		return bit
	}
	return 0
}

// By the sum of directions, from 1 on.
const (
	singles = "│─└││┌├─┘─┴┐┤┬┼"
	doubles = "║═╚║║╔╠═╝═╩╗╣╦╬"
	asciis  = "|-+||++-+-+++++"
)

// glyph is the character of a cell's lines.
func (c *canvas) glyph(lines [2]int) string {
	one, two := lines[single], lines[double]
	if one|two == 0 {
		return " "
	}
	if c.glyphs == ASCII {
		if two == left|right && one == 0 {
			return "="
		}
		return asciis[(one|two)-1 : one|two]
	}
	switch lines {
	case [2]int{up, left | right}:
		return "╧"
	case [2]int{down, left | right}:
		return "╤"
	case [2]int{up | down, left | right}:
		return "╪"
	case [2]int{left, up | down}:
		return "╢"
	case [2]int{right, up | down}:
		return "╟"
	case [2]int{left | right, up | down}:
		return "╫"
	}
	const long = len("│") // as all of these are
	if two != 0 {
		return doubles[long*(two-1) : long*two]
	}
	return singles[long*(one-1) : long*one]
}

// String is the drawing without blanks at the ends of lines.
func (c *canvas) String() string {
	var b strings.Builder
	for _, row := range c.rows {
		var line strings.Builder
		for _, cell := range row {
			switch {
			case cell.taken:
			case cell.text != "":
				line.WriteString(cell.text)
			default:
				line.WriteString(c.glyph(cell.lines))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// clip is the beginning of a text that is too wide, with a sign that there is more.
func clip(s string, most int, g Glyphs) string {
	if uniseg.StringWidth(s) <= most {
		return s
	}
	sign := g.say("…")
	head, _ := split(s, max(0, most-uniseg.StringWidth(sign)))
	return head + sign
}

// split takes as much of s as is most columns wide.
func split(s string, most int) (head, rest string) {
	width := 0
	for clusters := uniseg.NewGraphemes(s); clusters.Next(); {
		if width += clusters.Width(); width > most {
			from, _ := clusters.Positions()
			return s[:from], s[from:]
		}
	}
	return s, ""
}

// wrap breaks a text into lines of at most most columns, at blanks where it can. Lines
// behind the first begin with indent.
func wrap(s string, most int, indent string) (lines []string) {
	prefix := ""
	for {
		head, rest := split(s, most-uniseg.StringWidth(prefix))
		if rest != "" {
			at := breakAt(head, rest)
			head, rest = s[:at], s[at:]
		}
		lines = append(lines, prefix+strings.TrimRight(head, " "))
		s = strings.TrimLeft(rest, " ")
		if s == "" || head == "" {
			return lines
		}
		prefix = indent
	}
}

// breakAt is where a text is best broken of which only head has room: at the last blank,
// else between the parts of an address.
func breakAt(head, rest string) int {
	if rest[0] == ' ' {
		return len(head)
	}
	if i := strings.LastIndex(head, " "); i > 0 {
		return i
	}
	if i := strings.LastIndex(head, "]:"); i > 0 {
		return i + len("]:")
	}
	if i := strings.LastIndex(head, "/"); i > len(head)/2 {
		return i
	}
	return len(head)
}

func widest(lines ...string) (w int) {
	for _, l := range lines {
		w = max(w, uniseg.StringWidth(l))
	}
	return w
}
