package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// commutes reports whether a family's difference can be had by deleting and adding
// rules: no network has changed in place, what stands before all networks is the same,
// and the chains and the jumps to them are there before and after.
func (fam family) commutes(have, want firewall.Policy) bool {
	if len(have.Networks) == 0 || len(want.Networks) == 0 || have.Accept != want.Accept || fam.shut(have) != fam.shut(want) {
		return false
	}
	if slices.ContainsFunc(have.Networks, fam.aloof) != slices.ContainsFunc(want.Networks, fam.aloof) {
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

// applyDelta deletes the rules that went and adds those that came. done is false if
// the chains of others are not those that the last full pass saw.
func (s *side) applyDelta(ctx context.Context, have, want firewall.Policy, lead lead) (done bool, err error) {
	input := delta(s.fam.render(have, s.hint.facts), s.fam.render(want, s.hint.facts))
	if input == "" {
		return true, nil
	}
	if s.hint.lead != lead {
		return false, nil
	}
	if !s.hint.settled {
		jumps, err := dockerJumps(ctx, s.variants)
		if err != nil || jumps != s.hint.jumps {
			return false, err
		}
	}
	return true, s.hint.use.restore(ctx, input)
}

// delta is the input of iptables-restore that turns one ruleset into the other; ""
// if they are alike.
func delta(have, want ruleset) string {
	var out strings.Builder
	for i, t := range want {
		var gone, came strings.Builder
		for j, c := range t.chains {
			difference(&gone, "-D", have[i].chains[j], c)
			if c.drops { // what is put in front last is first
				slices.Reverse(c.rules)
				difference(&came, "-I", c, have[i].chains[j])
			} else {
				difference(&came, "-A", c, have[i].chains[j])
			}
		}
		section(&out, t.name, gone.String()+came.String())
	}
	return out.String()
}

// difference writes the rules of a chain that the other version of it hasn't.
func difference(out *strings.Builder, action string, of, not chain) {
	known := make(map[string]bool, len(not.rules))
	for _, r := range not.rules {
		known[r.text] = true
	}
	for _, r := range of.rules {
		if !known[r.text] {
			fmt.Fprintf(out, "%s %s %s\n", action, of.name, r.text)
		}
	}
}

// section writes a table's part of the input of iptables-restore, if there is any.
func section(out *strings.Builder, table, lines string) {
	if lines != "" {
		fmt.Fprintf(out, "*%s\n%sCOMMIT\n", table, lines)
	}
}
