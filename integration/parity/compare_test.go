package parity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// verdict is what the comparison of two plays says.
type verdict struct {
	equal       int
	explained   map[int]int // index in declared → facts it is about
	unexplained []string    // keys
	stale       []difference
}

// messageDifference stands among the indexes of declared for what no scenario declares:
// that mybr refuses what the newest engine refuses, and says the same.
const messageDifference = -1

const messageWhy = "mybr refuses on every engine what the newest one refuses, and in its words"

// declared is the scenario's differences and the general ones.
func declared(sc scenario) []difference { return slices.Concat(sc.differs, general()) }

// compare judges mybr's facts by the built-in driver's. Messages are those of the newest
// engine's built-in driver, if there are any.
func compare(sc scenario, engine string, builtin, mybr, messages map[string]string) verdict {
	v := verdict{explained: map[int]int{}}
	keys := maps.Clone(builtin)
	maps.Copy(keys, mybr)
	for _, key := range sortedKeys(keys) {
		b, m := value(builtin, key), value(mybr, key)
		if alike(b, m) {
			v.equal++
			continue
		}
		if newest, ok := messages[key]; ok && alike(newest, m) {
			v.explained[messageDifference]++
			continue
		}
		i := slices.IndexFunc(declared(sc), func(d difference) bool { return d.on(engine) && d.explains(key, m) })
		if i < 0 {
			v.unexplained = append(v.unexplained, key)
			continue
		}
		v.explained[i]++
	}
	for i, d := range sc.differs {
		about := sc.offered(engine) || strings.HasPrefix(d.key, "reach ") || strings.HasPrefix(d.key, "attack ")
		if about && d.on(engine) && v.explained[i] == 0 {
			v.stale = append(v.stale, d)
		}
	}
	return v
}

func value(facts map[string]string, key string) string {
	if v, ok := facts[key]; ok {
		return v
	}
	return absent
}

// timing tells whether an unexplained difference may come from a probe that was not
// given the time it needs.
func (v verdict) timing(builtin, mybr map[string]string) bool {
	return slices.ContainsFunc(v.unexplained, func(key string) bool {
		return (value(builtin, key) == timedOut) != (value(mybr, key) == timedOut)
	})
}

// complaint is what there is to say against the verdict; "": nothing.
func (v verdict) complaint(builtin, mybr played) string {
	var text strings.Builder
	for _, key := range v.unexplained {
		fmt.Fprintf(&text, "%s\n    bridge: %s\n    mybr:   %s\n", key, value(builtin.facts, key), value(mybr.facts, key))
	}
	for _, d := range v.stale {
		fmt.Fprintf(&text, "no longer true is the difference of %q, %s\n", d.key, d.why)
	}
	if text.Len() > 0 {
		fmt.Fprintf(&text, "bridge's commands:\n    %s\nmybr's commands:\n    %s\n",
			strings.Join(builtin.log, "\n    "), strings.Join(mybr.log, "\n    "))
	}
	return text.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
