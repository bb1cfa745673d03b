package iptables

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) { firewalltest.Main(m) }

// save is iptables-save of all tables without its comments.
func (k kind) save(h *nettest.Host) string {
	var out strings.Builder
	for line := range strings.Lines(k.Save(h)) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// rules returns one chain as iptables -S prints it, without the -A CHAIN.
func (k kind) rules(h *nettest.Host, table, chain string) []string {
	s := parseSave(k.save(h))
	rules, _ := s.chain(table, chain)
	return rules
}

// foreign is what iptables-save printed but for mybr's chains and jumps.
func foreign(save string) string {
	var out strings.Builder
	for line := range strings.Lines(save) {
		if !strings.Contains(line, ownPrefix) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// normal is what iptables-save printed with the rules that commute in one order, and
// without the empty built-in chains that the nf_tables variant makes and leaves.
func normal(save string) string {
	s := parseSave(save)
	var out strings.Builder
	for _, t := range s.tables {
		slices.SortFunc(t.chains, func(a, b savedChain) int { return strings.Compare(a.name, b.name) })
		for _, c := range t.chains {
			if len(c.rules) > 0 || strings.Contains(c.name, "-") {
				fmt.Fprintf(&out, "%s %s\n", t.name, c.name)
			}
			name, _, _ := strings.Cut(c.name, "/")
			switch {
			case name == chainForward: // networks commute, the rules of one don't
				sortOrdered(c.rules[min(1, len(c.rules)):])
			case name == chainDirect: // what is left is dropped last
				slices.Sort(c.rules[:max(0, len(c.rules)-1)])
			case slices.Contains([]string{chainIsolate, chainReplyIn, chainReplyOut, chainEgressNAT}, name):
			case strings.HasPrefix(name, chainPass), strings.HasPrefix(name, chainReplies),
				slices.Contains([]string{chainNoExit, chainNoEntry, chainFrom, chainTo, chainInput, chainLed}, name):
				sortOrdered(c.rules)
			case strings.HasPrefix(name, ownPrefix):
				slices.Sort(c.rules)
			}
			for _, r := range c.rules {
				fmt.Fprintf(&out, "-A %s %s\n", c.name, r)
			}
		}
	}
	return out.String()
}

// sortOrdered sorts rules by link, and those of none by their texts.
func sortOrdered(rules []string) {
	slices.SortStableFunc(rules, func(a, b string) int {
		if linkOf(a) == "" && linkOf(b) == "" {
			return strings.Compare(a, b)
		}
		return strings.Compare(linkOf(a), linkOf(b))
	})
}
