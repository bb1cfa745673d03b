package iptables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// found is what one variant holds.
type found struct {
	*variant
	saved
}

// applyFull reads all variants, brings the policy about in one of them, and removes
// what is mybr's from the others.
func (b *Backend) applyFull(ctx context.Context, want firewall.Policy) error {
	b.hint = hint{}
	all, err := b.readAll(ctx)
	if err != nil {
		return err
	}
	use := choose(all)
	var h hint
	if len(want.Networks) > 0 {
		_, stage2 := use.chain("filter", dockerStage2)
		h = hint{use: use.variant, facts: facts{stage2}}
		if err := b.fill(ctx, use, render(want, h.facts)); err != nil {
			return err
		}
	}
	var jumps strings.Builder
	for _, f := range all {
		if f.variant != h.use {
			if err := b.empty(ctx, f); err != nil {
				return err
			}
		}
		forward, _ := f.chain("filter", "FORWARD")
		writeDockerJumps(&jumps, f.variant, forward)
	}
	h.jumps, h.settled = jumps.String(), settled(use)
	b.hint = h
	b.inUse.Store(h.use)
	return nil
}

// readAll reads every variant. One that can't be read is passed over if another can:
// the nf_tables variant refuses tables with rules that iptables has no words for.
func (b *Backend) readAll(ctx context.Context) ([]found, error) {
	var all []found
	var failed []error
	for _, v := range b.variants {
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
		b.warn("%v", err)
	}
	return all, nil
}

// choose returns the variant that Docker uses, if it is exactly one; else the first.
func choose(all []found) found {
	docker := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.has(dockerPrefix) })
	if len(docker) == 1 {
		return docker[0]
	}
	return all[0]
}

// settled reports that Docker has jumped to all of its chains that matter here. An
// administrator may have made DOCKER-USER beforehand, so that alone says nothing.
func settled(f found) bool {
	forward, _ := f.chain("filter", "FORWARD")
	has := func(name string) bool {
		return slices.ContainsFunc(forward, func(r string) bool { target, ok := unconditional(r); return ok && target == name })
	}
	return has(dockerUser) && (has(dockerStage1) || has(dockerForward))
}

// fill makes mybr's chains of a variant hold the ruleset, and the jumps lead there.
// Chains that hold it already are left alone, and with them their counters.
func (b *Backend) fill(ctx context.Context, f found, want ruleset) error {
	edits := f.edits(append(jumps(ipv4()), f.misplaced()...))
	var input strings.Builder
	for _, t := range want {
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
	if err := f.restore(ctx, input.String()); err != nil {
		return err
	}
	return b.finish(ctx, f, edits)
}

// empty removes mybr's chains and all jumps to them from a variant.
func (b *Backend) empty(ctx context.Context, f found) error {
	edits := f.edits(nil)
	var input strings.Builder
	for _, t := range f.tables {
		var lines strings.Builder
		rearrange(&lines, edits, t.name)
		drop(&lines, f.own(t.name))
		section(&input, t.name, lines.String())
	}
	if err := f.restore(ctx, input.String()); err != nil {
		return err
	}
	return b.finish(ctx, f, edits)
}

// holds reports whether a chain's rules are the wanted ones already.
func (s saved) holds(table string, want chain) bool {
	have, ok := s.chain(table, want.name)
	return ok && slices.EqualFunc(have, want.rules, func(h string, w rule) bool { return h == w.text })
}

// rearrange writes the edits of a table that delete something: a jump that moves must
// not be missing in between, so it moves within one commit.
func rearrange(lines *strings.Builder, edits []edit, table string) {
	for _, e := range edits {
		if e.table != table || len(e.gone) == 0 {
			continue
		}
		for _, r := range e.gone {
			fmt.Fprintf(lines, "-D %s %s\n", e.chain, r)
		}
		if e.text != "" {
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

// finish puts the jumps in that are missing, once the chains they lead to are filled,
// and says what has changed in chains of others.
func (b *Backend) finish(ctx context.Context, f found, edits []edit) error {
	for _, e := range edits {
		name := e.to()
		if len(e.gone) > 0 {
			if e.text == "" {
				b.said("%s: removed jump to %s from %s", f.variant, name, e.chain)
			} else {
				b.said("%s: moved jump to %s in %s to %d", f.variant, name, e.chain, e.at)
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.ipt.Insert(e.table, e.chain, e.at, strings.Fields(e.text)...); err != nil {
			return fmt.Errorf("jump to %s in %s: %w", name, e.chain, err)
		}
		b.said("%s: inserted jump to %s in %s at %d", f.variant, name, e.chain, e.at)
	}
	return nil
}
