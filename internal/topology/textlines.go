package topology

import (
	"fmt"
	"strings"

	"github.com/rivo/uniseg"
)

func (d *textDrawing) hostTitle() string {
	return d.glyphs.say(strings.TrimSpace("host " + d.host))
}

func (d *textDrawing) networkTitle(i int) string {
	n := d.networks[i]
	if n.bridge == "" {
		return d.glyphs.say(n.title)
	}
	return d.glyphs.say(n.title + " · " + n.bridge)
}

func (d *textDrawing) boxTitle(i int) string { return d.glyphs.say(d.Scene.boxes[i].title) }

// uplinkLines have the name of each uplink before its first address.
func (d *textDrawing) uplinkLines(most int) (lines []string) {
	for _, u := range d.Scene.uplinks {
		lines = append(lines, d.listed(u.name, u.addresses, most)...)
	}
	if d.more.uplinks > 0 {
		lines = append(lines, d.glyphs.say("… "+plural(d.more.uplinks, "more interface")))
	}
	return lines
}

// listed has a name before the first of several texts, and the others below that one, or
// less far in if there is no room.
func (d *textDrawing) listed(name string, list []string, most int) (lines []string) {
	name = d.glyphs.say(name)
	if len(list) == 0 {
		return wrap(name, most, "  ")
	}
	if name != "" {
		name += " "
	}
	indent := strings.Repeat(" ", uniseg.StringWidth(name))
	if widest(list...)+len(indent) > most {
		indent = "  "
	}
	for i, text := range list {
		text = d.glyphs.say(text)
		lead := indent
		if i == 0 {
			lead = name
		}
		lines = append(lines, wrapBehind(lead, text, most, indent)...)
	}
	return lines
}

// wrapBehind wraps a text behind a lead.
func wrapBehind(lead, text string, most int, indent string) []string {
	blank := strings.TrimSpace(lead) == ""
	if !blank && uniseg.StringWidth(lead+text) > most {
		return append(wrap(strings.TrimSpace(lead), most, indent), wrapBehind(indent, text, most, indent)...)
	}
	lines := wrap(text, most-uniseg.StringWidth(lead), "")
	for i := range lines {
		lines[i] = lead + lines[i]
		lead = strings.Repeat(" ", uniseg.StringWidth(lead))
	}
	return lines
}

// edgeLines are the published ports. The arrows are below each other if there is room.
func (d *textDrawing) edgeLines(most int) (lines []string) {
	if len(d.ports) == 0 {
		return []string{"no published ports"}
	}
	column, broad := 0, 0
	for _, p := range d.ports {
		column = max(column, widest(d.glyphs.say(p.from)))
	}
	for _, p := range d.ports {
		broad = max(broad, column+widest(d.leadsTo(p)))
	}
	for _, p := range d.ports {
		from := d.glyphs.say(p.from)
		if broad <= most {
			from += strings.Repeat(" ", column-uniseg.StringWidth(from))
		}
		lines = append(lines, wrap(from+d.leadsTo(p), most, "  ")...)
	}
	if d.more.ports > 0 {
		lines = append(lines, wrap(d.glyphs.say(fmt.Sprintf("… %d more, see mybr ports", d.more.ports)), most, "  ")...)
	}
	return lines
}

func (d *textDrawing) leadsTo(p published) string {
	text := " → " + p.to
	if p.note != "" {
		text += ", " + p.note
	}
	return d.glyphs.say(text)
}

// headLines are what is said of a bridge.
func (d *textDrawing) headLines(i int) (lines []string) {
	n := d.networks[i]
	column := 0
	for _, s := range n.subnets {
		column = max(column, widest(s.address))
	}
	for _, s := range n.subnets {
		text := s.address
		if s.mode != "" {
			if uniseg.StringWidth(s.mode)+column+2 <= d.inner {
				text += strings.Repeat(" ", column-uniseg.StringWidth(text))
			}
			text += "  " + s.mode
		}
		lines = append(lines, wrap(d.glyphs.say(text), d.inner, "  ")...)
	}
	if len(n.notes) > 0 {
		lines = append(lines, wrap(d.glyphs.say(strings.Join(n.notes, " · ")), d.inner, "  ")...)
	}
	if len(lines) == 0 {
		lines = []string{"no addresses"}
	}
	return lines
}

// nicLines are the interface's name and its addresses.
func (d *textDrawing) nicLines(n nic, e end) []string {
	lines := d.listed(n.inside, n.addresses, d.box)
	if n.inside == "" && len(n.addresses) == 0 {
		lines = []string{"no address"}
	}
	if d.said[e] {
		lines = append(lines, clip("  on "+d.glyphs.say(d.networks[n.network].title), d.box, d.glyphs))
	}
	return lines
}

// portText is the host's end of a pair, and where it leads if words must say it.
func (d *textDrawing) portText(e end) string {
	b := d.Scene.boxes[e.box]
	text := d.glyphs.say(b.nics[e.nic].veth)
	if text == "" {
		text = "port"
	}
	if d.said[e] {
		text += " of " + d.glyphs.say(b.title)
	}
	return clip(text, d.inner, d.glyphs)
}

// lastLines are below the networks.
func (d *textDrawing) lastLines() []string {
	var text string
	switch {
	case d.more.networks > 0:
		text = fmt.Sprintf("… %s with %s", plural(d.more.networks, "more network"), plural(d.more.endpoints, "endpoint"))
	case len(d.networks) == 0:
		text = "no networks yet"
	default:
		return nil
	}
	return append(wrap(d.glyphs.say(text), d.inner, "  "), "")
}
