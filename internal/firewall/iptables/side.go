package iptables

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
)

// side is the packet filter in one address family.
type side struct {
	b          *Backend
	fam        family
	info, warn func(format string, args ...any)
	variants   []*variant // the one that the family's command is comes first
	state      state
}

// state is what the rules that are in force were rendered with. It tells the plan of a
// difference where mybr's chains are, and whether the difference is enough; a plan that
// starts from nothing known doesn't look at it. Only what changes the rules changes it, or
// a plan that finds nothing to change.
type state struct {
	use      *variant // nil: nothing is known, or there are no chains of mybr's
	defaults defaults
	facts    facts
	docker   string // Docker's jumps and bridges, see describeDocker
	ready    bool   // Docker has made all of its chains, so its jumps need not be looked at again
	bridges  string // of Docker's, that its rules name; with spaces between them
}

// defaults is what a family goes by where its own rules don't tell: for IPv6, what was
// found for IPv4.
type defaults struct {
	legacy      bool   // the variant to use if Docker's chains are in none, or in both
	dockerReady bool   // Docker has made its chains; if there are none here, it won't make any
	bridges     string // of Docker's, with spaces between them
}

// defaultsFor is what another family may go by.
func (s state) defaultsFor(from *side) defaults {
	if s.use == nil {
		return defaults{legacy: from.variants[0].legacy}
	}
	return defaults{legacy: s.use.legacy, dockerReady: s.ready, bridges: s.bridges}
}

// plan is Plan in one family. next is the state once the plan is carried out.
func (s *side) plan(ctx context.Context, have *firewall.Policy, want firewall.Policy, d defaults) (steps plan.Plan, next state, err error) {
	changes, next, err := s.changes(ctx, have, want, d)
	if err != nil {
		return nil, s.state, err
	}
	changes = slices.DeleteFunc(changes, func(c change) bool { return c.input == "" })
	if len(changes) == 0 {
		s.enter(next)
		s.b.compareSizes() // what comes from now on is a change
		return nil, next, nil
	}
	done := make([]bool, len(changes))
	for i, c := range changes {
		steps = append(steps, plan.Step{Kind: "rules", Changes: c.text, Follows: c.follows, Do: func(ctx context.Context) error {
			s.b.mu.Lock()
			defer s.b.mu.Unlock()
			if done[i] {
				return nil
			}
			if c.on != next.use && changes[0].on == next.use && !done[0] {
				return wrap(fmt.Errorf("%s: mybr's chains stay here until %s has them", c.on, next.use))
			}
			s.b.compareSizes()
			s.enter(state{})
			if err := s.make(ctx, c); err != nil {
				return wrap(err)
			}
			if done[i] = true; !slices.Contains(done, false) {
				s.enter(next)
			}
			s.b.takeSizes()
			return nil
		}})
	}
	return steps, next, nil
}

// enter remembers what the rules are rendered with from now on.
func (s *side) enter(now state) {
	s.state = now
	if s == s.b.v4 {
		s.b.inUse.Store(now.use)
	}
}

// change is what one variant needs.
type change struct {
	on    *variant
	input string   // for iptables-restore; "": nothing
	text  []string // the same for operators, one line for each rule
	edits []edit   // those in chains of others
	moves []string // of text: what can follow what Docker has made of its own rules

	follows []string // of text: what does
}

// after says what of a change follows what Docker has made of its own rules since they were
// known; before is what it would take if Docker's were as they were then.
func (c *change) after(was, is state, before func() change) {
	same := reflect.DeepEqual(was.facts, is.facts)
	if was.use == nil || was.docker == is.docker && same {
		return
	}
	c.follows = slices.Clone(c.moves)
	if same {
		return
	}
	needed := before().text
	for _, line := range c.text {
		if !slices.Contains(needed, line) {
			c.follows = append(c.follows, line)
		}
	}
}

// changes lists what must change, that of the variant to use first.
func (s *side) changes(ctx context.Context, have *firewall.Policy, want firewall.Policy, d defaults) ([]change, state, error) {
	if have != nil && s.state.use != nil && s.fam.commutes(*have, want) {
		c, enough, err := s.delta(ctx, *have, want, d)
		if enough || err != nil {
			return []change{c}, s.state, err
		}
	}
	return s.full(ctx, want, d)
}

// make carries one change out and reports what has changed in chains of others.
func (s *side) make(ctx context.Context, c change) error {
	if err := c.on.restore(ctx, c.input); err != nil {
		return err
	}
	for _, e := range c.edits {
		switch {
		case e.text == "":
			s.info("%s: removed jump to %s from %s", c.on, e.to(), e.chain)
		case len(e.gone) > 0:
			s.info("%s: moved jump to %s in %s to %s", c.on, e.to(), e.chain, e.place())
		default:
			s.info("%s: inserted jump to %s in %s at %s", c.on, e.to(), e.chain, e.place())
		}
	}
	return nil
}

// found is what one variant holds.
type found struct {
	*variant
	saved
}

// full reads all variants, and has the policy brought about in one of them, and what is
// mybr's removed from the others.
func (s *side) full(ctx context.Context, want firewall.Policy, d defaults) ([]change, state, error) {
	all, err := s.readAll(ctx)
	if err != nil {
		return nil, state{}, err
	}
	want = want.Decided(s.fam.Family, dropped(all))
	use := choose(all, d.legacy)
	next := state{defaults: d, facts: use.observed(d), docker: describeDocker(all), ready: use.dockerReady(d), bridges: strings.Join(use.dockerBridges(), " ")}
	was := s.state
	var changes []change
	if need := s.fam.layout(want); need.networks || need.defaultDrop {
		next.use = use.variant
		c := s.fill(use, want, next.facts)
		c.after(was, next, func() change { return s.fill(use, want, was.facts) })
		changes = append(changes, c)
	}
	for _, f := range all {
		if f.variant != next.use {
			changes = append(changes, s.fill(f, firewall.Policy{}, facts{}))
		}
	}
	return changes, next, nil
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
