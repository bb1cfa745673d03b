package parity

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestExplain plays scenarios on mybr, and compares what package explain predicts of each
// probe with how it fares: the verdict, and the addresses that the server sees. With -short
// it plays some that share a world.
func TestExplain(t *testing.T) {
	engine := cmp.Or(os.Getenv("MYBR_PARITY_ENGINES"), engines()[0])
	if world.Short() {
		engine = "20.10"
	}
	if !slices.Contains(engines(), engine) {
		t.Fatalf("MYBR_PARITY_ENGINES: %q: want one of %v", engine, engines())
	}
	b := newBench(engine)
	t.Cleanup(b.close)
	tally := map[string]int{}
	for _, sc := range scenarios() {
		if world.Short() && !slices.Contains(explainedInShort(), sc.name) || !sc.played(engine) {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			o := &oracle{tally: tally}
			b.oracle = o
			p := b.play(sc, "mybr", usual)
			if p.skipped != "" {
				t.Skip(p.skipped)
			}
			if p.problem != "" {
				t.Errorf("%s\n    %s", p.problem, strings.Join(p.log, "\n    "))
			}
			for _, m := range o.misses {
				t.Error(m)
			}
		})
	}
	t.Logf("predicted: %v", tally)
}

// explainedInShort are scenarios of each kind of path: within a network, between networks,
// out, and through published ports by NAT and by the process, in both families.
func explainedInShort() []string {
	return []string{"access/another network of the driver", "access/docker0 and the network",
		"access/itself by its published port", "access6/out to the LAN and the host"}
}
