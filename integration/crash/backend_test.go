package crash

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/firewall/nftables"
)

// usual is the backend of the firewall that lives are played with where a test says nothing
// else: $MYBR_TEST_FIREWALL, else iptables.
func usual() string {
	if name := os.Getenv("MYBR_TEST_FIREWALL"); name != "" {
		return name
	}
	return iptables.Name
}

// other is the backend that is not the usual one. Of lives with it only the places that are
// its own are of interest, where its commands or transactions begin and end: all others were
// the same.
func other() string {
	if usual() == nftables.Name {
		return iptables.Name
	}
	return nftables.Name
}

// ofBoth joins the places of a life with the usual backend and of one with the other one.
func ofBoth(usual, others []passage) []passage {
	own := func(p passage) bool { return strings.HasPrefix(p.point, other()+": ") }
	return slices.Concat(usual, slices.DeleteFunc(others, func(p passage) bool { return !own(p) }))
}

// rules lists what is mybr's of its tables of nf_tables: hooks, rules and elements, one line
// each, with the table and what they are in.
func (w *world) rules(t testing.TB) (lines []string) {
	t.Helper()
	for _, family := range []string{"ip", "ip6"} {
		text, err := w.host.Try("nft", "--stateless", "list", "table", family, "mybr")
		if err != nil {
			if !strings.Contains(err.Error()+text, "No such file or directory") { // ENOENT: there is no such table
				t.Fatalf("%v: %s", err, text)
			}
			continue
		}
		lines = append(lines, ofTable("nft "+family, text)...)
	}
	return lines
}

// ofTable takes a table apart, as nft(8) lists it: "elements" may take several lines.
func ofTable(table, text string) (lines []string) {
	in, elements := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if list, begins := strings.CutPrefix(line, "elements = {"); begins || elements {
			if begins {
				line = list
			}
			list, ended := strings.CutSuffix(line, "}")
			for e := range strings.SplitSeq(list, ",") {
				if e = strings.TrimSpace(e); e != "" {
					lines = append(lines, fmt.Sprintf("%s %s: %s", table, in, e))
				}
			}
			elements = !ended
			continue
		}
		name, block := strings.CutSuffix(line, " {")
		switch isChain := strings.HasPrefix(in, "chain "); {
		case block:
			in = name
		case isChain && line != "" && line != "}":
			lines = append(lines, fmt.Sprintf("%s %s: %s", table, in, line))
		}
	}
	return lines
}

// isRule reports whether a line of a picture is of the packet filter.
func isRule(line string) bool {
	return strings.HasPrefix(line, "iptables") || strings.HasPrefix(line, "ip6tables") || strings.HasPrefix(line, "nft ")
}

// isLast reports whether it is of the chain that makes the host no router for others, as
// MYBR-FORWARD-DROP does with iptables.
func isLast(line string) bool { return strings.Contains(line, " chain last: ") }

// flushed has all rules of the host removed.
func (w *world) flushed() {
	if w.firewall == nftables.Name {
		w.host.Run("nft", "flush", "ruleset")
		return
	}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat"} {
			w.host.Run(command, "-t", table, "-F")
			w.host.Run(command, "-t", table, "-X")
		}
	}
}

// A table is taken apart whatever the lines are that nft(8) has its elements in.
func TestTableIsTakenApart(t *testing.T) {
	text := `table ip mybr {
	map from {
		type ifname : verdict
		elements = { "br1" : goto a,
			     "br2" : goto b }
	}

	chain forward {
		type filter hook forward priority filter - 1; policy accept;
		iifname vmap @from
	}
}
`
	want := []string{`t map from: "br1" : goto a`, `t map from: "br2" : goto b`,
		"t chain forward: type filter hook forward priority filter - 1; policy accept;", "t chain forward: iifname vmap @from"}
	if have := ofTable("t", text); !slices.Equal(have, want) {
		t.Errorf("have %q", have)
	}
}
