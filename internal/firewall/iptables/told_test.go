package iptables

import (
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

func TestTold(t *testing.T) {
	for text, want := range map[string]firewall.Change{
		"iptables filter: -A MYBR-INPUT -i br0 -j DROP":              {Command: "iptables", Table: "filter", Chain: "MYBR-INPUT", Action: firewall.Added, Rule: "-i br0 -j DROP"},
		"iptables-legacy nat: -I PREROUTING 3 ! -d 127.0.0.0/8 -j X": {Command: "iptables-legacy", Table: "nat", Chain: "PREROUTING", Action: firewall.Added, Rule: "! -d 127.0.0.0/8 -j X"},
		"iptables filter: -I MYBR-DIRECT -o br0 -j RETURN":           {Command: "iptables", Table: "filter", Chain: "MYBR-DIRECT", Action: firewall.Added, Rule: "-o br0 -j RETURN"},
		"ip6tables filter: delete -A FORWARD -j MYBR-FORWARD":        {Command: "ip6tables", Table: "filter", Chain: "FORWARD", Action: firewall.Deleted, Rule: "-j MYBR-FORWARD"},
		"ip6tables filter: move -A MYBR-DIRECT -j DROP":              {Command: "ip6tables", Table: "filter", Chain: "MYBR-DIRECT", Action: firewall.Moved, Rule: "-j DROP"},
		"ip6tables filter: -N MYBR-DIRECT":                           {Command: "ip6tables", Table: "filter", Chain: "MYBR-DIRECT", Action: firewall.Added, Rule: ""},
		"ip6tables filter: -X MYBR-DIRECT":                           {Command: "ip6tables", Table: "filter", Chain: "MYBR-DIRECT", Action: firewall.Deleted, Rule: ""},
	} {
		if have, ok := told(text); !ok || have != want {
			t.Errorf("%s: %+v %v, want %+v", text, have, ok, want)
		}
	}
	for _, text := range []string{"", "link br-a: bring up", "iptables: -A X", "iptables nat: flush X", "iptables nat: -A "} {
		if have, ok := told(text); ok {
			t.Errorf("%s: %+v", text, have)
		}
	}
}

// Every change that is planned can be taken apart again, and rules that are wanted have
// their reason.
func TestToldOfPlans(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Dockers()["28.5"](h)
		b := k.backend(t)
		want := unprotected()
		steps, err := b.Plan(t.Context(), nil, want)
		if err != nil || len(steps.Changes()) == 0 {
			t.Fatalf("%q, %v", steps.Changes(), err)
		}
		reasons := map[[3]string]string{}
		firewalltest.Apply(t, b, nil, want)
		for _, r := range b.Explain(want) {
			reasons[[3]string{r.Table, r.Chain, r.Rule}] = r.Why
		}
		for _, text := range steps.Changes() {
			c, ok := b.Told(text)
			if !ok || c.Action != firewall.Added {
				t.Errorf("%s: %+v, %v", text, c, ok)
			}
			if c.Rule != "" && reasons[[3]string{c.Table, c.Chain, c.Rule}] == "" {
				t.Errorf("%s: no reason", text)
			}
		}
	})
}

// The rules of a network and of a port say whom they serve.
func TestExplainSaysWhomARuleServes(t *testing.T) {
	p := firewalltest.TwoNetworks()
	p.Ports[0].Link = "vethport"
	bridges, links := map[string]int{}, map[string]int{}
	for _, r := range Explain(p, Docker{V4: true, V6: true}) {
		bridges[r.Bridge]++
		links[r.Link]++
	}
	if bridges[p.Networks[0].Bridge] == 0 || bridges[p.Networks[1].Bridge] == 0 || bridges[""] == 0 || links["vethport"] != 1 || links[""] == 0 {
		t.Errorf("bridges %v, links %v", bridges, links)
	}
}
