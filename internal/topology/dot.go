package topology

import (
	"bytes"
	"fmt"
	"strings"
)

// DOT describes the networks in Graphviz' language: `mybr topology --dot | dot -Tsvg`.
func (s Scene) DOT() []byte {
	var b bytes.Buffer
	b.WriteString("graph mybr {\n  rankdir=LR\n  fontname=monospace\n  node [shape=box, fontname=monospace]\n  edge [fontname=monospace]\n")
	if len(s.uplinks) > 0 {
		b.WriteString("  lan [label=\"LAN\", shape=ellipse]\n")
	}
	fmt.Fprintf(&b, "  subgraph cluster_host {\n    label=%s\n", dotText(strings.TrimSpace("host "+s.host)))
	for i, u := range s.uplinks {
		fmt.Fprintf(&b, "    uplink%d [label=%s]\n", i, dotText(append([]string{u.name}, u.addresses...)...))
	}
	fmt.Fprintf(&b, "    nat [label=%s, style=filled, fillcolor=lightyellow]\n", dotText(s.dotEdge()...))
	if s.more.uplinks > 0 {
		fmt.Fprintf(&b, "    uplinks [label=%s, style=dashed]\n", dotText(plural(s.more.uplinks, "more interface")))
	}
	for i, n := range s.networks {
		style := "rounded"
		if !n.linked {
			style = "rounded,dashed"
		}
		fmt.Fprintf(&b, "    bridge%d [label=%s, style=%q]\n", i, dotText(n.dotLines()...), style)
	}
	if s.more.networks > 0 {
		fmt.Fprintf(&b, "    others [label=%s, style=dashed]\n",
			dotText(plural(s.more.networks, "more network"), plural(s.more.endpoints, "endpoint")))
	}
	b.WriteString("  }\n")
	for i, box := range s.boxes {
		fmt.Fprintf(&b, "  container%d [label=%s]\n", i, dotText(box.dotLines()...))
	}
	s.dotEdges(&b)
	b.WriteString("}\n")
	return b.Bytes()
}

// dotEdges are the lines between the nodes.
func (s Scene) dotEdges(b *bytes.Buffer) {
	for i := range s.uplinks {
		fmt.Fprintf(b, "  lan -- uplink%d\n  uplink%d -- nat\n", i, i)
	}
	for i, n := range s.networks {
		if n.linked {
			fmt.Fprintf(b, "  nat -- bridge%d\n", i)
		} else { // Graphviz puts it beside the others then
			fmt.Fprintf(b, "  nat -- bridge%d [style=invis]\n", i)
		}
		if n.more > 0 {
			fmt.Fprintf(b, "  more%d [label=%s, style=dashed]\n  bridge%d -- more%d [style=dashed]\n",
				i, dotText(fmt.Sprintf("%d more", n.more)), i, i)
		}
	}
	for i, box := range s.boxes {
		for _, n := range box.nics {
			fmt.Fprintf(b, "  bridge%d -- container%d [label=%s]\n", n.network, i, dotText(n.veth))
		}
	}
}

func (s Scene) dotEdge() []string {
	lines := []string{"routing, NAT"}
	for _, p := range s.ports {
		text := p.from + " → " + p.to
		if p.note != "" {
			text += ", " + p.note
		}
		lines = append(lines, text)
	}
	if s.more.ports > 0 {
		lines = append(lines, fmt.Sprintf("… %d more", s.more.ports))
	}
	return lines
}

func (n network) dotLines() []string {
	lines := []string{n.title}
	if n.bridge != "" {
		lines = append(lines, n.bridge)
	}
	for _, a := range n.subnets {
		lines = append(lines, strings.TrimSpace(a.address+" "+a.mode))
	}
	return append(lines, n.notes...)
}

func (b box) dotLines() []string {
	lines := []string{b.title}
	for _, n := range b.nics {
		name := n.inside
		for _, a := range append(n.addresses, "")[:max(1, len(n.addresses))] {
			lines = append(lines, strings.TrimSpace(name+" "+a))
			name = strings.Repeat(" ", len(name))
		}
	}
	return lines
}

// dotText is a quoted string of lines. In those a backslash is the only character, beside
// the quotation mark, that means something (Graphviz: escString), and &…; is an entity.
func dotText(lines ...string) string {
	text := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;").Replace(strings.Join(lines, "\n"))
	return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"`
}
