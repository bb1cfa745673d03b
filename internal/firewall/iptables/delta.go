package iptables

import (
	"context"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
)

// commutes reports whether a family's difference can be had by deleting and adding
// rules: no network has changed in place, what stands before all networks is the same,
// and the chains and the jumps to them are there before and after.
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
	c = difference(s.state.use, s.fam.render(have, s.state.facts), s.fam.render(want, s.state.facts))
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

// difference turns one ruleset into the other. Both have the same chains.
func difference(on *variant, have, want ruleset) change {
	out := &script{on: on}
	for i, t := range want {
		out.begin(t.name)
		var deleted, added [][]string // by chain; rules commute, so that none must move
		for j, c := range t.chains {
			gone, came, _ := compare(have[i].chains[j].texts(), c.texts())
			deleted, added = append(deleted, gone), append(added, came)
		}
		for j, c := range t.chains {
			for _, r := range deleted[j] {
				out.write("-D %s %s", c.name, r)
			}
			out.tell("delete -A", c.name, deleted[j]...)
		}
		for j, c := range t.chains {
			action := "-A"
			if c.drops { // what is put in front last is first
				action = "-I"
				slices.Reverse(added[j])
			}
			for _, r := range added[j] {
				out.write("%s %s %s", action, c.name, r)
			}
			out.tell(action, c.name, added[j]...)
		}
		out.end()
	}
	return change{on: on, input: out.input.String(), text: out.text}
}
