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
	// Names are the host names of the list: what is led to the process for them, and what was
	// granted, is allowed, too.
	Names egress.Named
}

// Granted is a way that DNS has opened for a container whose list has names, or had opened: what
// has begun by it goes on as long as the list has the name.
type Granted struct {
	Addr, To    netip.Addr // the container, and whom it reaches
	Proto       model.Proto
	First, Last uint16 // the ports; 0: all, and what has none
}

// has reports whether a flow may have begun by it.
func (g Granted) has(l flow) bool {
	proto := l.proto
	if proto == icmpv6 && g.To.Is6() {
		proto = egress.ICMP
	}
	return g.To == l.asked.Addr() && g.Proto == proto && (g.First == 0 || g.First <= l.asked.Port() && l.asked.Port() <= g.Last)
}

// icmpv6 is ICMPv6's protocol number (IANA).
const icmpv6 model.Proto = 58

// Process is the ports at which mybr's process takes what is led there: DNS, and connections. Zero:
// nothing is.
type Process struct{ DNS, TCP uint16 }

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

// unled lists the egress lists with names that went without another one in their place, of containers
// that are there: they may begin everything now, or their lists are only watched.
func unled(have, want Set) (all []Egress) {
	gone, _ := plan.Differing(have.Egress, want.Egress, compareEgress)
	for _, e := range gone {
		if e.Names == "" {
			continue
		}
		_, listed := slices.BinarySearchFunc(want.Egress, &e, func(w Egress, e *Egress) int { return compareEgress(&w, e) })
		_, there := slices.BinarySearchFunc(want.Endpoints, e.ID, func(o Endpoint, id string) int { return cmp.Compare(o.ID, id) })
		if there && !listed {
			all = append(all, e)
		}
	}
	return all
}

// leaving is an Egress as flows are compared with it.
type leaving struct {
	unled   bool // nothing is led any more, and all may be begun
	own     netip.Prefix
	to      egress.Matcher
	named   bool
	carried []egress.PortRange
}

// leavingOf returns those of a family, by the container's address, of lists, and of lists that went.
func leavingOf(f model.Family, all, unled []Egress) map[netip.Addr]leaving {
	of, matchers := map[netip.Addr]leaving{}, map[egress.Allowed]egress.Matcher{}
	for _, e := range unled {
		if f.Has(e.Addr) {
			of[e.Addr] = leaving{unled: true, own: e.Own}
		}
	}
	for _, e := range all {
		if !f.Has(e.Addr) || e.To.All() {
			continue
		}
		m, known := matchers[e.To]
		if !known {
			m = e.To.Matcher(f)
			matchers[e.To] = m
		}
		of[e.Addr] = leaving{own: e.Own, to: m, named: e.Names != "", carried: e.Names.Carried().Ranges()}
	}
	return of
}

// led reports whether a flow leads to the process because of host names, or did before that listened
// elsewhere, or not at all. Its address is one of the container's own network.
func (f *filter) led(l flow, of leaving) bool {
	if l.asked == l.answers || !of.own.Contains(l.answers.Addr()) || !f.local[l.answers.Addr()] {
		return false
	}
	return f.process.takes(l) || f.before.takes(l)
}

// takes reports whether a flow that is led leads to these ports.
func (p Process) takes(l flow) bool {
	switch port := l.answers.Port(); {
	case port == 0:
		return false
	case l.proto == model.UDP:
		return port == p.DNS
	case l.proto == model.TCP:
		return port == p.DNS || port == p.TCP
	}
	return false
}

// leads reports whether the list leads what begins so to the process.
func (of leaving) leads(l flow) bool {
	const dns = 53
	port := l.asked.Port()
	return of.named && (port == dns || l.proto == model.TCP && slices.ContainsFunc(of.carried, func(r egress.PortRange) bool { return r.Has(port) }))
}

// pastList reports whether a container has begun a flow that it may not begin, or that is led to the
// process and would not be now. Of containers from which nothing is led any more that is UDP alone,
// which has no end that the kernel could see: the process ends connections, and needs the kernel to
// translate what it sends for that.
func (f *filter) pastList(l flow) bool {
	of, listed := f.leaving[l.from.Addr()]
	if of.unled {
		return l.proto == model.UDP && f.led(l, of)
	}
	if listed && f.led(l, of) {
		return !of.leads(l) || !f.process.takes(l)
	}
	if !listed || of.own.Contains(l.answers.Addr()) || f.local[l.answers.Addr()] {
		return false
	}
	return !of.to.Has(egress.Packet{Proto: l.proto, To: l.asked, Host: l.asked != l.answers}) &&
		!slices.ContainsFunc(f.granted[l.from.Addr()], func(g Granted) bool { return g.has(l) })
}
