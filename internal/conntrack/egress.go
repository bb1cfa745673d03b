package conntrack

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Egress says which flows a container may have begun through the host. Those to the host itself
// are none of its business: the packet filter checks them as long as they go on, and the host
// would begin them anew if they were forgotten.
type Egress struct {
	ID   string // of the Endpoint
	Addr netip.Addr
	Own  netip.Prefix // of the container's network, within which nothing is checked
	To   egress.Allowed
}

func compareEgress(a, b *Egress) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), a.Addr.Compare(b.Addr))
}

// begun lists the egress lists that flows may have begun before: those that came for endpoints
// that were there.
func begun(have *Set, want Set) (all []Egress) {
	if have == nil || have.Unsure {
		return want.Egress
	}
	_, came := plan.Differing(have.Egress, want.Egress, compareEgress)
	for _, e := range came {
		if _, was := slices.BinarySearchFunc(have.Endpoints, e.ID, func(o Endpoint, id string) int { return cmp.Compare(o.ID, id) }); was {
			all = append(all, e)
		}
	}
	return all
}

// leaving is an Egress as flows are compared with it.
type leaving struct {
	own netip.Prefix
	to  egress.Matcher
}

// leavingOf returns those of a family, by the container's address.
func leavingOf(f model.Family, all []Egress) map[netip.Addr]leaving {
	of, matchers := map[netip.Addr]leaving{}, map[egress.Allowed]egress.Matcher{}
	for _, e := range all {
		if !f.Has(e.Addr) || e.To.All() {
			continue
		}
		m, known := matchers[e.To]
		if !known {
			m = e.To.Matcher(f)
			matchers[e.To] = m
		}
		of[e.Addr] = leaving{e.Own, m}
	}
	return of
}

// pastList reports whether a container has begun a flow that it may not begin.
func (f *filter) pastList(l flow) bool {
	of, listed := f.leaving[l.from.Addr()]
	if !listed || of.own.Contains(l.answers.Addr()) || f.local[l.answers.Addr()] {
		return false
	}
	return !of.to.Has(egress.Packet{Proto: l.proto, To: l.asked, Host: l.asked != l.answers})
}
