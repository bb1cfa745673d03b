package host

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/dump"
	"github.com/mybr/mybr/internal/explain"
)

func readSpace(s *explain.Space) error {
	for _, read := range []func(*explain.Space) error{readLinks, readRoutes, readPolicies, readSockets, readSettings, readNeighbours, readObstacles, readSecured} {
		if err := read(s); err != nil {
			return err
		}
	}
	return nil
}

func readLinks(s *explain.Space) error {
	list, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	ports, err := bridgePorts()
	if err != nil {
		return fmt.Errorf("list bridge ports: %w", err)
	}
	for _, l := range list {
		a := l.Attrs()
		one := explain.Link{Index: a.Index, Master: a.MasterIndex, Name: a.Name, Kind: l.Type(), MAC: a.HardwareAddr.String(),
			Up: a.Flags&net.FlagUp != 0, Running: a.Flags&net.FlagRunning != 0, MTU: a.MTU,
			Hairpin: ports[a.Index].hairpin, Isolated: ports[a.Index].isolated, Blocked: ports[a.Index].blocked}
		if one.Kind == "veth" {
			one.Peer, one.PeerSpace = a.ParentIndex, a.NetNsID
		}
		if a.Xdp != nil && a.Xdp.Attached {
			s.Obstacles = append(s.Obstacles, explain.Obstacle{Link: a.Name, Ingress: true, What: "an XDP program"})
		}
		if b, ok := l.(*netlink.Bridge); ok && b.VlanFiltering != nil {
			one.VLANs = *b.VlanFiltering
		}
		s.Links = append(s.Links, one)
	}
	addrs, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	addAddresses(s, addrs)
	return nil
}

// addAddresses gives links their addresses. A tentative one is usable within a second or two,
// unless somebody has it already, and until then the kernel prefers the others as the source.
// The route of an IPv6 address is made by then, and by a work queue for those that are not
// looked for elsewhere: it is as good as there.
func addAddresses(s *explain.Space, addrs []netlink.Addr) {
	tentative := func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0
	}
	for _, later := range []bool{false, true} {
		for _, a := range addrs {
			i := slices.IndexFunc(s.Links, func(l explain.Link) bool { return l.Index == a.LinkIndex })
			p := prefixOf(a.IPNet)
			if i < 0 || !p.IsValid() || a.Flags&unix.IFA_F_DADFAILED != 0 || tentative(a) != later {
				continue
			}
			s.Links[i].Addrs = append(s.Links[i].Addrs, p)
			if p.Addr().Is6() && s.Links[i].Up {
				s.Routes = append(s.Routes, explain.Route{Table: unix.RT_TABLE_LOCAL, Dst: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()),
					Kind: explain.Local, Link: a.LinkIndex})
			}
		}
	}
}

type portFlags struct{ hairpin, isolated, blocked bool }

// Attributes of a bridge's port (linux/if_link.h).
const (
	brportState    = 1
	brportMode     = 4
	brportIsolated = 33
)

// stateForwarding is BR_STATE_FORWARDING (linux/if_bridge.h). A port that is down is not in it,
// and neither is one without carrier.
const stateForwarding = 3

// bridgePorts lists the flags of all bridge ports by their index, in one request.
func bridgePorts() (map[int]portFlags, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	msgs, err := dump.Whole(func() ([][]byte, error) { return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK) })
	if err != nil {
		return nil, err
	}
	all := map[int]portFlags{}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_PROTINFO {
				continue
			}
			of, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return nil, err
			}
			var f portFlags
			for _, b := range of {
				switch b.Attr.Type {
				case brportState:
					f.blocked = b.Value[0] != stateForwarding
				case brportMode:
					f.hairpin = b.Value[0] != 0
				case brportIsolated:
					f.isolated = b.Value[0] != 0
				}
			}
			all[int(nl.DeserializeIfInfomsg(m).Index)] = f
		}
	}
	return all, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), bits)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// routeKinds are the kernel's (linux/rtnetlink.h).
func routeKind(kind int) string {
	names := map[int]string{unix.RTN_UNICAST: explain.Unicast, unix.RTN_LOCAL: explain.Local, unix.RTN_BROADCAST: explain.Broadcast,
		unix.RTN_MULTICAST: explain.Multicast, unix.RTN_ANYCAST: explain.Anycast, unix.RTN_UNREACHABLE: explain.Unreachable,
		unix.RTN_PROHIBIT: explain.Prohibit, unix.RTN_BLACKHOLE: explain.Blackhole, unix.RTN_THROW: explain.Throw}
	return cmp.Or(names[kind], fmt.Sprintf("kind %d", kind))
}

func readRoutes(s *explain.Space) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dump.Whole(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range list {
			one := explain.Route{Table: r.Table, Dst: prefixOf(r.Dst), Kind: routeKind(r.Type), Via: addrOf(r.Gw), Link: r.LinkIndex,
				Src: addrOf(r.Src), Priority: r.Priority, Dead: r.Flags&unix.RTNH_F_DEAD != 0, Several: len(r.MultiPath) > 1}
			if len(r.MultiPath) == 1 {
				one.Link, one.Via = r.MultiPath[0].LinkIndex, addrOf(r.MultiPath[0].Gw)
			}
			if v, ok := r.Via.(*netlink.Via); ok { // a next hop of the other family
				one.Via = addrOf(v.Addr)
			}
			if !one.Dst.IsValid() {
				one.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
				if family == netlink.FAMILY_V6 {
					one.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
				}
			}
			s.Routes = append(s.Routes, one)
		}
	}
	return nil
}
