package iptables

import (
	"context"
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// ChainPrefix is what the names of all chains of mybr's begin with.
const ChainPrefix = ownPrefix

// Gate is for a backend that decides elsewhere what passes: what iptables has must not drop
// that. Where iptables has a table "filter", in either variant, it has a few rules of
// mybr's, whatever networks there are: one that accepts what bears a mark, and, before it,
// one that leads it to Docker's own list of its bridges. Where there is no such table, none
// is made.
type Gate struct {
	b    *Backend
	mark string // as a match of iptables-save(8), with a space behind it
}

// Passing is what must be accepted in one family.
type Passing struct {
	Networks    bool // there are networks: what bears the mark passes
	Led         bool // and there is what is led to mybr's process: of that, what bears the mark reaches the host
	DefaultDrop bool // what no rule accepts is not forwarded; only where there is a table for it
}

// Seen is what a Gate has found in one family.
type Seen struct {
	Table   bool     // iptables has a table that forwarded packets pass
	Bridges []string // of Docker's
	Dropped bool     // DefaultDrop is in force
}

// NewGate finds the commands.
func NewGate(cfg firewall.Config, mark firewall.Mark) (*Gate, error) {
	b, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return &Gate{b, marked(mark)}, nil
}

// Own, Matters, Changed and Told are the Backend's.
func (g *Gate) Own(pid int) bool { return g.b.Own(pid) }
func (g *Gate) Matters(table, chain string, message []byte) bool {
	return g.b.Matters(table, chain, message)
}
func (g *Gate) Changed() (bool, error)                     { return g.b.Changed() }
func (g *Gate) Told(change string) (firewall.Change, bool) { return told(change) }

// Lacks says why nothing can be read or changed in a family; nil: it can.
func (g *Gate) Lacks(f model.Family) error {
	if g.side(f) == nil {
		return g.b.noIPv6
	}
	return nil
}

// See reads what iptables has in a family that nothing lacks. nft says that the kernel's
// nf_tables has a table of iptables' for it, which the command is not asked about otherwise:
// it might make one.
func (g *Gate) See(ctx context.Context, f model.Family, nft bool) (*View, error) {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	s := g.side(f)
	v := &View{g: g, s: s}
	var failed []error
	for _, variant := range s.variants {
		if variant.legacy && variant.unused("filter") || !variant.legacy && !nft {
			continue
		}
		saved, err := variant.read(ctx)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		v.all = append(v.all, found{variant, saved})
	}
	for _, f := range v.all {
		v.Seen.Table = true
		v.Seen.Bridges = append(v.Seen.Bridges, f.dockerBridges()...)
	}
	v.Seen.Dropped = dropped(v.all)
	slices.Sort(v.Seen.Bridges)
	v.Seen.Bridges = slices.Compact(v.Seen.Bridges)
	if err := errors.Join(failed...); err != nil {
		if len(v.all) == 0 || ctx.Err() != nil {
			return v, err
		}
		s.warn("%v", wrap(err))
	}
	return v, nil
}

// side is a family's; nil: it can't be filtered.
func (g *Gate) side(f model.Family) *side {
	if f == model.IPv6 {
		return g.b.v6
	}
	return g.b.v4
}

// View is what iptables has in one family at a moment.
type View struct {
	Seen
	g   *Gate
	s   *side
	all []found
}

// Plan has the rules of all variants be what passing needs, and what else there is of mybr's
// removed.
func (v *View) Plan(want Passing) (steps plan.Plan) {
	if len(v.all) == 0 {
		return nil
	}
	b := v.g.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if want.Led {
		b.input.Store(true)
	}
	last := choose(v.all, v.s.variants[0].legacy).variant // a drop is final, so it must be where Docker accepts
	was := v.s.state
	next := state{docker: describeDocker(v.all)}
	for _, f := range v.all {
		of := want
		of.DefaultDrop = want.DefaultDrop && f.variant == last
		if next.use == nil || f.legacy {
			next.use, next.facts = f.variant, f.observed(defaults{}) // whose changes nobody tells of, if there is one
		}
		facts := f.observed(defaults{})
		c := v.g.gate(v.s.fam, f, facts, of)
		if c.input == "" {
			continue
		}
		c.after(was, state{docker: next.docker, facts: facts}, func() change { return v.g.gate(v.s.fam, f, was.facts, of) })
		steps = append(steps, plan.Step{Kind: "rules", Changes: c.text, Follows: c.follows, Do: func(ctx context.Context) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.compareSizes()
			if err := v.s.make(ctx, c); err != nil {
				return wrap(err)
			}
			b.takeSizes()
			v.s.enter(next)
			return nil
		}})
	}
	if !want.Networks && !want.DefaultDrop {
		next.use = nil
	}
	if len(steps) == 0 {
		v.s.enter(next)
	} else {
		v.s.enter(state{use: next.use, docker: was.docker, facts: was.facts}) // until they are carried out
	}
	b.compareSizes()
	return steps
}

