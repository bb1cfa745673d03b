package plugin

import (
	"context"
	"errors"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/view"
)

// testRuler wants a rule for all and one for an endpoint, and finds what diff says.
func testRuler(want error, diff func(context.Context) ([]reconcile.Difference, error)) *ruler {
	e := model.Endpoint{ID: "e0123456789abcdef", NetworkID: "n"}
	return &ruler{
		snapshot: func() model.Snapshot {
			return model.Snapshot{Networks: []model.Network{{ID: "n", Bridge: "br0"}}, Endpoints: []*model.Endpoint{&e}}
		},
		want: func(context.Context) (reconcile.Host, error) { return reconcile.Host{}, want },
		diff: diff,
		explain: func(reconcile.Host) []firewall.ExplainedRule {
			return []firewall.ExplainedRule{
				{Command: "iptables", Table: "filter", Chain: "FORWARD", Rule: "-j X", Why: "For all."},
				{Command: "iptables", Table: "nat", Chain: "P", Rule: "-j DNAT", Why: "Led there.", Bridge: "br0", Link: e.HostIface()},
				{Command: "ip6tables", Table: "nat", Chain: "P", Rule: "-j DNAT", Why: "By IPv6.", Bridge: "br0"},
			}
		},
		told: func(change string) (firewall.Change, bool) {
			c, ok := map[string]firewall.Change{
				"add":    {Action: firewall.Added, Command: "iptables-nft", Table: "nat", Chain: "P", Rule: "-j DNAT"},
				"delete": {Action: firewall.Deleted, Command: "iptables-nft", Table: "nat", Chain: "P", Rule: "-j OTHER"},
				"move":   {Action: firewall.Moved, Command: "ip6tables-legacy", Table: "nat", Chain: "P", Rule: "-j DNAT"},
				"chain":  {Action: firewall.Deleted, Command: "iptables-nft", Table: "nat", Chain: "Q"},
			}[change]
			return c, ok
		},
	}
}

// Each rule is told with whom it serves, and each difference with the reason of the rule of
// its own family; what could not be told or compared is said, too.
func TestRules(t *testing.T) {
	r := testRuler(errors.New("unsure of the records"), func(context.Context) ([]reconcile.Difference, error) {
		return []reconcile.Difference{
			{Aspect: reconcile.LinkAspect, Changes: []string{"unreadable"}, Err: errors.New("of links")},
			{Aspect: reconcile.FirewallAspect, Changes: []string{"add", "delete", "move", "chain"}, Err: errors.New("the lock is held")},
		}, nil
	})
	have, err := r.rules(t.Context(), true)
	if err != nil || !have.Compared || have.Version != view.Version || have.Unknown != "unsure of the records\nthe lock is held" {
		t.Errorf("%v %+v", err, have)
	}
	if len(have.Rules) != 3 || have.Rules[0].Network != "" || have.Rules[1].Network != "n" || have.Rules[1].Endpoint != "e0123456789abcdef" || have.Rules[2].Endpoint != "" {
		t.Errorf("%+v", have.Rules)
	}
	for i, want := range []struct{ mend, why string }{
		{view.AddRule, "Led there."}, {view.DeleteRule, "mybr wants no such rule."}, {view.MoveRule, "By IPv6."}, {view.DeleteRule, "mybr needs no such chain."},
	} {
		if d := have.Differences[i]; d.Mend != want.mend || d.Why != want.why {
			t.Errorf("difference %d: %+v, want %+v", i, d, want)
		}
	}
}

// Nothing is compared unless that is asked for, and without an answer there is none.
func TestRulesUncompared(t *testing.T) {
	broken := errors.New("stopping")
	r := testRuler(nil, func(context.Context) ([]reconcile.Difference, error) { return nil, broken })
	if have, err := r.rules(t.Context(), false); err != nil || have.Compared || len(have.Rules) != 3 || have.Differences == nil || have.Unknown != "" {
		t.Errorf("%v %+v", err, have)
	}
	if _, err := r.rules(t.Context(), true); !errors.Is(err, broken) {
		t.Error(err)
	}
}
