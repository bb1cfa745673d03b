package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// side is the packet filter in one address family.
type side struct {
	fam        family
	info, warn func(format string, args ...any)
	variants   []*variant // the one that the family's command is comes first
	hint       hint
}

// hint is what the last full pass saw. It tells a small pass where mybr's chains are
// and whether it is enough; a full pass doesn't look at it.
type hint struct {
	use     *variant // nil: no full pass yet, or none wanted anything
	lead    lead
	facts   facts
	jumps   string // Docker's jumps in FORWARD of every variant, see dockerJumps
	settled bool   // Docker has made all of its chains, so jumps need not be looked at again
}

// lead is what a family goes by where it doesn't know better: for IPv6, what IPv4 came
// to.
type lead struct {
	legacy  bool // the variant to use if Docker's chains are in none, or in both
	settled bool // Docker has made its chains; if there are none here, it won't make any
}

// lead is what another family may go by.
func (s *side) lead() lead {
	if s.hint.use == nil {
		return lead{legacy: s.variants[0].legacy}
	}
	return lead{legacy: s.hint.use.legacy, settled: s.hint.settled}
}

// apply is Apply in one family.
func (s *side) apply(ctx context.Context, have *firewall.Policy, want firewall.Policy, lead lead) error {
	if have != nil && s.hint.use != nil && s.fam.commutes(*have, want) {
		if done, err := s.applyDelta(ctx, *have, want, lead); done || err != nil {
			return err
		}
	}
	return s.applyFull(ctx, want, lead)
}

// found is what one variant holds.
type found struct {
	*variant
	saved
}

// applyFull reads all variants, brings the policy about in one of them, and removes
// what is mybr's from the others.
func (s *side) applyFull(ctx context.Context, want firewall.Policy, lead lead) error {
	s.hint = hint{}
	all, err := s.readAll(ctx)
	if err != nil {
		return err
	}
	use := choose(all, lead.legacy)
	var h hint
	if len(want.Networks) > 0 || s.fam.shut(want) {
		_, one := use.chain("filter", dockerStage1)
		_, two := use.chain("filter", dockerStage2)
		h = hint{use: use.variant, facts: facts{stages: one && two, led: len(use.misplaced()) > 0, forgotten: use.forgotten()}}
		if err := s.fill(ctx, use, want, h.facts); err != nil {
			return err
		}
	}
	var jumps strings.Builder
	for _, f := range all {
		if f.variant != h.use {
			if err := s.empty(ctx, f); err != nil {
				return err
			}
		}
		forward, _ := f.chain("filter", "FORWARD")
		writeDockerJumps(&jumps, f.variant, forward)
	}
	h.lead, h.jumps, h.settled = lead, jumps.String(), settled(use, lead)
	s.hint = h
	return nil
}

// readAll reads every variant. One that can't be read is passed over if another can:
// the nf_tables variant refuses tables with rules that iptables has no words for.
func (s *side) readAll(ctx context.Context) ([]found, error) {
	var all []found
	var failed []error
	for _, v := range s.variants {
		s, err := v.read(ctx)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, found{v, s})
	}
	if err := errors.Join(failed...); err != nil {
		if len(all) == 0 || ctx.Err() != nil {
			return nil, err
		}
		s.warn("%v", err)
	}
	return all, nil
}

// choose returns the variant that Docker uses, if it is exactly one; else that of the
// kind that is to be used then, if it is there.
func choose(all []found, legacy bool) found {
	docker := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.has(dockerPrefix) })
	if len(docker) == 1 {
		return docker[0]
	}
	if i := slices.IndexFunc(all, func(f found) bool { return f.legacy == legacy }); i >= 0 {
		return all[i]
	}
	return all[0]
}

