package explain

import (
	"fmt"
	"strings"
)

// Tables of routes that have names (rt_tables).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

func tableName(table int) string {
	switch table {
	case tableDefault:
		return "default"
	case tableMain:
		return "main"
	case tableLocal:
		return "local"
	}
	return fmt.Sprint(table)
}

// command is the program that shows and changes rules of its family.
func (p *Policy) command() string {
	if p.Six {
		return "ip -6 rule"
	}
	return "ip rule"
}

// text is the rule as ip-rule(8) takes it.
func (p *Policy) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pref %d", p.Priority)
	if p.Invert {
		b.WriteString(" not")
	}
	b.WriteString(" from " + orAll(p.Src.IsValid(), p.Src.String()))
	if p.Dst.IsValid() {
		b.WriteString(" to " + p.Dst.String())
	}
	if p.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x/%#x", p.Mark, p.Mask)
	}
	for _, link := range [][2]string{{"iif", p.In}, {"oif", p.Out}} {
		if link[1] != "" {
			b.WriteString(" " + link[0] + " " + link[1])
		}
	}
	switch p.Kind {
	case "":
		b.WriteString(" lookup " + tableName(p.Table))
		if p.Suppress >= 0 {
			fmt.Fprintf(&b, " suppress_prefixlength %d", p.Suppress)
		}
	case Goto:
		fmt.Fprintf(&b, " goto %d", p.Goto)
	default:
		b.WriteString(" " + p.Kind)
	}
	return b.String()
}

func orAll(given bool, text string) string {
	if given {
		return text
	}
	return "all"
}
