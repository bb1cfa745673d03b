package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// place is an address that a question may be about, and what it is chosen by.
type place struct {
	addr    netip.Addr
	network string // what the network is called; "": it is the host's
	rank    int    // the smallest is chosen
}

// address chooses the destination's address, and says what else could have been meant: of a
// container, on a network that the source is on too, or else on that of the container's default
// route, and on an internal one last; of the host, the gateway of the source's network.
func (p party) address(w *World, v view.View, src party, six bool) (a netip.Addr, notes []string, err error) {
	if p.addr.IsValid() {
		return p.addr, nil, nil
	}
	for _, family := range []bool{six, !six} {
		all := p.places(w, v, src, family)
		if len(all) == 0 {
			continue
		}
		if family != six {
			notes = append(notes, fmt.Sprintf("by %s: %s", familyName(family), p.without(six)))
		}
		if len(p.endpoints) > 0 && len(all) > 1 {
			var others []string
			for _, o := range all[1:] {
				others = append(others, fmt.Sprintf("%s on %s", o.addr, o.network))
			}
			notes = append(notes, fmt.Sprintf("%s on %s is asked about; it is also %s", all[0].addr, all[0].network, strings.Join(others, ", ")))
		}
		return all[0].addr, notes, nil
	}
	if p.lan {
		return a, nil, errors.New("nothing is known beyond the host; give an address")
	}
	return a, nil, errors.New("it has no address")
}

// without says that there is no address of a family.
func (p party) without(six bool) string {
	switch {
	case p.host:
		return "the host has no global " + familyName(six) + " address on a link that leads outside"
	case p.lan:
		return "nobody beyond the host's uplink is known to have an address of " + familyName(six)
	}
	return "it has no address of " + familyName(six)
}

func familyName(six bool) string {
	if six {
		return "IPv6"
	}
	return "IPv4"
}

// places are the addresses of one family, in the order in which they are chosen.
func (p party) places(w *World, v view.View, src party, six bool) (all []place) {
	if p.lan {
		if a, err := w.neighbour(six); err == nil {
			return []place{{addr: a}}
		}
		return nil
	}
	here := w.space(p.space)
	for _, e := range p.endpoints {
		a := e.IPv4.Addr()
		if six {
			a = e.IPv6.Addr()
		}
		if !a.IsValid() {
			continue
		}
		one := place{addr: a, network: e.Network[:min(len(e.Network), 12)], rank: 2}
		if i := slices.IndexFunc(v.Networks, func(n view.Network) bool { return n.ID == e.Network }); i >= 0 {
			one.network = cmp.Or(v.Networks[i].Name, one.network)
			if v.Networks[i].Internal {
				one.rank = 3
			}
		}
		switch {
		case slices.ContainsFunc(src.endpoints, func(s view.Endpoint) bool { return s.Network == e.Network }):
			one.rank = 0
		case here != nil && here.leavesBy(a):
			one.rank = 1
		}
		all = append(all, one)
	}
	if p.host {
		for _, e := range src.endpoints {
			if l := w.Spaces[0].named(e.Bridge); l != nil && primary(l, six).IsValid() {
				all = append(all, place{addr: primary(l, six)})
			}
		}
		if a, err := w.own(six); err == nil {
			all = append(all, place{addr: a})
		}
	}
	slices.SortStableFunc(all, func(a, b place) int { return a.rank - b.rank })
	return all
}

// leavesBy reports whether the default route leads by the link that has an address.
func (s *Space) leavesBy(a netip.Addr) bool {
	l := s.owner(a)
	for _, r := range s.Routes {
		if l != nil && r.Link == l.Index && r.Kind == Unicast && r.Dst == netip.PrefixFrom(anywhere(a.Is6()), 0) {
			return true
		}
	}
	return false
}
