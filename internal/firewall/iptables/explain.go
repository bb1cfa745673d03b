package iptables

import "github.com/mybr/mybr/internal/firewall"

// ExplainedRule is one rule that a policy brings about, and what it is for.
type ExplainedRule struct {
	Command      string // "iptables" or "ip6tables"
	Table, Chain string
	Rule         string // as iptables-save(8) prints it behind "-A CHAIN "
	Why          string // one sentence or two
}

// Explain lists the rules of a policy, IPv4's first, of each family the jumps in chains
// of others first, then mybr's own chains in the order of their tables. dockerIsolation
// says that Docker's chain DOCKER-ISOLATION-STAGE-2 exists (Docker 20.10 to 28), in both
// families. A policy without networks has no rules.
func Explain(p firewall.Policy, dockerIsolation bool) []ExplainedRule {
	if len(p.Networks) == 0 {
		return nil
	}
	var out []ExplainedRule
	for _, fam := range []family{ipv4(), ipv6()} {
		for _, j := range fam.jumps(p) {
			if j.chain != dockerStage2 || dockerIsolation {
				out = append(out, ExplainedRule{fam.command, j.table, j.chain, j.text, j.why})
			}
		}
		for _, t := range fam.render(p, facts{stage2: dockerIsolation}) {
			for _, c := range t.chains {
				for _, r := range c.rules {
					out = append(out, ExplainedRule{fam.command, t.name, c.name, r.text, r.why})
				}
			}
		}
	}
	return out
}
