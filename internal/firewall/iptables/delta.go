package iptables

import (
	"context"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
)

// commutes reports whether a family's difference can be had by deleting and adding
// rules and chains: no network has changed in place, what stands before all networks is the
// same, and so are the jumps in chains of others.
func (fam family) commutes(have, want firewall.Policy) bool {
	if h := fam.layout(have); !h.networks || h != fam.layout(want) {
		return false
	}
	was := make(map[string]firewall.Network, len(have.Networks))
	for _, n := range have.Networks {
		was[n.Bridge] = fam.only(n)
	}
	return !slices.ContainsFunc(want.Networks, func(n firewall.Network) bool {
		h, ok := was[n.Bridge]
		return ok && h != fam.only(n)
	})
}

// delta deletes the rules that went and adds those that came. enough is false if the
// chains of others are not those that were last read.
func (s *side) delta(ctx context.Context, have, want firewall.Policy, d defaults) (c change, enough bool, err error) {
	h, w := s.fam.differing(have, want, s.state.facts)
	c = difference(s.state.use, h, w)
	if c.input == "" {
		return c, true, nil
	}
	if s.state.defaults != d {
		return c, false, nil
	}
	// Docker 29 tells of a new bridge by rules for it alone, which matter to unprotected
	// networks.
	if listed := !s.state.facts.stages && s.fam.layout(want).guarded; listed || !s.state.ready {
		docker, err := readDocker(ctx, s.variants)
		if err != nil || docker != s.state.docker {
			return c, false, err
		}
	}
	return c, true, nil
}

// difference turns one ruleset into the other.
func difference(on *variant, have, want ruleset) change {
	out := &script{on: on}
	for i, t := range want {
		out.begin(t.name)
		out.difference(have[i], t)
		out.end()
	}
	return change{on: on, input: out.input.String(), text: out.text}
}

// difference turns a table into another. Chains that come are there before the first rule
// that leads to them, and those that go are there until the last one is gone.
func (s *script) difference(have, want table) {
	before, stays := make(map[string]chain, len(have.chains)), make(map[string]bool, len(want.chains))
	for _, c := range have.chains {
		before[c.name] = c
	}
	was := make([]chain, len(want.chains))
	for i, c := range want.chains {
		stays[c.name] = true
		var there bool
		if was[i], there = before[c.name]; !there {
			s.write(":%s - [0:0]", c.name)
			s.tellChain("-N", c.name)
		}
	}
	deleted, added := make([][]string, len(was)), make([][]string, len(was)) // by chain; rules commute, so that none must move
	for i, c := range want.chains {
		deleted[i], added[i], _ = compare(was[i].texts(), c.texts())
		for _, r := range deleted[i] {
			s.write("-D %s %s", c.name, r)
		}
		s.tell("delete -A", c.name, deleted[i]...)
	}
	for i, c := range want.chains {
		action := "-A"
		if c.last && len(added[i]) < len(c.rules) { // what is put in front last is first
			action = "-I"
			slices.Reverse(added[i])
		}
		for _, r := range added[i] {
			s.write("%s %s %s", action, c.name, r)
		}
		s.tell(action, c.name, added[i]...)
	}
	s.drop(slices.DeleteFunc(slices.Clone(have.chains), func(c chain) bool { return stays[c.name] }))
}

// drop removes chains. All are emptied first: they may refer to each other.
func (s *script) drop(chains []chain) {
	for _, c := range chains {
		s.write("-F %s", c.name)
		s.tell("delete -A", c.name, c.texts()...)
	}
	for _, c := range chains {
		s.write("-X %s", c.name)
		s.tellChain("-X", c.name)
	}
}
