package doctor

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/view"
)

// mostUplinks is from how many uplinks packets are followed.
const mostUplinks = 4

// probes are the packets that are followed to a published port, of a range to its first: from
// beyond each uplink, and from the host.
func (p *ports) probes(h *host, port view.Port) (all []probe) {
	at := port.Host
	if !at.IsValid() {
		at = port.Container
	}
	one := probe{port: port, query: explain.Query{Proto: port.Proto, Dst: at.Addr(), Dport: at.Port()}}
	for _, e := range p.view.Endpoints {
		if e.ID == port.Endpoint {
			one.to = p.spaces(e)
		}
	}
	here := one
	here.from = "what the host itself sends"
	here.query.From = p.paths.World.Spaces[0].Name
	if at.Addr().IsUnspecified() {
		here.query.Dst = loopback(at.Addr().Is6())
	}
	all = append(all, here)
	if at.Addr().IsLoopback() {
		return all
	}
	ups := h.outside(at.Addr().Is6())
	for _, up := range ups[:min(len(ups), mostUplinks)] {
		own, other := h.neighbour(up, at.Addr().Is6())
		if !other.IsValid() || up == port.Bridge || closedTo(p.view, port, up, other) {
			continue
		}
		there := one
		there.from = "what comes from " + up
		there.query.In, there.query.Src = up, other
		if at.Addr().IsUnspecified() {
			there.query.Dst = own
		}
		all = append(all, there)
	}
	return all
}

// closedTo reports whether a port is not to be reached by an interface (mybr.publish.interface), or
// by a client (mybr.publish.from), or that some ports of a range are not.
func closedTo(v view.View, port view.Port, link string, client netip.Addr) bool {
	return port.Interface != "" && !slices.Contains(strings.Split(port.Interface, ","), link) || !explain.Admits(v, port.From, client)
}

// spaces is what a World may call the namespace of an endpoint, which others may share.
func (p *ports) spaces(e view.Endpoint) (names []string) {
	for _, other := range p.view.Endpoints {
		if other.ID == e.ID || e.Sandbox != "" && other.Sandbox == e.Sandbox {
			names = append(names, explain.SpaceName(other))
		}
	}
	return names
}

func loopback(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// neighbour is the host's address on a link, and another one of the same network: the gateway's,
// or else the first that is not the host's. Both are invalid if the link has no address.
func (h *host) neighbour(link string, ipv6 bool) (own, other netip.Addr) {
	l := h.byName(link)
	if l == nil {
		return own, other
	}
	for _, a := range l.addresses {
		if a.Addr().Is6() != ipv6 || a.Addr().IsLinkLocalUnicast() || a.Addr().IsLoopback() {
			continue
		}
		for _, r := range h.routes {
			if r.link == link && r.to.Bits() == 0 && a.Contains(r.via) {
				return a.Addr(), r.via
			}
		}
		first := a.Masked().Addr().Next()
		if first == a.Addr() {
			first = first.Next()
		}
		if a.Contains(first) {
			return a.Addr(), first
		}
	}
	return own, other
}
