package conntrack

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// filter finds the flows that a change has made stale.
type filter struct {
	gone, came []model.PortBinding
	relayed    []netip.Prefix // subnets whose own packets to published ports are relayed
	apart      []netip.Prefix // subnets within which nothing is translated any more
	left       map[netip.Addr]bool
	limits     []limit
	leaving    map[netip.Addr]leaving   // by the address of a container that may not begin everything
	granted    map[netip.Addr][]Granted // likewise, of those in leaving
	process    Process
	before     Process
	subnets    []Subnet            // their flows are looked at that the rules can't have let begin
	local      map[netip.Addr]bool // the addresses of the host
}

// stale reports whether a flow is to be forgotten.
func (f *filter) stale(l flow) bool {
	// A container is at the end that asks, whatever its address is made into, or at the
	// one that answers.
	if f.left[l.from.Addr()] || f.left[l.answers.Addr()] || f.pastRules(l) || f.pastLimit(l) || f.pastList(l) || f.isApart(l) {
		return true
	}
	if l.asked == l.answers && f.isRelayed(l) {
		return false
	}
	switch l.proto {
	case model.UDP:
		return f.misled(l.asked, l.answers)
	case model.TCP:
		return l.tcpState == synSent && l.asked == l.answers && f.early(model.TCP, l.asked)
	case model.SCTP:
		return l.asked == l.answers && f.early(model.SCTP, l.asked)
	}
	return false
}

// isApart reports whether a flow between containers of a network was translated, where that is no
// way between them any more. What leads to the host's own address on the bridge is not between them:
// what a list allows by host name is led there, to mybr's process.
func (f *filter) isApart(l flow) bool {
	return l.asked != l.answers && !f.local[l.answers.Addr()] && slices.ContainsFunc(f.apart, func(p netip.Prefix) bool {
		return p.Contains(l.from.Addr()) && p.Contains(l.answers.Addr())
	})
}

// isRelayed reports whether a flow that is not translated leads to the process by design: a
// client of the host's loopback addresses, one with an IPv6 link-local address, or a
// container of a network whose containers are kept apart, at a neighbour's port.
func (f *filter) isRelayed(l flow) bool {
	from := l.from.Addr()
	if from.IsLoopback() || l.asked.Addr().IsLoopback() || from.Is6() && from.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range f.relayed {
		if !p.Contains(from) {
			continue
		}
		for _, b := range f.came {
			if _, ok := index(b.Host, b.Count, l.asked); ok && b.Proto == l.proto && p.Contains(b.Container.Addr()) {
				return true
			}
		}
	}
	return false
}

// synSent is TCP_CONNTRACK_SYN_SENT (linux/netfilter/nf_conntrack_tcp.h).
const synSent = 1

// early reports whether a flow to the host itself is one to a port that came: it began
// before the rules sent it to the container.
func (f *filter) early(proto model.Proto, asked netip.AddrPort) bool {
	if !f.local[asked.Addr()] {
		return false
	}
	for _, b := range f.came {
		if _, ok := index(b.Host, b.Count, asked); ok && b.Proto == proto {
			return true
		}
	}
	return false
}

// misled reports whether a UDP flow should be forgotten that asks for one address and is
// answered from another, or from the same.
func (f *filter) misled(asked, answers netip.AddrPort) bool {
	// A flow that was never translated, to an address that is not the host's, has
	// nothing to do with a port of the host: the container's own requests, say, to a
	// resolver somewhere, if it publishes port 53.
	if asked == answers && !f.local[asked.Addr()] {
		return false
	}
	for _, b := range f.came {
		if i, ok := index(b.Host, b.Count, asked); ok && b.Proto == model.UDP {
			return answers != netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
		}
	}
	for _, b := range f.gone {
		if _, ok := index(b.Host, b.Count, asked); ok {
			return true
		}
		if _, ok := index(b.Container, b.Count, answers); ok && asked != answers {
			return true
		}
	}
	return false
}

// index returns which of count addresses, beginning with first, an address is. An
// unspecified first matches every address.
func index(first netip.AddrPort, count uint16, a netip.AddrPort) (i uint16, ok bool) {
	if !first.Addr().IsUnspecified() && first.Addr() != a.Addr() {
		return 0, false
	}
	i = a.Port() - first.Port()
	return i, a.Port() >= first.Port() && i < count
}
