package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/view"
)

func TestPrintRules(t *testing.T) {
	var out strings.Builder
	id := strings.Repeat("0123456789abcdef", 4)
	printRules(&out, view.Rules{Rules: []view.Rule{
		{Command: "iptables", Table: "filter", Chain: "FORWARD", Rule: "-j MYBR-FORWARD", Why: "So it is."},
		{Command: "iptables", Table: "filter", Chain: "MYBR-FORWARD", Rule: "-o br-a -j ACCEPT", Why: "Let in.", Bridge: "br-a", Network: id, Traffic: &view.Counted{Packets: 3, Bytes: 180}},
		{Command: "iptables", Table: "nat", Chain: "MYBR-PORTS", Rule: "-j DNAT", Why: "Led there.", Bridge: "br-a", Network: id, Endpoint: "ffff", Name: "web"},
	}})
	want := `# iptables -t filter
-A FORWARD -j MYBR-FORWARD
    So it is.
-A MYBR-FORWARD -o br-a -j ACCEPT
    3 packets, 180 bytes
    Let in. For network 0123456789ab.

# iptables -t nat
-A MYBR-PORTS -j DNAT
    Led there. For web, of network 0123456789ab.
`
	if out.String() != want {
		t.Errorf("have\n%s", out.String())
	}
}

// What could not be told is told beside what differs.
func TestOutcomeOfRules(t *testing.T) {
	err := outcomeOfRules(view.Rules{Differences: make([]view.RuleDifference, 1), Unknown: "the lock is held"})
	if !errors.Is(err, errRulesDiffer) || !strings.Contains(err.Error(), "the lock is held") {
		t.Error(err)
	}
	if err := outcomeOfRules(view.Rules{}); err != nil {
		t.Error(err)
	}
}

func TestPrintRuleDiff(t *testing.T) {
	var out strings.Builder
	printRuleDiff(&out, view.Rules{Differences: []view.RuleDifference{
		{Command: "iptables", Table: "filter", Chain: "X", Mend: view.AddRule},
		{Command: "ip6tables-legacy", Table: "nat", Chain: "X", Rule: "-j DROP", Mend: view.DeleteRule, Why: "mybr wants no such rule."},
		{Command: "iptables", Table: "filter", Chain: "X", Rule: "-j DROP", Mend: view.MoveRule, Why: "Last."},
	}})
	want := `+ iptables -t filter chain X
- ip6tables-legacy -t nat -A X -j DROP
    mybr wants no such rule.
~ iptables -t filter -A X -j DROP
    Last.
`
	if out.String() != want {
		t.Errorf("have\n%s", out.String())
	}
}