// settled reports that Docker has jumped to all of its chains that matter here. An
// administrator may have made DOCKER-USER beforehand, so that alone says nothing. Where
// Docker has settled in the leading family, it has no chains here if there are none yet,
// and Docker 20.10 has no DOCKER-USER for IPv6.
func settled(f found, lead lead) bool {
	if lead.settled && !f.has(dockerPrefix) {
		return true
	}
	forward, _ := f.chain("filter", "FORWARD")
	has := func(name string) bool {
		return slices.ContainsFunc(forward, func(r string) bool { return jumpsTo(r, name) })
	}
	return (has(dockerUser) || lead.settled) && (has(dockerStage1) || has(dockerForward))
}

// fill makes mybr's chains of a variant bring the policy about, and the jumps lead
// there. Chains that do it already are left alone, and with them their counters.
func (s *side) fill(ctx context.Context, f found, want firewall.Policy, known facts) error {
	wanted := s.fam.jumps(want)
	if len(want.Networks) > 0 {
		wanted = append(wanted, f.misplaced()...)
	}
	edits := f.edits(wanted)
	var input strings.Builder
	for _, t := range s.fam.render(want, known) {
		var lines strings.Builder
		var keep []string
		for _, c := range t.chains {
			keep = append(keep, c.name)
			if !f.holds(t.name, c) {
				fmt.Fprintf(&lines, ":%s - [0:0]\n", c.name)
			}
		}
		for _, c := range t.chains {
			if !f.holds(t.name, c) {
				for _, r := range c.rules {
					fmt.Fprintf(&lines, "-A %s %s\n", c.name, r.text)
				}
			}
		}
		rearrange(&lines, edits, t.name)
		drop(&lines, slices.DeleteFunc(f.own(t.name), func(name string) bool { return slices.Contains(keep, name) }))
		section(&input, t.name, lines.String())
	}
	return s.finish(ctx, f, input.String(), edits)
}

// empty removes mybr's chains and all jumps to them from a variant.
func (s *side) empty(ctx context.Context, f found) error {
	edits := f.edits(nil)
	var input strings.Builder
	for _, t := range f.saved.tables {
		var lines strings.Builder
		rearrange(&lines, edits, t.name)
		drop(&lines, f.own(t.name))
		section(&input, t.name, lines.String())
	}
	return s.finish(ctx, f, input.String(), edits)
}

// holds reports whether a chain's rules are the wanted ones already.
func (s saved) holds(table string, want chain) bool {
	have, ok := s.chain(table, want.name)
	return ok && slices.EqualFunc(have, want.rules, func(h string, w rule) bool { return h == w.text })
}

// rearrange writes the edits of a table. They are committed with the chains that the
// jumps lead to, so that a jump that moves is not missing in between, and never leads
// to rules that aren't there yet.
func rearrange(lines *strings.Builder, edits []edit, table string) {
	for _, e := range edits {
		if e.table != table {
			continue
		}
		for _, r := range e.gone {
			fmt.Fprintf(lines, "-D %s %s\n", e.chain, r)
		}
		switch {
		case e.text == "":
		case e.at == 0:
			fmt.Fprintf(lines, "-A %s %s\n", e.chain, e.text)
		default:
			fmt.Fprintf(lines, "-I %s %d %s\n", e.chain, e.at, e.text)
		}
	}
}

// drop writes the removal of chains. All are emptied first: they may refer to each
// other.
func drop(lines *strings.Builder, chains []string) {
	for _, action := range []string{"-F", "-X"} {
		for _, c := range chains {
			fmt.Fprintf(lines, "%s %s\n", action, c)
		}
	}
}

// finish hands the input over and says what has changed in chains of others.
func (s *side) finish(ctx context.Context, f found, input string, edits []edit) error {
	if err := f.restore(ctx, input); err != nil {
		return err
	}
	for _, e := range edits {
		switch name := e.to(); {
		case e.text == "":
			s.info("%s: removed jump to %s from %s", f.variant, name, e.chain)
		case len(e.gone) > 0:
			s.info("%s: moved jump to %s in %s %s", f.variant, name, e.chain, e.where("to "))
		default:
			s.info("%s: inserted jump to %s in %s %s", f.variant, name, e.chain, e.where("at "))
		}
	}
	return nil
}