// gate is what one variant needs.
func (g *Gate) gate(fam family, f found, known facts, want Passing) change {
	chains, jumps := g.rules(known, want)
	return put(f, ruleset{{"filter", chains}, {"nat", nil}}, jumps)
}

// rules is what passing needs, beside what is known of Docker's rules.
func (g *Gate) rules(f facts, want Passing) (chains []chain, jumps []jump) {
	if want.Networks {
		chains = append(chains, g.isolate(f), g.forward())
		jumps = append(jumps,
			jump{"filter", dockerUser, "-j " + chainIsolate,
				"Behind the administrator's rules and before everything of Docker's: Docker itself would accept what is sent to published ports of its containers.", behindAdministrator, false},
			jump{"filter", "FORWARD", "-j " + chainForward,
				"Behind Docker's jumps to DOCKER-USER and to its isolation, and before any later DROP.", behindDocker, false})
	}
	if want.Led {
		input := chain{name: chainInput}
		input.add("", "", rule{g.mark + "-j ACCEPT", "What mybr's own table has led to mybr's process reaches it, whatever the policy of INPUT."})
		chains = append(chains, input)
		jumps = append(jumps, jump{"filter", "INPUT", "-j " + chainInput, "Before every rule that could drop it.", inFront, false})
	}
	if want.DefaultDrop {
		chains = append(chains, forwardDrop())
		jumps = append(jumps, jump{"filter", "FORWARD", "-j " + chainForwardDrop, "Behind all rules.", behindAll, true})
	}
	return chains, jumps
}

// isolate is MYBR-ISOLATE as a Gate has it. What begins is only dropped here; what has begun passes
// none of Docker's rules, as none of its own connections passes mybr's.
func (g *Gate) isolate(f facts) chain {
	c := chain{name: chainIsolate} // its order does not matter: the accept comes first, since most packets are for it
	c.add("", "", rule{g.mark + "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"What mybr's own table has let pass, and has begun, needs none of Docker's rules."})
	unknown := g.mark + unsolicited[1:]
	for _, bridge := range f.unisolated {
		c.add("", "", rule{"-o " + bridge + " " + unknown + " -j DROP", "Docker has lost this bridge of its own from its list."})
	}
	if f.stages {
		c.add("", "", rule{unknown + " -j " + dockerStage2,
			"Docker's own list of its bridges drops what goes to one of them, but for replies and Docker's published ports; the rest returns."})
	}
	return c
}

// forward is MYBR-FORWARD as a Gate has it.
func (g *Gate) forward() chain {
	c := chain{name: chainForward, strict: true}
	c.add("", "", rule{"-j " + chainIsolate,
		"What must not pass is dropped before anything is accepted, even where DOCKER-USER is absent or was flushed."})
	c.add("", "", rule{g.mark + "-j ACCEPT", "What mybr's own table has let pass is accepted, whatever the policy of FORWARD."})
	return c
}

// Explain lists the rules of a family, as far as it was last seen: none where there is no table.
func (v *View) Explain(want Passing) (out []firewall.ExplainedRule) {
	for _, f := range v.all {
		chains, jumps := v.g.rules(f.observed(defaults{}), want)
		add := func(chain string, r rule) {
			out = append(out, firewall.ExplainedRule{Command: f.variant.String(), Table: "filter", Chain: chain, Rule: r.text, Why: r.why})
		}
		for _, j := range jumps {
			if _, there := f.chain("filter", j.chain); there {
				add(j.chain, rule{j.text, j.why})
			}
		}
		for _, c := range chains {
			for _, r := range c.rules {
				add(c.name, r.rule)
			}
		}
	}
	return out
}
