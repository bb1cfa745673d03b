package nftables

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// This file has the words of rules about frames: where the fields of Ethernet (IEEE 802.3),
// ARP (RFC 826) and neighbour discovery (RFC 4861) are.

func macKind() kind {
	return kind{nftables.TypeEtherAddr, 8, func(b []byte) string { return net.HardwareAddr(b).String() }}
}

// icmp6Kind is for keys that have no other field: those are as long as what they hold.
func icmp6Kind() kind {
	return kind{nftables.TypeICMP6Type, 1, func(b []byte) string { return fmt.Sprint(b[0]) }}
}

func macBytes(m [6]byte) string { return string(m[:]) + "\x00\x00" }

// payload is a field of a packet that has no name in nft(8), or none that it would print: bits
// from the beginning of a header, as @nh,64,48.
func payload(text string, k kind, base expr.PayloadBase, offset uint32) field {
	return field{text, k, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: k.bytes()}
	}}
}

func etherSource() field { return payload("ether saddr", macKind(), expr.PayloadBaseLLHeader, 6) }

func arpSenderMAC() field {
	return payload("arp saddr ether", macKind(), expr.PayloadBaseNetworkHeader, 8)
}
func arpSender() field {
	return payload("arp saddr ip", ipv4().address, expr.PayloadBaseNetworkHeader, 14)
}
func arpTarget() field {
	return payload("arp daddr ip", ipv4().address, expr.PayloadBaseNetworkHeader, 24)
}

// ndTarget is the address that a neighbour solicitation or advertisement is about, and ndOption
// the link-layer address in the option directly behind it (RFC 4861, 4.3, 4.4 and 4.6.1).
func ndTarget() field {
	return payload("@th,64,128", ipv6().address, expr.PayloadBaseTransportHeader, 8)
}
func ndOption() field {
	return payload("@th,208,48", macKind(), expr.PayloadBaseTransportHeader, 26)
}
func icmp6Type() field {
	return payload("icmpv6 type", icmp6Kind(), expr.PayloadBaseTransportHeader, 0)
}

// notIn matches what is not in a set.
func notIn(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{text + " != @" + set, append(exprs, &expr.Lookup{SourceRegister: register(0), SetName: set, Invert: true})}
}

// compared matches bytes of a packet.
func compared(text string, base expr.PayloadBase, offset uint32, op expr.CmpOp, data ...byte) clause {
	return clause{text, []expr.Any{
		&expr.Payload{DestRegister: register(0), Base: base, Offset: offset, Len: uint32(len(data))},
		&expr.Cmp{Op: op, Register: register(0), Data: data},
	}}
}

// etherType matches what a frame carries, behind a tag of 802.1Q if it has one.
func etherType(word string, number uint16) clause {
	return clause{"meta protocol " + word, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: binary.BigEndian.AppendUint16(nil, number)},
	}}
}

// untagged matches what a frame carries that has no tag of 802.1Q: where its type is (IEEE 802.3)
// the kernel shows the tag, be it in the frame or beside it (nft_payload_eval).
func untagged(word string, number uint16) clause {
	return compared("ether type "+word, expr.PayloadBaseLLHeader, 12, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, number)...)
}

// arpOfOthers matches ARP that is not about IPv4 on Ethernet, whose fields are elsewhere.
func arpOfOthers() clause {
	return compared("@nh,0,48 != 0x000108000604", expr.PayloadBaseNetworkHeader, 0, expr.CmpOpNeq, 0, 1, 8, 0, 6, 4)
}

// hasOption matches a link-layer address of 8 bytes in all as the first option behind the target.
func hasOption(kind byte) clause {
	return compared(fmt.Sprintf("@th,192,16 0x%02x01", kind), expr.PayloadBaseTransportHeader, 24, expr.CmpOpEq, kind, 1)
}

// protocol4 matches the protocol of IPv4 (RFC 791, 3.1), which needs no `meta`.
func protocol4(name string, number byte) clause {
	return compared("ip protocol "+name, expr.PayloadBaseNetworkHeader, 9, expr.CmpOpEq, number)
}

// otherProtocol4 matches every other one.
func otherProtocol4(name string, number byte) clause {
	return compared("ip protocol != "+name, expr.PayloadBaseNetworkHeader, 9, expr.CmpOpNeq, number)
}

// transport matches a port; what carries it is known to have ports. word is sport or dport.
//
// Be aware: only the first fragment has ports. Of later ones the kernel compares what is in their
// place, data or the beginning of the IPv6 header, where it reads at most four bytes in the quick way
// (nft_payload_fast_eval).
func transport(word string, number uint16) clause {
	return transportPort(word, "", expr.CmpOpEq, number)
}

// otherTransport matches every other one. What is too short to have one matches neither.
func otherTransport(word string, number uint16) clause {
	return transportPort(word, "!= ", expr.CmpOpNeq, number)
}

func transportPort(word, sign string, op expr.CmpOp, number uint16) clause {
	offset := map[string]uint32{"sport": 0, "dport": 2}[word]
	return compared(fmt.Sprintf("th %s %s%d", word, sign, number), expr.PayloadBaseTransportHeader, offset, op, byte(number>>8), byte(number))
}

// udpPort matches UDP of a port; word is sport or dport.
func udpPort(word string, number uint16) clause {
	c, p := protocol("udp", unix.IPPROTO_UDP), transport(word, number)
	return clause{strings.Replace(p.text, "th", "udp", 1), append(c.exprs, p.exprs...)}
}

// otherProtocol matches packets whose protocol can be told, and is another one.
func otherProtocol(name string, number byte) clause {
	return clause{"meta l4proto != " + name, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: []byte{number}},
	}}
}

// unspecified matches 0.0.0.0 or ::.
func unspecified(f field) clause {
	a := netip.IPv4Unspecified()
	if f.kind.bytes() == 16 {
		a = netip.IPv6Unspecified()
	}
	return within(f, netip.PrefixFrom(a, a.BitLen()))
}

// linkOnly matches the addresses that no bridge forwards: what is sent there is taken by the
// bridge itself (IEEE 802.1D, table 7-10). All that the host takes meets it, so that the first
// four bytes are compared alone first, which is enough to tell nearly all else.
func linkOnly() clause {
	first := compared("", expr.PayloadBaseLLHeader, 0, expr.CmpOpEq, 1, 0x80, 0xc2, 0)
	return clause{"ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00", append(first.exprs,
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseLLHeader, Offset: 4, Len: 2},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 2, Mask: []byte{255, 0xf0}, Xor: make([]byte, 2)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{0, 0}},
	)}
}

func counted() clause { return clause{"counter", []expr.Any{&expr.Counter{}}} }
