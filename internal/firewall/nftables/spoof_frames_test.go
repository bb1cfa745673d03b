package nftables

import (
	"encoding/binary"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Frames, byte by byte: what no honest program would send is made here.

// ether puts a frame together, with tags of 802.1Q between the addresses and the type.
func ether(dst, src model.MAC, kind uint16, body []byte, tags ...uint16) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	for _, id := range tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, 0x8100), id)
	}
	return append(binary.BigEndian.AppendUint16(b, kind), body...)
}

// arpFrame is an ARP message about IPv4 on Ethernet (RFC 826); op 1 asks, 2 answers.
func arpFrame(op byte, mac model.MAC, from string, toMAC model.MAC, to string) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, mac[:]...)
	b = append(b, addr(from)...)
	b = append(b, toMAC[:]...)
	return append(b, addr(to)...)
}

func addr(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

// sum is the Internet checksum of several parts (RFC 1071), all but the last of even length.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for _, p := range parts {
		for i := 0; i < len(p); i += 2 {
			s += uint32(p[i]) << 8
			if i+1 < len(p) {
				s += uint32(p[i+1])
			}
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// ip4 is an IPv4 packet; fragment is its offset in units of 8 bytes, with 0x2000 if more follow.
func ip4(from, to string, proto byte, fragment uint16, body []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 7, 0, 0, 64, proto, 0, 0}
	b = append(append(b, addr(from)...), addr(to)...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(body)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	binary.BigEndian.PutUint16(b[10:], sum(b))
	return append(b, body...)
}

// udp is a datagram without a checksum over addresses, which IPv4 allows and nobody looks at here.
func udp(sport, dport uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(body)))
	return append(append(b, 0, 0), body...)
}

// ip6 is an IPv6 packet; next is the protocol of its body.
func ip6(from, to string, next byte, body []byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	return append(append(append(b, addr(from)...), addr(to)...), body...)
}

// labelled gives an IPv6 packet a flow label (RFC 8200, 3).
func labelled(label uint16, packet []byte) []byte {
	binary.BigEndian.PutUint16(packet[2:], label)
	return packet
}

// extension puts an extension header of 8 bytes that does nothing in front (RFC 8200, 4.6: a
// destination option PadN).
func extension(next byte, body []byte) []byte {
	return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, body...)
}

// fragment6 puts a fragment header in front (RFC 8200, 4.5).
func fragment6(next byte, offset uint16, more bool, body []byte) []byte {
	at := offset << 3
	if more {
		at |= 1
	}
	return append([]byte{next, 0, byte(at >> 8), byte(at), 0, 0, 0, 7}, body...)
}

// nd is a message of neighbour discovery: a target if it has one, and an option with a MAC unless
// its kind is 0.
func nd(from, to string, kind byte, target string, option byte, mac model.MAC) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	if kind == 134 {
		b = append(b, make([]byte, 8)...) // reachable time and retransmission timer
	}
	if target != "" {
		b = append(b, addr(target)...)
	}
	if kind == 137 {
		b = append(b, addr(to)...) // the destination that is redirected
	}
	if option != 0 {
		b = append(append(b, option, 1), mac[:]...)
	}
	pseudo := append(append(addr(from), addr(to)...), 0, 0, 0, byte(len(b)), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(b[2:], sum(pseudo, b))
	return b
}
