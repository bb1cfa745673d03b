package report

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Links is every link of the handle's namespace, in the kernel's order.
func Links(h *netlink.Handle) ([]Link, error) {
	list, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var out []Link
	for _, l := range list {
		a := l.Attrs()
		one := Link{Name: a.Name, Kind: l.Type(), MAC: a.HardwareAddr.String(), Alias: a.Alias,
			Index: a.Index, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Running: a.Flags&net.FlagRunning != 0,
			Peer: a.ParentIndex, Master: a.MasterIndex}
		addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			if p, ok := prefix(addr.IPNet); ok {
				one.Addrs = append(one.Addrs, p)
			}
		}
		if a.MasterIndex != 0 {
			if p, err := h.LinkGetProtinfo(l); err == nil {
				one.Port = &Port{Hairpin: p.Hairpin, Isolated: p.Isolated}
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// Addrs is every address of the handle's namespace.
func Addrs(h *netlink.Handle) ([]Address, error) {
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []Address
	for _, a := range list {
		p, ok := prefix(a.IPNet)
		if !ok {
			continue
		}
		one := Address{Prefix: p, Scope: scope(a.Scope), Dynamic: a.Flags&unix.IFA_F_PERMANENT == 0}
		for flag, name := range map[int]string{unix.IFA_F_NODAD: "nodad", unix.IFA_F_TENTATIVE: "tentative",
			unix.IFA_F_DADFAILED: "dadfailed", unix.IFA_F_DEPRECATED: "deprecated", unix.IFA_F_SECONDARY: "secondary"} {
			if a.Flags&flag != 0 && (p.Addr().Is6() || flag != unix.IFA_F_NODAD) {
				one.Flags = append(one.Flags, name)
			}
		}
		slices.Sort(one.Flags)
		if l, err := h.LinkByIndex(a.LinkIndex); err == nil {
			one.Dev = l.Attrs().Name
		}
		out = append(out, one)
	}
	return out, nil
}

// scope is an address's as ip-address(8) writes it.
func scope(n int) string {
	if s := netlink.Scope(n); s != netlink.SCOPE_UNIVERSE {
		return s.String()
	}
	return "global"
}

// Routes is the main table of both families, unicast routes alone.
func Routes(h *netlink.Handle) ([]Route, error) {
	var out []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := h.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range list {
			one := Route{Dst: everywhere(family)}
			if p, ok := prefix(r.Dst); ok {
				one.Dst = p
			}
			one.Via, _ = address(r.Gw)
			one.Src, _ = address(r.Src)
			if l, err := h.LinkByIndex(r.LinkIndex); err == nil {
				one.Dev = l.Attrs().Name
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// Neighs is the neighbour table of both families.
func Neighs(h *netlink.Handle) ([]Neigh, error) {
	list, err := h.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var out []Neigh
	for _, n := range list {
		one := Neigh{MAC: n.HardwareAddr.String(), State: n.State}
		var ok bool
		if one.Addr, ok = address(n.IP); !ok {
			continue
		}
		if l, err := h.LinkByIndex(n.LinkIndex); err == nil {
			one.Dev = l.Attrs().Name
		}
		out = append(out, one)
	}
	return out, nil
}

func everywhere(family int) netip.Prefix {
	if family == netlink.FAMILY_V6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := address(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones), ok
}

func address(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}
