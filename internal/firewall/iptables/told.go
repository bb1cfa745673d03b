package iptables

import (
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// Told takes apart what script.tell and script.tellChain have put together.
func (b *Backend) Told(change string) (firewall.Change, bool) { return told(change) }

func told(text string) (c firewall.Change, ok bool) {
	where, what, ok := strings.Cut(text, ": ")
	if !ok {
		return c, false
	}
	if c.Command, c.Table, ok = strings.Cut(where, " "); !ok {
		return c, false
	}
	action, rest, ok := cutAction(what)
	if !ok {
		return c, false
	}
	c.Action = action
	c.Chain, c.Rule, _ = strings.Cut(rest, " ")
	if place, rule, found := strings.Cut(c.Rule, " "); found {
		if _, err := strconv.Atoi(place); err == nil { // no rule begins with a number
			c.Rule = rule
		}
	}
	return c, c.Chain != ""
}

// cutAction reads the beginning of a line for operators.
func cutAction(what string) (action, rest string, ok bool) {
	for _, a := range []struct{ prefix, action string }{
		{"delete -A ", firewall.Deleted}, {"move -A ", firewall.Moved}, {"-A ", firewall.Added},
		{"-I ", firewall.Added}, {"-N ", firewall.Added}, {"-X ", firewall.Deleted},
	} {
		if rest, ok = strings.CutPrefix(what, a.prefix); ok {
			return a.action, rest, true
		}
	}
	return "", "", false
}
