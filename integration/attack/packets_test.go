package attack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// invalid is why packets of no flow leave no network that is masqueraded.
const invalid = "on a masqueraded network what is of no flow is dropped, with lists and without (state INVALID)"

// extended is a datagram behind an extension header of IPv6, whose first byte is filled in.
func (x scene) extended(kind byte, header ...byte) []byte {
	header[0] = unix.IPPROTO_UDP
	return x.via(x.to(x.evil, kind), append(header, x.datagram(x.evil, 9000)...))
}

// piece is a fragment of what eve sends to the foreign host, in either family.
func (x scene) piece(proto byte, at int, content []byte, more bool) []byte {
	if !x.v6() {
		p := x.to(x.evil, proto)
		p.id, p.offset, p.more = x.port, uint16(at/8), more
		return x.via(p, content)
	}
	header := []byte{proto, 0, 0, 0, 0, 0, byte(x.port >> 8), byte(x.port)} // RFC 8200, 4.5
	binary.BigEndian.PutUint16(header[2:], uint16(at))
	if more {
		header[3] |= 1
	}
	return x.via(x.to(x.evil, unix.IPPROTO_FRAGMENT), append(header, content...))
}

// options is a datagram with options of IPv4.
func (x scene) options(b ...byte) attempts {
	p := x.to(x.evil, unix.IPPROTO_UDP)
	p.options = b
	return frames(x.via(p, x.datagram(x.evil, 9000)))
}

// inside is a packet within a packet.
func (x scene) inside(v6 bool) []byte {
	src, dst := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	if v6 {
		src, dst = netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::2")
	}
	return packet{src: src, dst: dst, proto: unix.IPPROTO_UDP}.bytes(udp(src, dst, x.port, 9000, x.text()))
}

