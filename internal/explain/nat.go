package explain

import (
	"net/netip"
	"strconv"
	"strings"
)

// translate does what a rule of the table nat says to a connection's first packet.
func (a walkAt) translate(r *Rule, p *Packet) bool {
	if p.conn == nil {
		return false
	}
	switch r.jump {
	case "DNAT":
		to, ok := target(r.option("--to-destination"), p.Dport)
		if !ok {
			return false
		}
		p.redirect(to)
	case "REDIRECT":
		to, ok := target(r.option("--to-ports"), p.Dport)
		if r.option("--to-ports") == "" {
			to, ok = netip.AddrPort{}, true
		}
		return ok && a.s.redirect(p, to.Port())
	case "SNAT":
		to, ok := target(r.option("--to-source"), p.Sport)
		if !ok || !to.Addr().IsValid() {
			return false
		}
		p.masquerade(to)
	case "MASQUERADE":
		return a.s.masquerade(p)
	}
	return true
}

// redirect leads a packet to the namespace itself; a port of 0 is the packet's own.
func (s *Space) redirect(p *Packet, port uint16) bool {
	here := loopback(p.six())
	if l := s.named(p.in); l != nil {
		here = primary(l, p.six())
	}
	if !here.IsValid() {
		return false
	}
	p.redirect(netip.AddrPortFrom(here, port))
	return true
}

// masquerade gives a packet an address of the link that it leaves by.
func (s *Space) masquerade(p *Packet) bool {
	l := s.named(p.out)
	if l == nil {
		return false
	}
	route, _, _ := s.lookup(p.Dst, netip.Addr{}, "", "", p.mark)
	from := s.masqueraded(l, route, p.Dst)
	if from.IsValid() {
		p.masquerade(netip.AddrPortFrom(from, 0))
	}
	return from.IsValid()
}

func loopback(six bool) netip.Addr {
	if six {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// primary is the first address of a link that is not link-local, of one family.
func primary(l *Link, six bool) (first netip.Addr) {
	for _, a := range l.Addrs {
		if a.Addr().Is6() == six && !a.Addr().IsLinkLocalUnicast() && !a.Addr().IsLoopback() {
			return a.Addr()
		}
	}
	return first
}

// masqueraded is the address that MASQUERADE takes: one of the link, on the next hop's
// network if there is one (iptables-extensions(8)); of a link without one, another link's.
func (s *Space) masqueraded(l *Link, r Route, dst netip.Addr) netip.Addr {
	if dst.Is6() {
		return s.nearest(l, dst)
	}
	next := dst
	if r.Via.IsValid() {
		next = r.Via
	}
	return s.first(l, next)
}

func (p *Packet) redirect(to netip.AddrPort) {
	was := netip.AddrPortFrom(p.Dst, p.Dport)
	if to.Addr().IsValid() {
		p.Dst = to.Addr()
	}
	if to.Port() != 0 && p.Proto != ICMP {
		p.Dport = to.Port()
	}
	p.conn.toDst, p.conn.toDport, p.conn.dstSet = p.Dst, p.Dport, true
	p.conn.dnat = p.conn.dnat || was != netip.AddrPortFrom(p.Dst, p.Dport) // nf_nat_setup_info
}

func (p *Packet) masquerade(to netip.AddrPort) {
	was := netip.AddrPortFrom(p.Src, p.Sport)
	p.Src = to.Addr()
	if to.Port() != 0 && p.Proto != ICMP {
		p.Sport = to.Port()
	}
	p.conn.toSrc, p.conn.toSport, p.conn.srcSet = p.Src, p.Sport, true
	p.conn.snat = p.conn.snat || was != netip.AddrPortFrom(p.Src, p.Sport)
}

// target reads where NAT leads to: ADDRESS, ADDRESS:PORT, ADDRESS:FIRST-LAST/BASE, or the
// same without an address. A range of several without a base is the kernel's choice.
func target(text string, port uint16) (netip.AddrPort, bool) {
	if text == "" || strings.Contains(text, ",") {
		return netip.AddrPort{}, false
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(a, 0), true
	}
	host, ports := "", text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		host, ports = text[:i], text[i+1:]
	}
	var addr netip.Addr
	if host != "" {
		var err error
		if addr, err = netip.ParseAddr(strings.Trim(host, "[]")); err != nil {
			return netip.AddrPort{}, false
		}
	}
	span, base, offset := strings.Cut(ports, "/")
	first, last, several := strings.Cut(span, "-")
	n, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	if several && first != last {
		b, err := strconv.ParseUint(base, 10, 16)
		if !offset || err != nil {
			return netip.AddrPort{}, false
		}
		return netip.AddrPortFrom(addr, uint16(n)+port-uint16(b)), true
	}
	return netip.AddrPortFrom(addr, uint16(n)), true
}
