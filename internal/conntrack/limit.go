package conntrack

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// Limit says which clients have flows with ports of a container: none else, in either direction,
// save the host and what is on the container's own network.
type Limit struct {
	Addr netip.Addr
	model.PortSpan
	Own  netip.Prefix // of the container's network
	From model.Clients
	// Translated says that it is about flows which were translated to the ports alone, and not about
	// those with the container's own address.
	Translated bool
	// Asks says that the container may begin flows from the ports. They end when the limit comes, and
	// not where it is only not known what has happened meanwhile.
	Asks bool
}

// limit is a Limit as flows are compared with it.
type limit struct {
	Limit
	first   netip.AddrPort
	clients []netip.Prefix
}

// limitsOf returns those of a family.
func limitsOf(f model.Family, all []Limit) (of []limit) {
	for _, l := range all {
		if f.Has(l.Addr) {
			of = append(of, limit{l, netip.AddrPortFrom(l.Addr, l.First), l.From.Of(f)})
		}
	}
	return of
}

// pastLimit reports whether a flow is between a port and somebody who is none of its clients. What
// a container asks of another published port is no matter of its own.
func (f *filter) pastLimit(l flow) bool {
	for _, of := range f.limits {
		if l.proto != of.Proto {
			continue
		}
		stranger := func(a netip.Addr) bool {
			in := func(p netip.Prefix) bool { return p.Contains(a) }
			return a != of.Addr && !f.local[a] && !in(of.Own) && !slices.ContainsFunc(of.clients, in)
		}
		if of.Translated && l.asked == l.answers {
			continue
		}
		if _, ok := index(of.first, of.Count, l.answers); ok && stranger(l.from.Addr()) {
			return true
		}
		if _, ok := index(of.first, of.Count, l.from); ok && !of.Asks && l.asked == l.answers && l.asked.Addr().IsGlobalUnicast() && stranger(l.asked.Addr()) {
			return true
		}
	}
	return false
}
