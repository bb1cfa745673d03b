package parity

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestExplain plays scenarios on mybr, and compares what package explain predicts of each
// probe with how it fares: the verdict, and the addresses that the server sees; of attacks
// it compares which packets arrive, and from whom. It plays the engines that
// $MYBR_PARITY_ENGINES names, without it the newest, and with -short some scenarios that share
// a world of the machine's own. What came of all is kept in testdata/explain.json.
func TestExplain(t *testing.T) {
	wanted := cmp.Or(os.Getenv("MYBR_PARITY_ENGINES"), engines()[0])
	if world.Short() {
		wanted = "20.10"
	}
	for _, engine := range strings.Split(wanted, ",") {
		if !slices.Contains(engines(), engine) {
			t.Fatalf("MYBR_PARITY_ENGINES: no engine %q: want some of %v", engine, engines())
		}
		t.Run(engine, func(t *testing.T) { explainOn(t, engine) })
	}
}

func explainOn(t *testing.T, engine string) {
	worlds := lanes
	if world.Short() {
		worlds = 1 // which takes less time than to make another
	}
	idle := make(chan *bench, worlds)
	for range worlds {
		idle <- newBench(engine)
	}
	var mu sync.Mutex
	all, whole := scores{}, scores{} // whole: those of scenarios that have passed
	t.Cleanup(func() {
		for range worlds {
			(<-idle).close()
		}
		all.show(t, engine)
		whole.judge(t, engine)
	})
	for _, sc := range scenarios() {
		if world.Short() && !slices.Contains(explainedInShort(), sc.name) || !sc.played(engine) {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			b := <-idle
			defer func() { idle <- b }()
			s := b.explain(t, sc)
			mu.Lock()
			defer mu.Unlock()
			if all[sc.name] = s; !t.Failed() {
				whole[sc.name] = s
			}
		})
	}
}

// explain plays a scenario on mybr, once more where an answer that is predicted was late, and
// says how the predictions fared.
func (b *bench) explain(t *testing.T, sc scenario) score {
	var p played
	for _, timeout := range []time.Duration{usual, patient} {
		b.oracle = &oracle{}
		p = b.play(sc, "mybr", timeout)
		if p.skipped != "" {
			t.Skip(p.skipped)
		}
		if !b.oracle.late {
			break
		}
	}
	if p.problem != "" {
		t.Errorf("%s\n    %s", p.problem, strings.Join(p.log, "\n    "))
	}
	for _, miss := range b.oracle.misses {
		t.Error(miss)
	}
	for _, u := range b.oracle.told {
		t.Logf("unknown: %s", u)
	}
	return b.oracle.score
}

// explainedInShort are two scenarios that have each kind of path in both families: within a
// network whose ports are kept apart, between networks, out to the LAN, and in from the LAN,
// the host and containers through published ports, by NAT and by the process.
func explainedInShort() []string {
	return []string{"access6/another network of the driver", "access6/enable_icc=false"}
}
