package parity

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// factsPath is where the facts are that the built-in driver of the newest engine has shown, by
// scenario. With -short they stand for it: mybr is played alone, and only if it differs from
// them both drivers are. A whole run plays both, and finds what is kept out of date.
var factsPath = filepath.Join("testdata", engines()[0]+"-facts.json")

var readFacts = sync.OnceValues(func() (all map[string]map[string]string, err error) {
	text, err := os.ReadFile(factsPath)
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
})

// keptFacts are those of a scenario; nil: there are none.
func keptFacts(sc scenario) map[string]string {
	all, err := readFacts()
	if err != nil {
		return nil // then both are played
	}
	return all[sc.name]
}

// playsMybrAlone tells whether the kept facts are to stand for the built-in driver. The first
// scenario of each feature is played on both nevertheless.
func (b *bench) playsMybrAlone(sc scenario) bool {
	if !world.Short() || *update || b.engine != engines()[0] || os.Getenv("MYBR_PARITY_DRIVER") != "" || world.ProxyAll() {
		return false
	}
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.feature == sc.feature && !s.full })
	return i < 0 || all[i].name != sc.name
}

// seen notes what the built-in driver has shown in a play that was compared with mybr's.
func (b *bench) seen(sc scenario, builtin map[string]string) {
	if b.facts == nil {
		b.facts = map[string]map[string]string{}
	}
	b.facts[sc.name] = builtin
}

// judgeFacts compares what the built-in driver has shown with what is kept, or keeps it. What
// timed out in the one and did not in the other is the machine's.
func judgeFacts(t *testing.T, fresh map[string]map[string]string) {
	if len(fresh) == 0 || os.Getenv("MYBR_PARITY_DRIVER") != "" || world.ProxyAll() || t.Failed() {
		return
	}
	kept, err := readFacts()
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if *update {
		all := map[string]map[string]string{}
		for _, sc := range scenarios() {
			if facts, ok := fresh[sc.name]; ok {
				all[sc.name] = facts
			} else if facts, ok := kept[sc.name]; ok {
				all[sc.name] = facts
			}
		}
		text, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(factsPath, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name, have := range fresh {
		if want := kept[name]; !reflect.DeepEqual(withoutTimedOut(have, want), withoutTimedOut(want, have)) {
			t.Errorf("%s is out of date about %s: go test ./integration/parity -run TestParity -update", factsPath, name)
		}
	}
}

// withoutTimedOut is facts without those that timed out in them or in others.
func withoutTimedOut(facts, others map[string]string) map[string]string {
	facts = maps.Clone(facts)
	maps.DeleteFunc(facts, func(key, value string) bool { return value == timedOut || others[key] == timedOut })
	return facts
}

// Every scenario that the newest engine plays has facts, and none has them that is no more.
func TestFactsAreOfScenarios(t *testing.T) {
	all, err := readFacts()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, sc := range scenarios() {
		named[sc.name] = true
		if sc.played(engines()[0]) && len(all[sc.name]) == 0 {
			t.Errorf("%s has no facts of %q", factsPath, sc.name)
		}
	}
	for name := range all {
		if !named[name] {
			t.Errorf("%s has facts of %q, which is no scenario", factsPath, name)
		}
	}
}
