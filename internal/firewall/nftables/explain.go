package nftables

import (
	"github.com/mybr/mybr/internal/firewall"
)

// Host is what rules depend on of a host.
type Host struct {
	Beside  firewall.Families // in which iptables has a table that must be told what may pass
	Bridges []string          // of Docker's
}

// Explain lists the rules of a policy on a host, and the elements that they look up, IPv4's
// first. An element has the name of its set where a rule has that of its chain. What iptables
// is told is not among them.
func Explain(p firewall.Policy, h Host) []firewall.ExplainedRule {
	return append(ipv4().explain(p, h.Beside.V4, h.Bridges), ipv6().explain(p, h.Beside.V6, h.Bridges)...)
}

// Explain lists the rules of a policy beside what was last read of the host.
func (b *Backend) Explain(p firewall.Policy) (out []firewall.ExplainedRule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sides() {
		now := s.state
		out = append(out, s.fam.explain(p, now.beside, now.others)...)
		if now.view != nil {
			out = append(out, now.view.Explain(passingOf(s.fam, p))...)
		}
	}
	return out
}

func (fam family) explain(p firewall.Policy, beside bool, bridges []string) (out []firewall.ExplainedRule) {
	return fam.explained(fam.render(p, beside, bridges))
}

// explained lists what is in a table.
func (fam family) explained(all ruleset) (out []firewall.ExplainedRule) {
	for _, c := range all.chains {
		for _, r := range c.rules {
			out = append(out, firewall.ExplainedRule{Command: command, Table: fam.name(), Chain: c.name, Rule: r.text, Why: r.why})
		}
	}
	for _, s := range all.sets {
		for _, e := range s.elements {
			out = append(out, firewall.ExplainedRule{Command: command, Table: fam.name(), Chain: s.name, Rule: "{ " + s.text(e) + " }",
				Why: e.why, Bridge: e.bridge, Link: e.link})
		}
	}
	return out
}

// command is what shows the rules.
const command = "nft"
