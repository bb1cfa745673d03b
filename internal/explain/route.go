package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// lookup finds the route of a packet from a source (zero: not chosen yet) to a destination,
// that comes in by a link ("" or lo: the namespace's own; then out may be the link that it must
// leave by). unclear says why it can't be told.
func (s *Space) lookup(dst, src netip.Addr, in, out string, mark uint32) (r Route, found bool, unclear string) {
	from := 0 // the priority from which rules count
	for i := range s.Policies {
		p := &s.Policies[i]
		if p.Six != dst.Is6() || p.Priority < from {
			continue
		}
		matches := (!p.Dst.IsValid() || p.Dst.Contains(dst)) && (!p.Src.IsValid() || src.IsValid() && p.Src.Contains(src)) &&
			(p.In == "" || p.In == in || in == "" && p.In == "lo") && (p.Out == "" || p.Out == out) && mark&p.Mask == p.Mark&p.Mask
		if p.Unhandled != "" && (matches || p.Invert) {
			return r, false, fmt.Sprintf("%s (%s) asks for %s", p.command(), p.text(), p.Unhandled)
		}
		if matches == p.Invert {
			continue
		}
		switch p.Kind {
		case "":
		case Nop:
			continue
		case Goto:
			from = p.Goto
			continue
		case Unreachable, Prohibit, Blackhole:
			return Route{Kind: p.Kind, Table: p.Table, by: p}, true, ""
		default:
			return r, false, fmt.Sprintf("%s (%s) is of the kind %s", p.command(), p.text(), p.Kind)
		}
		r, found := s.inTable(p.Table, dst, out, p.Suppress)
		if found && r.Kind != Throw {
			r.by = p
			return r, true, ""
		}
	}
	return r, false, ""
}

// inTable finds the longest prefix, and of several the smallest priority (metric).
func (s *Space) inTable(table int, dst netip.Addr, out string, suppress int) (best Route, found bool) {
	zone := dst.Zone()
	dst = dst.WithZone("")
	for _, r := range s.Routes {
		if r.Table != table || r.Dead || r.Dst.Addr().Is6() != dst.Is6() || !r.Dst.Contains(dst) || r.Dst.Bits() <= suppress {
			continue
		}
		if l := s.link(r.Link); r.Kind == Unicast && (out != "" || zone != "") && (l == nil || l.Name != cmp.Or(out, zone)) {
			continue
		}
		if !found || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Priority < best.Priority {
			best, found = r, true
		}
	}
	return best, found
}

// kindOf is what an address is to the namespace itself.
func (s *Space) kindOf(a netip.Addr) string {
	if a.IsMulticast() {
		return Multicast
	}
	if a.Is4() { // of IPv4 the table local alone says so (inet_addr_type)
		if r, found := s.inTable(tableLocal, a, "", -1); found {
			return r.Kind
		}
		return Unicast
	}
	r, found, unclear := s.lookup(a, netip.Addr{}, "", "", 0)
	if !found || unclear != "" {
		return Unicast
	}
	return r.Kind
}

// source chooses the address that a packet to dst leaves with.
func (s *Space) source(r Route, dst netip.Addr) netip.Addr {
	if r.Kind == Local {
		if r.Src.IsValid() {
			return r.Src
		}
		return dst
	}
	if r.Src.IsValid() {
		return r.Src
	}
	l := s.link(r.Link)
	if dst.Is6() {
		return s.nearest(l, dst)
	}
	next := dst
	if r.Via.IsValid() {
		next = r.Via
	}
	return s.first(l, next)
}

// first is the IPv4 address of a link that is on the network of an address, or else its
// first, or else that of another link. Loopback addresses have a scope of their own.
func (s *Space) first(l *Link, next netip.Addr) netip.Addr {
	if l != nil {
		for _, p := range l.Addrs {
			if p.Contains(next) && !p.Addr().IsLoopback() {
				return p.Addr()
			}
		}
		if a := primary(l, false); a.IsValid() {
			return a
		}
	}
	for i := range s.Links {
		if a := primary(&s.Links[i], false); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// nearest is the IPv6 source address for a destination: that itself (RFC 6724, rule 1), else
// one of the link that it leaves by (rule 5), else another one.
func (s *Space) nearest(l *Link, dst netip.Addr) netip.Addr {
	if s.owner(dst) != nil && dst.Zone() == "" {
		return dst
	}
	if l != nil {
		if a := longest(l.Addrs, dst); a.IsValid() {
			return a
		}
	}
	var all []netip.Prefix
	for _, o := range s.Links {
		if o.Up {
			all = append(all, o.Addrs...)
		}
	}
	return longest(all, dst)
}

// longest is the address of dst's scope that has the most leading bits in common with it
// (rules 2 and 8).
func longest(candidates []netip.Prefix, dst netip.Addr) (best netip.Addr) {
	common := -1
	for _, p := range candidates {
		a := p.Addr()
		if !a.Is6() || a.IsLinkLocalUnicast() != dst.IsLinkLocalUnicast() || a.IsLoopback() != dst.IsLoopback() {
			continue
		}
		n := 0
		for n < 128 && netip.PrefixFrom(dst.WithZone(""), n+1).Masked() == netip.PrefixFrom(a, n+1).Masked() {
			n++
		}
		if n = min(n, p.Bits()); n > common {
			best, common = a, n
		}
	}
	return best
}

// text is the route as ip-route(8) prints it.
func (r Route) text(s *Space) string {
	var b strings.Builder
	if r.Kind != Unicast {
		b.WriteString(r.Kind + " ")
	}
	if r.Dst.IsValid() && r.Dst.Bits() == 0 {
		b.WriteString("default")
	} else if r.Dst.IsValid() {
		b.WriteString(r.Dst.String())
	}
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if l := s.link(r.Link); l != nil {
		b.WriteString(" dev " + l.Name)
	}
	if r.Table != tableMain && r.Table != tableLocal && r.Table != 0 {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	return strings.TrimSpace(b.String())
}