var packets = []row{
	{name: "ICMP echo with data, to a foreign address", try: func(x scene) attempts { return frames(x.via(x.to(x.evil, x.icmpProto()), x.echo(x.evil, false))) }},
	{name: "ICMP echo with data, to an address that is listed for TCP", at: lan, try: func(x scene) attempts { return frames(x.via(x.to(x.lan, x.icmpProto()), x.echo(x.lan, false))) }},
	{name: "an ICMP echo reply without a request", fails: invalid, try: func(x scene) attempts { return frames(x.via(x.to(x.evil, x.icmpProto()), x.echo(x.evil, true))) }},
	{name: "an ICMP error about a flow that is none", fails: invalid, try: func(x scene) attempts {
		inner := packet{src: x.evil, dst: x.eve, proto: unix.IPPROTO_UDP}.bytes(udp(x.evil, x.eve, 9000, x.port, x.text()))
		return frames(x.via(x.to(x.evil, x.icmpProto()), icmp(x.eve, x.evil, x.unreachable(), 1, append(make([]byte, 4), inner...))))
	}},
	{name: "an ICMP timestamp request with data", only: "IPv4",
		try: func(x scene) attempts { return frames(x.via(x.to(x.evil, 1), icmp(x.eve, x.evil, 13, 0, x.text()))) }},
	{name: "UDP with a record route option", only: "IPv4", try: func(x scene) attempts { return x.options(7, 7, 4, 0, 0, 0, 0, 0) }},
	{name: "UDP with a timestamp option", only: "IPv4", try: func(x scene) attempts { return x.options(68, 8, 5, 0, 0, 0, 0, 0) }},
	{name: "UDP with a router alert option", only: "IPv4", try: func(x scene) attempts { return x.options(148, 4, 0, 0) }},
	{name: "a loose source route", only: "IPv4", fails: "the host takes no source routes (`accept_source_route` of all interfaces is 0)",
		try: func(x scene) attempts {
			p := x.to(x.host, unix.IPPROTO_UDP)
			p.options = append(append([]byte{131, 7, 4}, x.evil.AsSlice()...), 0)
			return frames(x.via(p, x.datagram(x.host, 9000)))
		}},
	{name: "UDP in tiny fragments (the first has the ports alone)", try: func(x scene) attempts {
		whole := x.datagram(x.evil, 9000)
		return frames(x.piece(unix.IPPROTO_UDP, 0, whole[:8], true), x.piece(unix.IPPROTO_UDP, 8, whole[8:], false))
	}},
	{name: "TCP in tiny fragments (the flags are in the second)", only: "IPv4", try: tinySYN},
	{name: "TCP in tiny fragments (the flags are in the second)", only: "IPv6", fails: "Linux drops a first fragment without the whole header (RFC 8200, 4.5)", try: tinySYN},
	{name: "fragments in the wrong order", try: func(x scene) attempts {
		whole := x.datagram(x.evil, 9000)
		return frames(x.piece(unix.IPPROTO_UDP, 8, whole[8:], false), x.piece(unix.IPPROTO_UDP, 0, whole[:8], true))
	}},
	{name: "fragments that overlap", fails: "Linux drops the whole datagram (RFC 5722, and of IPv4 since 4.19)", try: func(x scene) attempts {
		whole := x.datagram(x.evil, 9000)
		return frames(x.piece(unix.IPPROTO_UDP, 0, whole[:16], true), x.piece(unix.IPPROTO_UDP, 8, whole[8:], false))
	}},
	{name: "a later fragment of nothing", fails: "connection tracking waits for the first one", try: func(x scene) attempts {
		return frames(x.piece(unix.IPPROTO_UDP, 64, x.text(), false))
	}},
	{name: "an atomic fragment", only: "IPv6", try: func(x scene) attempts { return frames(x.piece(unix.IPPROTO_UDP, 0, x.datagram(x.evil, 9000), false)) }},
	{name: "destination options before UDP", only: "IPv6", try: func(x scene) attempts { return frames(x.extended(unix.IPPROTO_DSTOPTS, 0, 0, 1, 4, 0, 0, 0, 0)) }},
	{name: "hop-by-hop options before UDP", only: "IPv6", try: func(x scene) attempts { return frames(x.extended(unix.IPPROTO_HOPOPTS, 0, 0, 1, 4, 0, 0, 0, 0)) }},
	{name: "a routing header before UDP (type 2)", only: "IPv6", try: func(x scene) attempts {
		return frames(x.extended(unix.IPPROTO_ROUTING, append([]byte{0, 2, 2, 0, 0, 0, 0, 0}, x.evil.AsSlice()...)...))
	}},
	{name: "a routing header that leads on from the host (type 0)", only: "IPv6", fails: "Linux takes none (RFC 5095)", try: func(x scene) attempts {
		header := append([]byte{unix.IPPROTO_UDP, 2, 0, 1, 0, 0, 0, 0}, x.evil.AsSlice()...)
		return frames(x.via(x.to(x.host, unix.IPPROTO_ROUTING), append(header, x.datagram(x.evil, 9000)...)))
	}},
	{name: "no next header, and data behind it", only: "IPv6", fails: invalid, try: func(x scene) attempts { return frames(x.bare(x.evil, unix.IPPROTO_NONE, nil)) }},
	{name: "IP in IP (4)", try: func(x scene) attempts { return frames(x.via(x.to(x.evil, unix.IPPROTO_IPIP), x.inside(false))) }},
	{name: "IPv6 in IP (41, 6in4)", try: func(x scene) attempts { return frames(x.via(x.to(x.evil, unix.IPPROTO_IPV6), x.inside(true))) }},
	{name: "GRE (47)", try: func(x scene) attempts { return frames(x.bare(x.evil, unix.IPPROTO_GRE, []byte{0, 0, 8, 0})) }},
	{name: "ESP (50)", try: func(x scene) attempts {
		return frames(x.bare(x.evil, unix.IPPROTO_ESP, []byte{0, 0, 1, 0, 0, 0, 0, 1}))
	}},
	{name: "AH (51)", only: "IPv4", try: func(x scene) attempts {
		return frames(x.bare(x.evil, unix.IPPROTO_AH, []byte{17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
	}},
	{name: "SCTP (132)", try: func(x scene) attempts { return frames(x.via(x.to(x.evil, unix.IPPROTO_SCTP), x.sctp())) }},
	{name: "a protocol that nobody knows (253)", try: func(x scene) attempts { return frames(x.bare(x.evil, 253, nil)) }},
	{name: "the same, to an address that is listed for TCP", at: lan, try: func(x scene) attempts { return frames(x.bare(x.lan, 253, nil)) }},
	{name: "IGMP to a foreign address", only: "IPv4", try: func(x scene) attempts { return frames(x.bare(x.evil, unix.IPPROTO_IGMP, []byte{0x16, 0, 0, 0})) }},
}

// unreachable is the type of an ICMP error (RFC 792; RFC 4443, 3.1).
func (x scene) unreachable() byte {
	if x.v6() {
		return 1
	}
	return 3
}

// tinySYN is a SYN in two fragments, the first of which has the ports alone.
func tinySYN(x scene) attempts {
	whole := tcp(x.eve, x.evil, x.port, 8080, syn, x.text())
	return frames(x.piece(unix.IPPROTO_TCP, 0, whole[:8], true), x.piece(unix.IPPROTO_TCP, 8, whole[8:], false))
}

var senders = []row{
	{name: "UDP from an address of the network that is nobody's", try: func(x scene) attempts { return frames(x.as(x.nobody, x.evil)) }},
	{name: "UDP from the neighbour's address", try: func(x scene) attempts { return frames(x.as(x.neighbour, x.evil)) }},
	{name: "UDP from another network's address", try: func(x scene) attempts { return frames(x.as(x.other, x.evil)) }},
	{name: "UDP from the listed host's address", try: func(x scene) attempts { return frames(x.as(x.lan, x.evil)) }},
	{name: "UDP from the host's own address", only: "IPv4", fails: "the kernel takes its own address for nobody else's (a martian source)", try: func(x scene) attempts { return frames(x.as(x.host, x.evil)) }},
	{name: "UDP from the host's own address", only: "IPv6", try: func(x scene) attempts { return frames(x.as(x.host, x.evil)) }},
	{name: "UDP with another MAC", try: func(x scene) attempts {
		mac := append(x.eveMAC[:5:5], 0x77)
		return frames(frame(x.gatewayMAC, mac, x.to(x.evil, 17).ethertype(), x.to(x.evil, 17).bytes(x.datagram(x.evil, 9000))))
	}},
	{name: "what looks like the beginning of a connection from outside to a published port, and the answer to it", try: func(x scene) attempts {
		begin := packet{src: x.evil, dst: x.host, proto: unix.IPPROTO_UDP}
		return frames(x.via(begin, udp(x.evil, x.host, x.port, x.published, []byte("?"))), x.via(x.to(x.evil, unix.IPPROTO_UDP), udp(x.eve, x.evil, 9053, x.port, x.text())))
	}},
	{name: "an answer of the host's resolver", at: host, try: func(x scene) attempts {
		p := packet{src: x.lan, dst: x.host, proto: unix.IPPROTO_UDP}
		return frames(x.via(p, udp(x.lan, x.host, 53, x.port, x.text())))
	}},
	{name: "ARP: the gateway is here, to the neighbour", only: "IPv4", at: neighbour, try: func(x scene) attempts {
		return frames(frame(x.neighbourMAC, x.eveMAC, unix.ETH_P_ARP, arp(2, x.eveMAC, x.gateway, x.neighbourMAC, x.neighbour, x.token)))
	}},
	{name: "ARP: the gateway is here, to all (gratuitous)", only: "IPv4", at: neighbour, try: func(x scene) attempts {
		return frames(frame(everybody, x.eveMAC, unix.ETH_P_ARP, arp(1, x.eveMAC, x.gateway, everybody, x.gateway, x.token)))
	}},
	{name: "ARP: the neighbour is here, to the host", only: "IPv4", at: bridge, try: func(x scene) attempts {
		return frames(frame(x.gatewayMAC, x.eveMAC, unix.ETH_P_ARP, arp(2, x.eveMAC, x.neighbour, x.gatewayMAC, x.gateway, x.token)))
	}},
	{name: "neighbour discovery: the gateway is here, to the neighbour", only: "IPv6", at: neighbour, try: func(x scene) attempts {
		return frames(frame(x.neighbourMAC, x.eveMAC, unix.ETH_P_IPV6, x.advertise(x.gateway, x.neighbour)))
	}},
	{name: "neighbour discovery: the neighbour is here, to the host", only: "IPv6", at: host, try: func(x scene) attempts {
		return frames(frame(x.gatewayMAC, x.eveMAC, unix.ETH_P_IPV6, x.advertise(x.neighbour, x.gateway)))
	}},
	{name: "a router advertisement, to all", only: "IPv6", at: neighbour, try: func(x scene) attempts {
		all := netip.MustParseAddr("ff02::1")
		p := packet{src: x.eveLocal, dst: all, proto: unix.IPPROTO_ICMPV6, ttl: 255}
		b := append([]byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 14, 2, 0, 0}, x.token...)
		return frames(frame(station(all), x.eveMAC, unix.ETH_P_IPV6, p.bytes(icmp(x.eveLocal, all, 134, 0, b))))
	}},
}

// as is a datagram from somebody else's address.
func (x scene) as(src, dst netip.Addr) []byte {
	return x.via(packet{src: src, dst: dst, proto: unix.IPPROTO_UDP}, udp(src, dst, x.port, 9000, x.text()))
}

// advertise is a neighbour advertisement that overrides what is known (RFC 4861, 4.4), with the token
// in a nonce option (RFC 3971, 5.3.2).
func (x scene) advertise(target, to netip.Addr) []byte {
	b := append([]byte{0x60, 0, 0, 0}, target.AsSlice()...)
	b = append(append(b, 2, 1), x.eveMAC...)
	b = append(append(b, 14, 2), append([]byte(x.token), 0, 0)...)
	return packet{src: x.eve, dst: to, proto: unix.IPPROTO_ICMPV6, ttl: 255}.bytes(icmp(x.eve, to, 136, 0, b))
}
