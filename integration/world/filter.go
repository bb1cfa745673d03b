package world

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The backends of the firewall that mybr can be told to use, and the variable that names the
// one of worlds that don't.
const (
	IPTables = "iptables"
	NFTables = "nftables"

	FirewallEnv = "MYBR_TEST_FIREWALL"
)

// firewall is the backend that $MYBR_TEST_FIREWALL names; "": none.
func firewall() (string, error) {
	name := os.Getenv(FirewallEnv)
	if name != "" && !slices.Contains([]string{IPTables, NFTables}, name) {
		return "", fmt.Errorf("%s: no backend %q of the firewall: want %s or %s", FirewallEnv, name, IPTables, NFTables)
	}
	return name, nil
}

// InShort is for Config.Firewall: the backend that a test has with -short, where one run
// plays some tests with either. Without -short there are two runs, and if
// $MYBR_TEST_FIREWALL names a backend it is that.
func InShort(backend string) string {
	if !Short() || os.Getenv(FirewallEnv) != "" {
		return ""
	}
	return backend
}

// Tables lists mybr's own tables of nf_tables on a host: the hooks of chains, the rules and
// the elements, one line each, with the table and what they are in. Only the backend
// nftables has them; the one in the family inet, which keeps flows going, is not among them.
func (p *Place) Tables() (lines []string) {
	return slices.Concat(p.table("ip mybr"), p.table("ip6 mybr"))
}

// Senders is likewise what checks who sends: with each backend, as long as somebody is checked.
func (p *Place) Senders() []string { return p.table("bridge mybr-spoof") }

// table is one of these, named by its family and its name; empty: there is none.
func (p *Place) table(table string) []string {
	r := p.Try(append([]string{"nft", "--stateless", "list", "table"}, strings.Fields(table)...)...)
	switch {
	case r.Code == 0:
		return TableLines(table, r.Out)
	case !strings.Contains(r.Err, "No such file or directory"): // ENOENT: there is no such table
		p.w.t.Fatalf("list table %s: exit code %d: %s", table, r.Code, r.Err)
	}
	return nil
}

// TableLines takes a table apart, as nft(8) lists it: the elements of a set may take several
// lines of its text.
func TableLines(table, text string) (lines []string) {
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
