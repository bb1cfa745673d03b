package parity

import (
	"slices"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// scenarios is the whole table, in the order of docs/parity.md.
func scenarios() []scenario {
	all := slices.Concat(
		networkScenarios(),
		publishScenarios(),
		accessScenarios(),
		optionScenarios(),
		valueScenarios(),
		errorScenarios(),
		from27(ipv6Scenarios()),
		from27(ipv6AccessScenarios()),
		from27(ipv6PublishScenarios()),
		ipv6RefusedScenarios(),
		modeScenarios(),
		modeRefusedScenarios(),
		proxyScenarios(),
		securityScenarios(),
		lifecycleScenarios(),
		daemonScenarios(),
		failureScenarios(),
		engineScenarios(),
		composeScenarios(),
		compose2Scenarios(),
		ipamScenarios(),
	)
	shown := shownBy()
	for i := range all {
		all[i].full = all[i].full || shown[all[i].name] != nil
	}
	if world.ProxyAll() {
		for i := range all { // what the proxy is for is no difference any more
			all[i].differs = slices.DeleteFunc(slices.Clone(all[i].differs), func(d difference) bool { return d.why == noPorts })
		}
	}
	return all
}

// TestScenarios checks the table itself: what go test -run and the document need.
func TestScenarios(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range scenarios() {
		if sc.name == "" || sc.feature == "" || sc.play == nil || seen[sc.name] {
			t.Errorf("scenario %q: it needs a name of its own, a feature and a play", sc.name)
		}
		seen[sc.name] = true
		for _, d := range sc.differs {
			if d.key == "" || d.want == "" || d.why == "" {
				t.Errorf("scenario %q: a difference needs a key, mybr's value and a reason: %+v", sc.name, d)
			}
		}
	}
}

// With -short each feature is still played on the newest engine and on the machine's own.
func TestShortPlaysEachFeature(t *testing.T) {
	for _, engine := range []string{engines()[0], "20.10"} {
		played, short := map[string]bool{}, map[string]bool{}
		for _, sc := range scenarios() {
			if sc.played(engine) {
				played[sc.feature] = true
				short[sc.feature] = short[sc.feature] || inShort(engine, sc)
			}
		}
		for feature := range played {
			if !short[feature] {
				t.Errorf("%s: with -short no scenario of %q is played", engine, feature)
			}
		}
	}
}
