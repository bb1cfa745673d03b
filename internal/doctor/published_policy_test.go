package doctor

import (
	"net/netip"
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

// No packet is followed to a port from where nobody is to reach it: that it is lost is no fault.
func TestClosedTo(t *testing.T) {
	v := view.View{Lists: []view.List{{Name: "office", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}}
	for _, c := range []struct {
		from, via, client string
		closed            bool
	}{
		{"", "", "203.0.113.9", false},
		{"", "eth1,wg0", "203.0.113.9", true},
		{"", "eth0,eth1", "203.0.113.9", false},
		{"", view.ByPort, "203.0.113.9", true},
		{"10.0.0.0/8,@office", "", "192.0.2.9", false},
		{"10.0.0.0/8,@office", "eth0", "10.0.0.9", false},
		{"10.0.0.0/8,@office", "", "203.0.113.9", true},
		{"none", "", "203.0.113.9", true},
		{view.ByPort, "", "203.0.113.9", true},
	} {
		if got := closedTo(v, view.Port{From: c.from, Interface: c.via}, "eth0", netip.MustParseAddr(c.client)); got != c.closed {
			t.Errorf("%+v: closed %t", c, got)
		}
	}
}
