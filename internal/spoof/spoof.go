// Package spoof says, as values, with which MACs and from which addresses each port of a
// bridge may send, and what it may begin to its neighbours. A backend brings it about (nftables.Spoof).
//
// Be aware: a port is known by the name of the host's end of its veth pair. What is not in a
// Set may send everything: ports that others have plugged into the bridge, and all of bridges
// that are not mybr's.
package spoof

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Port is one whose sender is checked.
type Port struct {
	Link   string // the host's end of the veth pair
	Bridge string
	MAC    model.MAC   // the endpoint's
	V4, V6 netip.Addr  // its addresses; zero: none of that family
	More   model.Spoof // what else may be sent; its Mode does not count

	Audited bool // what is somebody else's is counted, and passes

	Listed bool   // its network is one of Networks
	Class  string // there, as Network.Classes has it
}

// Share is an address that a port may send from because another endpoint of the same container
// has it: the kernel answers from there by whichever interface its routes name.
type Share struct {
	Link   string
	Bridge string
	MAC    model.MAC // of the port's endpoint
	Addr   netip.Addr
}

// Set is what is checked.
type Set struct {
	Ports  []Port  // sorted by Compare
	Shares []Share // sorted by CompareShares; of links that Ports has

	Networks []Network // those with a list of what containers may begin to each other; sorted by CompareNetworks

	// Apart are the links of all ports that their bridges are to keep apart (isolated in bridge(8)),
	// checked or not; sorted. They are looked at where a list goes, and nothing is done because they
	// change.
	Apart []string
}

// Compare orders ports by their links.
func Compare(a, b *Port) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Bridge, b.Bridge), slices.Compare(a.MAC[:], b.MAC[:]),
		a.V4.Compare(b.V4), a.V6.Compare(b.V6), cmp.Compare(a.More.Addresses, b.More.Addresses),
		cmp.Compare(a.More.MACs, b.More.MACs), cmp.Compare(a.More.Trusted, b.More.Trusted), compareBools(a.Listed, b.Listed), cmp.Compare(a.Class, b.Class), compareBools(a.Audited, b.Audited))
}

// CompareShares orders them by their links.
func CompareShares(a, b *Share) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr), cmp.Compare(a.Bridge, b.Bridge), slices.Compare(a.MAC[:], b.MAC[:]))
}

// Same reports whether two sets are deeply equal, but for Apart.
func (s Set) Same(o Set) bool {
	return plan.SameList(s.Ports, o.Ports) && plan.SameList(s.Shares, o.Shares) && plan.SameList(s.Networks, o.Networks)
}

// Has reports whether a link's sender is checked, or a bridge's network has a list.
func (s Set) Has(subject string) bool {
	return slices.ContainsFunc(s.Networks, func(n Network) bool { return n.Bridge == subject }) || slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Link == subject })
}

// subject is all that is wanted of a link.
type subject struct {
	Port   Port
	Shares []Share
}

// Subjects returns what is wanted of each link, and of the bridge of each network with a list.
func (s Set) Subjects() map[string]any {
	all := make(map[string]subject, len(s.Ports))
	for _, p := range s.Ports {
		all[p.Link] = subject{Port: p}
	}
	for _, sh := range s.Shares {
		of := all[sh.Link]
		of.Shares = append(of.Shares, sh)
		all[sh.Link] = of
	}
	out := make(map[string]any, len(all)+len(s.Networks))
	for _, n := range s.Networks {
		out[n.Bridge] = n
	}
	for link, of := range all {
		out[link] = of
	}
	return out
}

// Only returns what is about the links that keep reports true for. A port whose network has a list
// keeps it: without, the port could begin everything.
func (s Set) Only(keep func(subject string) bool) Set {
	out := Set{Apart: s.Apart}
	listed := map[string]bool{}
	for i := range s.Ports { // a thousand, of which mostly one is kept: nothing is copied for the others
		if p := &s.Ports[i]; keep(p.Link) {
			out.Ports = append(out.Ports, *p)
			if p.Listed {
				listed[p.Bridge] = true
			}
		}
	}
	for _, sh := range s.Shares {
		if keep(sh.Link) {
			out.Shares = append(out.Shares, sh)
		}
	}
	for _, n := range s.Networks {
		if keep(n.Bridge) || listed[n.Bridge] {
			out.Networks = append(out.Networks, n)
		}
	}
	return out
}

// With returns the union of two sets that have no link in common. Of a network that both have, the
// list is that of the first; what is kept apart is what the second says.
func (s Set) With(o Set) Set {
	all := Set{Ports: slices.Concat(s.Ports, o.Ports), Shares: slices.Concat(s.Shares, o.Shares), Networks: slices.Clone(s.Networks), Apart: o.Apart}
	for _, n := range o.Networks {
		if !slices.ContainsFunc(s.Networks, func(had Network) bool { return had.Bridge == n.Bridge }) {
			all.Networks = append(all.Networks, n)
		}
	}
	slices.SortFunc(all.Ports, func(a, b Port) int { return Compare(&a, &b) })
	slices.SortFunc(all.Shares, func(a, b Share) int { return CompareShares(&a, &b) })
	slices.SortFunc(all.Networks, func(a, b Network) int { return CompareNetworks(&a, &b) })
	return all
}

// Links lists the links whose senders are checked, sorted.
func (s Set) Links() []string {
	all := map[string]bool{}
	for _, p := range s.Ports {
		all[p.Link] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// LinkLocal is the IPv6 address that the kernel gives an interface with a MAC by itself: the
// modified EUI-64 identifier behind fe80::/64 (RFC 4291, appendix A; RFC 4862, 5.3).
func LinkLocal(m model.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 0x02, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}
