package nflog

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is one that was logged.
type Packet struct {
	Prefix string  // of the rule
	Link   int     // the index of the link that it came in by; 0: it is not known
	MAC    [6]byte // of who sent it on that link; zero: it is not known
	Flow   bool    // what follows is of the first packet of its flow, before any translation, not of itself

	From, To netip.AddrPort // without ports in protocols that have none, and where a fragment has none
	Proto    uint8          // IANA's number; 0, as To: it can't be told
}

// Attributes of a packet (linux/netfilter/nfnetlink_log.h), and of the flow in it
// (nfnetlink_conntrack.h).
const (
	packetLink    = 4
	packetHWAddr  = 8
	packetPayload = 9
	packetPrefix  = 10
	packetFlow    = 18

	flowOriginal = 1
	tupleIP      = 1
	tupleProto   = 2
	ipSource4    = 1
	ipTo4        = 2
	ipSource6    = 3
	ipTo6        = 4
	protoNumber  = 1
	protoFrom    = 2
	protoTo      = 3
)

const (
	sizeofNfgenmsg = 4
	sizeofNlattr   = 4
	typeMask       = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
)

func align(n int) int { return (n + 3) &^ 3 }

// messages calls fn with the type and the body of each netlink message; the rest of what is cut
// short is left out.
func messages(data []byte, fn func(kind uint16, body []byte)) {
	for len(data) >= unix.SizeofNlMsghdr {
		length := int64(binary.NativeEndian.Uint32(data))
		if length < unix.SizeofNlMsghdr || length > int64(len(data)) {
			return
		}
		fn(binary.NativeEndian.Uint16(data[4:]), data[unix.SizeofNlMsghdr:length])
		data = data[min(align(int(length)), len(data)):]
	}
}

// attributes is messages for attributes.
func attributes(data []byte, fn func(kind uint16, value []byte)) {
	for len(data) >= sizeofNlattr {
		length := int(binary.NativeEndian.Uint16(data))
		if length < sizeofNlattr || length > len(data) {
			return
		}
		fn(binary.NativeEndian.Uint16(data[2:])&typeMask, data[sizeofNlattr:length])
		data = data[min(align(length), len(data)):]
	}
}

// Packets calls fn with each packet of messages of the kernel's. One whose destination can't be
// told is left out.
func Packets(data []byte, fn func(Packet)) {
	messages(data, func(kind uint16, body []byte) {
		if kind != msgPacket || len(body) < sizeofNfgenmsg {
			return
		}
		if p, ok := parse(body[sizeofNfgenmsg:]); ok {
			fn(p)
		}
	})
}

func parse(body []byte) (p Packet, ok bool) {
	var payload []byte
	attributes(body, func(kind uint16, value []byte) {
		switch kind {
		case packetLink:
			if len(value) >= 4 {
				p.Link = int(binary.BigEndian.Uint32(value))
			}
		case packetHWAddr: // struct nfulnl_msg_packet_hw: length, padding, eight bytes
			if len(value) >= 4+len(p.MAC) && binary.BigEndian.Uint16(value) == uint16(len(p.MAC)) {
				copy(p.MAC[:], value[4:])
			}
		case packetPrefix:
			p.Prefix = text(value)
		case packetPayload:
			payload = value
		case packetFlow:
			p.Flow = p.flow(value)
		}
	})
	return p, p.Flow || p.headers(payload)
}

// text is what is before the first NUL.
func text(value []byte) string {
	for i, b := range value {
		if b == 0 {
			return string(value[:i])
		}
	}
	return string(value)
}

// flow reads the direction in which a flow has begun.
func (p *Packet) flow(value []byte) bool {
	var from, to netip.Addr
	var fromPort, toPort uint16
	var proto uint8
	attributes(value, func(kind uint16, tuple []byte) {
		if kind != flowOriginal {
			return
		}
		attributes(tuple, func(kind uint16, part []byte) {
			attributes(part, func(of uint16, v []byte) {
				switch {
				case kind == tupleIP && (of == ipSource4 || of == ipSource6):
					from, _ = netip.AddrFromSlice(v) // what is none is invalid
				case kind == tupleIP && (of == ipTo4 || of == ipTo6):
					to, _ = netip.AddrFromSlice(v)
				case kind == tupleProto && of == protoNumber && len(v) >= 1:
					proto = v[0]
				case kind == tupleProto && of == protoFrom && len(v) >= 2:
					fromPort = binary.BigEndian.Uint16(v)
				case kind == tupleProto && of == protoTo && len(v) >= 2:
					toPort = binary.BigEndian.Uint16(v)
				}
			})
		})
	})
	if !from.IsValid() || !to.IsValid() || proto == 0 {
		return false
	}
	p.From, p.To, p.Proto = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort), proto
	return true
}

// headers reads those of the packet itself.
func (p *Packet) headers(data []byte) bool {
	if len(data) < 1 {
		return false
	}
	var from, to netip.Addr
	first := true // the fragment that has the ports, or a whole packet
	switch data[0] >> 4 {
	case 4: // RFC 791
		length := int(data[0]&0xf) * 4
		if len(data) < 20 || length < 20 {
			return false
		}
		p.Proto, first = data[9], binary.BigEndian.Uint16(data[6:])&0x1fff == 0
		from, to = netip.AddrFrom4([4]byte(data[12:])), netip.AddrFrom4([4]byte(data[16:]))
		data = data[min(length, len(data)):]
	case 6: // RFC 8200
		if len(data) < 40 {
			return false
		}
		from, to = netip.AddrFrom16([16]byte(data[8:])), netip.AddrFrom16([16]byte(data[24:]))
		p.Proto, data, first = behindExtensions(data[6], data[40:])
	default:
		return false
	}
	var fromPort, toPort uint16
	hasPorts := p.Proto == unix.IPPROTO_TCP || p.Proto == unix.IPPROTO_UDP || p.Proto == unix.IPPROTO_SCTP
	if first && hasPorts && len(data) >= 4 {
		fromPort, toPort = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	}
	p.From, p.To = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
	return true
}

// behindExtensions skips the extension headers of IPv6 (RFC 8200, section 4). What is cut short is
// the protocol as far as it is seen.
func behindExtensions(next uint8, data []byte) (proto uint8, rest []byte, first bool) {
	first = true
	for {
		length := 0
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if len(data) >= 2 {
				length = 8 + 8*int(data[1])
			}
		case unix.IPPROTO_FRAGMENT:
			if length = 8; len(data) >= 4 {
				first = binary.BigEndian.Uint16(data[2:])&^7 == 0
			}
		case unix.IPPROTO_AH: // RFC 4302: in words of four bytes, less two
			if len(data) >= 2 {
				length = 8 + 4*int(data[1])
			}
		default:
			return next, data, first
		}
		if length == 0 || len(data) < length {
			return next, nil, first
		}
		next, data = data[0], data[length:]
	}
}
