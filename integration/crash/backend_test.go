package crash

import (
	"os"
	"slices"
	"strings"
	"testing"

	lab "github.com/mybr/mybr/integration/world"
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

// rules lists what is mybr's of its tables of nf_tables, that of who sends included: hooks, rules and
// elements, one line each, with the table and what they are in.
func (w *world) rules(t testing.TB) (lines []string) {
	t.Helper()
	for family, name := range map[string]string{"ip": "mybr", "ip6": "mybr", "bridge": "mybr-spoof"} {
		text, err := w.host.Try("nft", "--stateless", "list", "table", family, name)
		if err != nil {
			if !strings.Contains(err.Error()+text, "No such file or directory") { // ENOENT: there is no such table
				t.Fatalf("%v: %s", err, text)
			}
			continue
		}
		lines = append(lines, lab.TableLines("nft "+family, text)...)
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
