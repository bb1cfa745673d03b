package nftables

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/plan"
)

// side is the packet filter in one address family.
type side struct {
	b     *Backend
	fam   family
	state state
}

// state is what the rules that are in force were rendered with: a difference has to be
// rendered with the same. A plan that starts from nothing known doesn't look at it.
type state struct {
	known  bool
	beside bool     // iptables has a table that must be told what may pass
	others []string // Docker's bridges
	view   *iptables.View
}

// plan is Plan in one family: the steps of mybr's own table, those that have iptables
// accept what that has let pass, and the state once they are made.
func (s *side) plan(ctx context.Context, have *firewall.Policy, want firewall.Policy, others []string) (steps, passing plan.Plan, next state, err error) {
	if now := s.state; have != nil && now.known {
		l := s.fam.layout(want, now.beside)
		if was := s.fam.layout(*have, now.beside); was == l && !l.none() && slices.Equal(have.Limits, want.Limits) && (have.Process == want.Process || !l.process) && passingOf(s.fam, *have) == passingOf(s.fam, want) {
			gone, came := differing(*have, want)
			c := s.fam.difference(s.fam.differingSets(gone), s.fam.differingSets(came))
			if len(gone.Egress)+len(came.Egress) > 0 {
				c.turnLists(s.fam, *have, want, gone, came)
			}
			return s.step(c, now), nil, now, nil
		}
	}
	return s.full(ctx, want, others)
}

// full reads everything of mybr's, and what it depends on.
func (s *side) full(ctx context.Context, want firewall.Policy, others []string) (steps, passing plan.Plan, next state, err error) {
	conn, end, err := s.b.sockets.open(ctx)
	if err != nil {
		return nil, nil, next, err
	}
	defer end()
	var have found
	var nft, drops bool
	var docker []string
	err = steady(ctx, func() (err error) {
		if have, err = s.fam.read(conn, s.fam.sets(firewall.Policy{}, nil)); err != nil {
			return err
		}
		if nft, drops, err = hasFilter(conn, s.fam.table); err != nil {
			return err
		}
		docker, err = bridgesOfDocker(conn, s.fam.table)
		return err
	})
	if err != nil {
		return nil, nil, next, err
	}
	next = state{known: true, view: &iptables.View{}}
	var unseen error
	if blind := s.b.blind(s.fam); blind == nil {
		next.view, unseen = s.b.gate.See(ctx, s.fam.Family, nft)
	} else if drops && slices.ContainsFunc(want.Networks, func(n firewall.Network) bool { return n.Forwards(s.fam.Family) }) {
		unseen = untold(s.fam, blind)
	}
	next.beside = next.view.Table
	next.others = slices.Concat(others, next.view.Bridges, docker)
	slices.Sort(next.others)
	next.others = slices.Compact(next.others)
	last := slices.ContainsFunc(have.chains, func(c chain) bool { return c.name == chainLast })
	want = want.Decided(s.fam.Family, last || next.view.Dropped)
	c := s.fam.compare(have, s.fam.render(want, next.beside, next.others))
	if was := s.state; was.known && (was.beside != next.beside || !slices.Equal(was.others, next.others)) {
		needed := s.fam.compare(have, s.fam.render(want, was.beside, was.others)).text
		c.follows = slices.DeleteFunc(slices.Clone(c.text), func(line string) bool { return slices.Contains(needed, line) })
	}
	return s.step(c, next), next.view.Plan(passingOf(s.fam, want)), next, unseen
}

// passingOf is what iptables has to let pass, and what it has to drop.
func passingOf(fam family, p firewall.Policy) iptables.Passing {
	return iptables.Passing{Networks: len(p.Networks) > 0, Led: fam.layout(p, false).names, DefaultDrop: p.DefaultDrop.Has(fam.Family)}
}

// step carries one change out. next is the state from then on.
func (s *side) step(c change, next state) plan.Plan {
	if c.empty() {
		s.enter(c, next)
		return nil
	}
	done := false
	return plan.Plan{{Kind: "rules", Changes: c.text, Follows: c.follows, Do: func(ctx context.Context) error {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		if done {
			return nil
		}
		s.state = state{others: next.others}
		err := s.b.sockets.write(ctx, c)
		if full := len(c.want.chains) > 0; err != nil && full && !c.replace && ctx.Err() == nil {
			// What is there may be of types that were not told.
			if again := s.b.sockets.write(ctx, c.anew()); again != nil {
				err = errors.Join(err, again)
			} else {
				err = nil
			}
		}
		if err != nil {
			return wrap(err)
		}
		done = true
		s.enter(c, next)
		return nil
	}}}
}

// enter remembers what the rules are rendered with from now on.
func (s *side) enter(c change, next state) {
	s.state = next
	if s == s.b.v4 && (c.replace || len(c.want.chains) > 0) {
		s.b.inUse.Store(len(c.want.chains) > 0)
	}
}

// hasFilter reports whether iptables has a table that forwarded packets pass, in its
// nf_tables variant, and whether that drops what no rule accepts: by its policy, or by rules
// that mybr has there. A table of that name may be somebody else's.
func hasFilter(conn *nftables.Conn, f nftables.TableFamily) (there, drops bool, err error) {
	chains, err := conn.ListChainsOfTableFamily(f)
	for _, c := range chains {
		switch {
		case c.Table.Name != "filter":
		case c.Name == "FORWARD" && c.Hooknum != nil:
			there = true
			drops = drops || c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		case strings.HasPrefix(c.Name, iptables.ChainPrefix):
			drops = true
		}
	}
	return there, drops && there, err
}

// differing is what only one of two policies has, and what the difference may hang on.
func differing(have, want firewall.Policy) (gone, came firewall.Policy) {
	gone.Networks, came.Networks = without(have.Networks, want.Networks, func(n firewall.Network) firewall.Network { n.ID = ""; return n })
	gone.Ports, came.Ports = without(have.Ports, want.Ports, func(p firewall.Port) firewall.Port { p.Link = ""; return p })
	gone.Egress, came.Egress = without(have.Egress, want.Egress, func(e firewall.Egress) firewall.Egress { e.Link = ""; return e })
	gone.Grants, came.Grants = without(have.Grants, want.Grants, func(g firewall.Grant) firewall.Grant { g.Link = ""; return g })
	gone.Process, came.Process = have.Process, want.Process
	if !slices.Equal(have.Openings, want.Openings) {
		gone.Openings, came.Openings = have.Openings, want.Openings // several may need the same element
	}
	return gone, came
}

// without returns what only one of two lists has, by what counts of it. Mostly that is one
// thing, and the rest is before and behind it in both.
func without[T any, K comparable](have, want []T, counts func(T) K) (gone, came []T) {
	for len(have) > 0 && len(want) > 0 && counts(have[0]) == counts(want[0]) {
		have, want = have[1:], want[1:]
	}
	for len(have) > 0 && len(want) > 0 && counts(have[len(have)-1]) == counts(want[len(want)-1]) {
		have, want = have[:len(have)-1], want[:len(want)-1]
	}
	left := make(map[K]int, len(have))
	for _, h := range have {
		left[counts(h)]++
	}
	for _, w := range want {
		if k := counts(w); left[k] > 0 {
			left[k]--
		} else {
			came = append(came, w)
		}
	}
	for _, h := range have {
		if k := counts(h); left[k] > 0 {
			left[k]--
			gone = append(gone, h)
		}
	}
	return gone, came
}
