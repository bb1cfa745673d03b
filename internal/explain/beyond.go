package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// anywhere is the default route's destination.
func anywhere(six bool) netip.Addr {
	if six {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// way finds the link that leads outside, and the gateway there: that of the default route,
// or else the first link that is no bridge and has an address.
func (w *World) way(six bool) (*Link, netip.Addr) {
	host := w.Spaces[0]
	for _, r := range host.Routes {
		if r.Kind == Unicast && r.Dst == netip.PrefixFrom(anywhere(six), 0) && !r.Dead {
			if l := host.link(r.Link); l != nil && l.Kind != "bridge" {
				return l, r.Via
			}
		}
	}
	for i := range host.Links {
		l := &host.Links[i]
		if l.Kind != "bridge" && l.Master == 0 && l.Up && primary(l, six).IsValid() {
			return l, netip.Addr{}
		}
	}
	return nil, netip.Addr{}
}

// own is the host's address on its uplink.
func (w *World) own(six bool) (netip.Addr, error) {
	if l, _ := w.way(six); l != nil && primary(l, six).IsValid() {
		return primary(l, six), nil
	}
	return netip.Addr{}, errors.New("the host has no link that leads outside, with an address of this family")
}

// neighbour is an address beyond the uplink: that of the gateway, or else the next one that
// is not the host's.
func (w *World) neighbour(six bool) (netip.Addr, error) {
	l, via := w.way(six)
	if via.IsValid() && via.Is6() == six && !via.IsLinkLocalUnicast() {
		return via, nil
	}
	if l != nil {
		for _, p := range l.Addrs {
			if p.Addr().Is6() != six || p.Addr().IsLinkLocalUnicast() || p.Addr().IsLoopback() {
				continue
			}
			for a := p.Masked().Addr().Next(); p.Contains(a); a = a.Next() {
				if w.Spaces[0].owner(a) == nil {
					return a, nil
				}
			}
		}
	}
	return netip.Addr{}, errors.New("nothing is known beyond the host; give an address")
}

// uplink is the link by which who has an address beyond the host sends: one that is on its
// network, whatever routes say, or else that of the route to it.
func (w *World) uplink(a netip.Addr) (string, error) {
	host := w.Spaces[0]
	for _, l := range host.Links {
		if l.Kind != "bridge" && l.Master == 0 && l.Up && !a.IsLinkLocalUnicast() &&
			slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Contains(a) && !p.Addr().IsLoopback() }) {
			return l.Name, nil
		}
	}
	r, found, unclear := host.lookup(a, netip.Addr{}, "", "", 0)
	l := host.link(r.Link)
	if !found || unclear != "" || r.Kind != Unicast || l == nil {
		return "", fmt.Errorf("the host has no route to %s", a)
	}
	return l.Name, nil
}
