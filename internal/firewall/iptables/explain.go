package iptables

import (
	"github.com/mybr/mybr/internal/firewall"
)

// Docker says what Docker has on a host.
type Docker struct {
	V4, V6   bool     // it has made its chains for the family
	NoStages bool     // those for isolation are not among them: Docker from 29
	Bridges  []string // those of its own that it has rules for
}

// Explain lists the rules of a policy beside Docker, IPv4's first, of each family the
// jumps in chains of others first, then mybr's own chains in the order of their tables. A
// policy without networks has no rules but those of a family of DefaultDrop.
func Explain(p firewall.Policy, docker Docker) []firewall.ExplainedRule {
	side := func(fam family, chains bool) []firewall.ExplainedRule {
		f := facts{user: chains, stages: chains && !docker.NoStages}
		if !f.stages {
			f.bridges = docker.Bridges
		}
		return fam.explain(p, f)
	}
	return append(side(ipv4(), docker.V4), side(ipv6(), docker.V6)...)
}

// Explain lists the rules of a policy beside what was last read of Docker.
func (b *Backend) Explain(p firewall.Policy) []firewall.ExplainedRule {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.v4.fam.explain(p, b.v4.state.facts)
	if b.v6 != nil {
		all = append(all, b.v6.fam.explain(p, b.v6.state.facts)...)
	}
	return all
}

func (fam family) explain(p firewall.Policy, f facts) (out []firewall.ExplainedRule) {
	jumps := fam.jumps(p)
	if f.stage1Jumps && len(p.Networks) > 0 {
		jumps = append(jumps, stage1Jump())
	}
	for _, j := range jumps {
		if (f.user || j.chain != dockerUser) && (f.stages || j.chain != dockerStage2) {
			out = append(out, firewall.ExplainedRule{Command: fam.command, Table: j.table, Chain: j.chain, Rule: j.text, Why: j.why})
		}
	}
	for _, t := range fam.render(p, f) {
		for _, c := range t.chains {
			for _, r := range c.rules {
				out = append(out, firewall.ExplainedRule{Command: fam.command, Table: t.name, Chain: c.name, Rule: r.text, Why: r.why, Bridge: r.bridge, Link: r.link})
			}
		}
	}
	return out
}
