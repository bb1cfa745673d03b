package parity

import (
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

var update = flag.Bool("update", false, "write testdata and docs/parity.md")

func TestMain(m *testing.M) {
	world.Main()
	world.Parallel(lanes)
	os.Exit(m.Run())
}

// lanes is how many scenarios are played at a time, each in two worlds.
const lanes = 3

// TestParity plays every scenario on the engines that $MYBR_PARITY_ENGINES names, with
// both drivers at the same time, and compares the summaries with those in testdata. With
// -short it plays less: see inShort. Then mybr has the backend nftables on the older engine,
// and on the newest one the other.
func TestParity(t *testing.T) {
	wanted := os.Getenv("MYBR_PARITY_ENGINES")
	switch {
	case wanted != "":
	case world.Short():
		wanted = "20.10,28.5"
	default:
		wanted = strings.Join(engines(), ",")
	}
	for _, engine := range strings.Split(wanted, ",") {
		if !slices.Contains(engines(), engine) {
			t.Fatalf("MYBR_PARITY_ENGINES: no engine %q: want some of %v", engine, engines())
		}
	}
	for _, engine := range engines() {
		if slices.Contains(strings.Split(wanted, ","), engine) {
			t.Run(engine, func(t *testing.T) { parityOf(t, engine) })
		}
	}
}

// parityOf compares on one engine. What came of it is looked at when all scenarios have
// ended.
func parityOf(t *testing.T, engine string) {
	idle := make(chan *bench, lanes)
	for range lanes {
		b := newBench(engine)
		if engine != engines()[0] { // there is one scenario of each feature
			b.firewall = world.InShort(world.NFTables)
		}
		idle <- b
	}
	all := scenarios()
	var mu sync.Mutex
	fresh, facts := map[string]record{}, map[string]map[string]string{}
	t.Cleanup(func() {
		for range lanes {
			b := <-idle
			maps.Copy(facts, b.facts)
			b.close()
		}
		judge(t, engine, fresh, len(fresh) == len(all))
		judgeFacts(t, facts)
	})
	for _, sc := range all {
		t.Run(sc.name, func(t *testing.T) {
			if !inShort(engine, sc) {
				world.Full(t)
			}
			t.Parallel()
			b := <-idle
			defer func() { idle <- b }()
			if r, ok := b.compare(t, sc); ok {
				mu.Lock()
				defer mu.Unlock()
				fresh[sc.name] = r
			}
		})
	}
}

// inShort tells whether a run with -short plays the scenario too. On the newest engine,
// whose built-in driver offers everything and is the measure for the older ones, those
// are all that are not marked full. On an older engine it is the first scenario of each
// feature: every other test runs on the machine's own engine, and what differs between
// engines is what they send to the driver, which each scenario of a feature shows alike.
func inShort(engine string, sc scenario) bool {
	if engine == engines()[0] {
		return !sc.full
	}
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.feature == sc.feature && s.played(engine) && !s.full })
	return i >= 0 && all[i].name == sc.name
}

// judge compares what was seen on an engine with the summary that is kept, or keeps it.
func judge(t *testing.T, engine string, fresh map[string]record, complete bool) {
	kept, err := load(engine)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("MYBR_PARITY_DRIVER") != "" || world.ProxyAll() || t.Failed() && !*update {
		return
	}
	have := kept.with(scenarios(), fresh)
	switch {
	case *update:
		if err := have.save(); err != nil {
			t.Fatal(err)
		}
		return
	case complete && !reflect.DeepEqual(have, kept):
		t.Errorf("%s is out of date: go test ./integration/parity -run 'TestParity|TestGolden' -update", summaryPath(engine))
	}
	for name, r := range fresh {
		if old, ok := kept.row(name); !ok || !reflect.DeepEqual(old, r) {
			t.Errorf("%s says of %s\n    %+v, and it is\n    %+v", summaryPath(engine), name, old, r)
		}
	}
}

// compare plays a scenario and judges it.
func (b *bench) compare(t *testing.T, sc scenario) (r record, ok bool) {
	if !sc.played(b.engine) {
		return record{Name: sc.name, Feature: sc.feature, Unplayed: true}, true
	}
	drivers := []string{"bridge", "mybr"}
	one := os.Getenv("MYBR_PARITY_DRIVER")
	if one != "" {
		drivers = []string{one}
	} else if !sc.offered(b.engine) {
		drivers = []string{"mybr"}
	}
	if kept := keptFacts(sc); b.playsMybrAlone(sc) && kept != nil {
		if mybr := b.pair(sc, []string{"mybr"}, usual)["mybr"]; mybr.problem == "" && mybr.skipped == "" {
			v := compare(sc, b.engine, kept, mybr.facts, nil)
			complaint := v.complaint(played{facts: kept}, mybr)
			if complaint == "" {
				return summarize(sc, b.engine, kept, mybr.facts, v), true
			}
			t.Logf("mybr alone differs from what is kept:\n%s", complaint)
		}
		// What differs may be the machine's, and not mybr's: both drivers say.
	}
	plays := b.pair(sc, drivers, usual)
	for _, driver := range drivers {
		if testing.Verbose() {
			show(t, driver, plays[driver])
		}
		if plays[driver].skipped != "" {
			t.Skip(plays[driver].skipped)
		}
		if plays[driver].problem != "" {
			t.Errorf("%s: %s\n    %s", driver, plays[driver].problem, strings.Join(plays[driver].log, "\n    "))
		}
	}
	if one != "" || t.Failed() {
		return r, false
	}
	best := newest(t, sc, b.engine)
	if !sc.offered(b.engine) {
		plays["bridge"] = played{facts: best.Facts}
		plays["mybr"] = played{facts: reached(plays["mybr"].facts), log: plays["mybr"].log}
	}
	v := compare(sc, b.engine, plays["bridge"].facts, plays["mybr"].facts, best.Messages)
	if v.timing(plays["bridge"].facts, plays["mybr"].facts) {
		again := b.pair(sc, drivers, patient)
		for driver, p := range again {
			if p.problem != "" {
				t.Fatalf("%s, the second time: %s", driver, p.problem)
			}
			if !sc.offered(b.engine) {
				p.facts = reached(p.facts)
			}
			plays[driver] = p
		}
		v = compare(sc, b.engine, plays["bridge"].facts, plays["mybr"].facts, best.Messages)
	}
	if text := v.complaint(plays["bridge"], plays["mybr"]); text != "" {
		t.Errorf("%s on %s: the drivers differ\n%s", sc.name, b.engine, text)
		return r, false
	}
	if b.engine == engines()[0] {
		b.seen(sc, plays["bridge"].facts)
	}
	return summarize(sc, b.engine, plays["bridge"].facts, plays["mybr"].facts, v), true
}

// reached is the facts that are the driver's own doing on every engine: which client reaches which server.
// The others, such as files in a container or what the engine leaves behind, are those
// of the engine's version.
func reached(facts map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range facts {
		if strings.HasPrefix(key, "reach ") || strings.HasPrefix(key, "attack ") {
			out[key] = value
		}
	}
	return out
}

// newest is what is kept of the newest engine's run, for the others to be compared with.
func newest(t *testing.T, sc scenario, engine string) (r record) {
	t.Helper()
	if engine == engines()[0] {
		return r
	}
	s, err := load(engines()[0])
	if err != nil {
		t.Fatal(err)
	}
	r, ok := s.row(sc.name)
	if !sc.offered(engine) && !ok {
		t.Fatalf("%s has no facts of it: play it there first, with -update", summaryPath(engines()[0]))
	}
	return r
}
