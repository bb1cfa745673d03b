package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
)

// host is the links, addresses and routes of the network namespace.
type host struct {
	links  []hostLink
	routes []route
}

type hostLink struct {
	name, kind, alias string
	index, master     int
	mtu               int
	up                bool
	addresses         []netip.Prefix
	fromRA            bool // it has an address that a router advertisement gave it
}

type route struct {
	to    netip.Prefix // of all addresses: a default route
	link  string
	via   netip.Addr // invalid: on the link
	table int
	proto int
}

// readHost asks the kernel, in the namespace of the calling thread.
func readHost() (*host, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for links: %w", err)
	}
	defer handle.Close()
	links, err := dump.Whole(handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	h := &host{}
	for _, l := range links {
		a := l.Attrs()
		h.links = append(h.links, hostLink{
			name: a.Name, kind: l.Type(), alias: a.Alias, index: a.Index, master: a.MasterIndex, mtu: a.MTU, up: a.Flags&net.FlagUp != 0,
		})
	}
	addresses, err := dump.Whole(func() ([]netlink.Addr, error) { return handle.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		l := h.byIndex(a.LinkIndex)
		if prefix, ok := toPrefix(a.IPNet); ok && l != nil {
			l.addresses = append(l.addresses, prefix)
			// Addresses of router advertisements are the global ones whose lifetime ends (rtnetlink(7)).
			l.fromRA = l.fromRA || prefix.Addr().Is6() && a.Flags&unix.IFA_F_PERMANENT == 0 && !prefix.Addr().IsLinkLocalUnicast()
		}
	}
	return h, h.readRoutes(handle)
}

func (h *host) readRoutes(handle *netlink.Handle) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		// All tables: VPNs often have one of their own.
		routes, err := dump.Whole(func() ([]netlink.Route, error) {
			return handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Type != unix.RTN_UNICAST || r.Table == unix.RT_TABLE_LOCAL {
				continue
			}
			to, ok := toPrefix(r.Dst)
			if !ok {
				to = everything(family == unix.AF_INET6)
			}
			hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			for _, hop := range append(hops, r.MultiPath...) {
				if l := h.byIndex(hop.LinkIndex); l != nil {
					via, _ := netip.AddrFromSlice(hop.Gw) // none: on the link
					h.routes = append(h.routes, route{to: to, link: l.name, via: via.Unmap(), table: r.Table, proto: int(r.Protocol)})
				}
			}
		}
	}
	return nil
}

// everything is the prefix of a default route.
func everything(ipv6 bool) netip.Prefix {
	if ipv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if addr = addr.Unmap(); addr.Is4() && bits > 32 {
		bits -= 96
	}
	return netip.PrefixFrom(addr, bits), ok
}

func (h *host) byIndex(index int) *hostLink {
	i := slices.IndexFunc(h.links, func(l hostLink) bool { return l.index == index })
	if i < 0 {
		return nil
	}
	return &h.links[i]
}

func (h *host) byName(name string) *hostLink {
	i := slices.IndexFunc(h.links, func(l hostLink) bool { return l.name == name })
	if i < 0 {
		return nil
	}
	return &h.links[i]
}

// uplinks are the links of the default routes of a family.
func (h *host) uplinks(ipv6 bool) (names []string) {
	for _, r := range h.routes {
		if r.to == everything(ipv6) && !slices.Contains(names, r.link) {
			names = append(names, r.link)
		}
	}
	return names
}

// outside are the links that lead to other hosts: those of the default routes, or else all that
// are neither bridges nor on one.
func (h *host) outside(ipv6 bool) (names []string) {
	if names = h.uplinks(ipv6); len(names) > 0 {
		return names
	}
	for _, l := range h.links {
		own := func(a netip.Prefix) bool {
			return a.Addr().Is6() == ipv6 && !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast()
		}
		if l.up && l.kind != "bridge" && l.master == 0 && slices.ContainsFunc(l.addresses, own) {
			names = append(names, l.name)
		}
	}
	return names
}

// ports are the links that a bridge has.
func (h *host) ports(bridge string) (all []hostLink) {
	b := h.byName(bridge)
	for _, l := range h.links {
		if b != nil && l.master == b.index {
			all = append(all, l)
		}
	}
	return all
}

// routedByRA reports whether a router advertisement gave a link a route.
func (h *host) routedByRA(link string) bool {
	return slices.ContainsFunc(h.routes, func(r route) bool { return r.link == link && r.proto == unix.RTPROT_RA })
}

// routeTo is the route of the main table that packets to an address take; false: none.
func (h *host) routeTo(addr netip.Addr) (best route, ok bool) {
	for _, r := range h.routes {
		if r.table == unix.RT_TABLE_MAIN && r.to.Contains(addr) && (!ok || r.to.Bits() > best.to.Bits()) {
			best, ok = r, true
		}
	}
	return best, ok
}

// neighbours counts the entries of a family that are counted against gc_thresh3 (arp(7)):
// permanent ones are not.
func neighbours(ipv6 bool) (n int, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for neighbours: %w", err)
	}
	defer handle.Close()
	family := map[bool]int{false: unix.AF_INET, true: unix.AF_INET6}[ipv6]
	all, err := dump.Whole(func() ([]netlink.Neigh, error) { return handle.NeighList(0, family) })
	if err != nil {
		return 0, fmt.Errorf("list neighbours: %w", err)
	}
	for _, entry := range all {
		if entry.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) == 0 {
			n++
		}
	}
	return n, nil
}
