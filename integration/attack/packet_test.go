package attack

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The makers of packets are for those that no honest program sends. Each gives bytes that the
// next one out takes as its content.

// frame is an Ethernet frame.
func frame(to, from net.HardwareAddr, ethertype uint16, content ...[]byte) []byte {
	b := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(b, ethertype), slices.Concat(content...)...)
}

// packet is an IP packet, RFC 791 or RFC 8200, of the family of its addresses.
type packet struct {
	src, dst netip.Addr
	proto    byte   // of the first header behind the fixed one, in IPv6
	options  []byte // of IPv4, whole words
	id       uint16 // of IPv4's fragments
	offset   uint16 // of IPv4, in units of 8 bytes
	more     bool   // more fragments of IPv4 follow
	ttl      byte   // 0: 64
}

func (p packet) ethertype() uint16 {
	if p.dst.Is6() {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

func (p packet) bytes(content []byte) []byte {
	if p.ttl == 0 {
		p.ttl = 64
	}
	if p.dst.Is6() {
		b := make([]byte, 8, 40+len(content))
		b[0], b[6], b[7] = 0x60, p.proto, p.ttl
		binary.BigEndian.PutUint16(b[4:], uint16(len(content)))
		return append(append(append(b, p.src.AsSlice()...), p.dst.AsSlice()...), content...)
	}
	b := make([]byte, 20, 60+len(content))
	b[0] = 0x40 | byte(5+len(p.options)/4)
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(p.options)+len(content)))
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], p.offset)
	if p.more {
		b[6] |= 0x20
	}
	b[8], b[9] = p.ttl, p.proto
	copy(b[12:], p.src.AsSlice())
	copy(b[16:], p.dst.AsSlice())
	b = append(b, p.options...)
	binary.BigEndian.PutUint16(b[10:], sum(b))
	return append(b, content...)
}

// udp is a datagram, whose checksum covers the addresses (RFC 768; RFC 8200, 8.1).
func udp(src, dst netip.Addr, from, to uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(data)))
	b = append(append(b, 0, 0), data...)
	binary.BigEndian.PutUint16(b[6:], pseudo(src, dst, unix.IPPROTO_UDP, b))
	return b
}

// Flags of TCP (RFC 9293, 3.1).
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// tcp is a segment.
func tcp(src, dst netip.Addr, from, to uint16, flags byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, 1000)
	b = binary.BigEndian.AppendUint32(b, 2000)
	b = append(b, 5<<4, flags, 4, 0, 0, 0, 0, 0)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[16:], pseudo(src, dst, unix.IPPROTO_TCP, b))
	return b
}

// icmp is a message of ICMP or ICMPv6.
func icmp(src, dst netip.Addr, kind, code byte, content []byte) []byte {
	b := append([]byte{kind, code, 0, 0}, content...)
	if dst.Is6() {
		binary.BigEndian.PutUint16(b[2:], pseudo(src, dst, unix.IPPROTO_ICMPV6, b))
	} else {
		binary.BigEndian.PutUint16(b[2:], sum(b))
	}
	return b
}

// arp is a message of ARP (RFC 826): 1 asks, 2 answers. trailer fills the frame.
func arp(op byte, mac net.HardwareAddr, ip netip.Addr, targetMAC net.HardwareAddr, target netip.Addr, trailer string) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, mac...)
	b = append(append(append(b, ip.AsSlice()...), targetMAC...), target.AsSlice()...)
	return append(b, trailer...)
}

// pseudo is the checksum over the pseudo header and the content. Its fields are of other sizes in
// IPv6, but the sum is the same.
func pseudo(src, dst netip.Addr, proto byte, content []byte) uint16 {
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint16(append(b, 0, proto), uint16(len(content)))
	s := sum(append(b, content...))
	if s == 0 {
		s = 0xffff // of UDP 0 says that there is none
	}
	return s
}

// sum is the Internet checksum (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// question is a question of DNS, with what follows it.
func question(name string, kind uint16, behind ...byte) []byte {
	b := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	if len(behind) > 0 {
		b[11] = 1 // one additional record
	}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(append(b, 0, 1), behind...)
}

// edns is a record of EDNS (RFC 6891) with an option of local use that has the data.
func edns(data string) []byte {
	b := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.BigEndian.AppendUint16(b, 65001)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// streamed is a message of DNS as TCP and TLS carry it.
func streamed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

// hello is the first message of a TLS client (RFC 8446, 4.1.2). It names a server, unless that is "",
// and has a protocol of ALPN; ech is the content of encrypted_client_hello, if there is one.
func hello(server, protocol string, ech []byte) []byte {
	vector := func(size int, content []byte) []byte {
		b := make([]byte, size)
		for i, n := size-1, len(content); i >= 0; i, n = i-1, n>>8 {
			b[i] = byte(n)
		}
		return append(b, content...)
	}
	var extensions []byte
	extension := func(kind uint16, content []byte) {
		extensions = append(binary.BigEndian.AppendUint16(extensions, kind), vector(2, content)...)
	}
	if server != "" {
		extension(0, vector(2, append([]byte{0}, vector(2, []byte(server))...)))
	}
	extension(16, vector(2, vector(1, []byte(protocol))))
	extension(10, vector(2, []byte{0, 29}))
	extension(13, vector(2, []byte{4, 3, 8, 4}))
	extension(43, vector(1, []byte{3, 4}))
	extension(51, vector(2, append([]byte{0, 29}, vector(2, make([]byte, 32))...)))
	if ech != nil {
		extension(0xfe0d, ech)
	}
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, vector(1, make([]byte, 32))...)
	body = append(body, vector(2, []byte{0x13, 1, 0x13, 2})...)
	body = append(body, 1, 0)
	body = append(body, vector(2, extensions)...)
	message := append([]byte{1}, vector(3, body)...)
	return append([]byte{22, 3, 1}, vector(2, message)...)
}

// encrypted is the content of an encrypted_client_hello of the outer kind: HKDF-SHA256 with
// AES-128-GCM, a key of X25519, and what would be the inner message.
func encrypted(data string) []byte {
	b := append([]byte{0, 0, 1, 0, 1, 7, 0, 32}, make([]byte, 32)...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}
