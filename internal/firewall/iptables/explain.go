package iptables

import (
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// ExplainedRule is one rule that a policy brings about, and what it is for.
type ExplainedRule struct {
	Command      string // "iptables" or "ip6tables"
	Table, Chain string
	Rule         string // as iptables-save(8) prints it behind "-A CHAIN "
	Why          string // one sentence or two
}

// Docker says in which families Docker has made its chains (Docker 20.10 to 28).
type Docker struct{ V4, V6 bool }

// Explain lists the rules of a policy, IPv4's first, of each family the jumps in chains
// of others first, then mybr's own chains in the order of their tables. A policy without
// networks has no rules but those of a closed family.
func Explain(p firewall.Policy, docker Docker) []ExplainedRule {
	return append(ipv4().explain(p, docker.V4), ipv6().explain(p, docker.V6)...)
}

func (fam family) explain(p firewall.Policy, docker bool) (out []ExplainedRule) {
	for _, j := range fam.jumps(p) {
		if docker || !strings.HasPrefix(j.chain, dockerPrefix) {
			out = append(out, ExplainedRule{fam.command, j.table, j.chain, j.text, j.why})
		}
	}
	for _, t := range fam.render(p, facts{stages: docker}) {
		for _, c := range t.chains {
			for _, r := range c.rules {
				out = append(out, ExplainedRule{fam.command, t.name, c.name, r.text, r.why})
			}
		}
	}
	return out
}
