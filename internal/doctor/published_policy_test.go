package doctor

import (
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// What the host's firewall is to decide about is no fault where that closes it: to what comes from
// outside, before the process has it, and by no rule of mybr's.
func TestLeftToHost(t *testing.T) {
	rule := func(table, chain string) *explain.RuleAt { return &explain.RuleAt{Table: table, Chain: chain} }
	atRule, atSocket := []explain.Step{{Kind: explain.AtRule}}, []explain.Step{{Kind: explain.AtSocket}, {Kind: explain.AtRule}}
	for name, c := range map[string]struct {
		policy, in string
		rule       *explain.RuleAt
		steps      []explain.Step
		want       bool
	}{
		"closed":                     {"host", "eth0", rule("filter", "INPUT"), atRule, true},
		"closed by a chain's policy": {"host", "eth0", nil, atRule, true},
		"of another policy":          {"", "eth0", rule("filter", "INPUT"), atRule, false},
		"from the host":              {"host", "", rule("filter", "INPUT"), atRule, false},
		"behind the process":         {"host", "eth0", rule("filter", "OUTPUT"), atSocket, false},
		"by a rule of mybr's":        {"host", "eth0", rule("filter", "MYBR-INPUT"), atRule, false},
		"in mybr's table":            {"host", "eth0", rule("ip6 mybr", "input"), atRule, false},
		"by no rule":                 {"host", "eth0", nil, []explain.Step{{Kind: explain.AtRoute}}, false},
	} {
		one := probe{port: view.Port{Policy: c.policy}, query: explain.Query{In: c.in}}
		if got := one.leftToHost(explain.Result{Verdict: explain.Dropped, Rule: c.rule, Steps: c.steps}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// No packet is followed to a port by an interface that does not reach it.
func TestClosedTo(t *testing.T) {
	for of, want := range map[string]bool{"": false, "eth0": false, "eth1,eth0": false, "eth1": true, view.ByPort: true} {
		if got := closedTo(view.Port{Interface: of}, "eth0"); got != want {
			t.Errorf("%q: %t", of, got)
		}
	}
}
