package nftables

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
)

// This file has the words of rules about what is between containers of a network.

// etherType matches frames with packets of the family.
func (fam family) etherType() clause {
	if fam.Family == model.IPv4 {
		return etherType("ip", unix.ETH_P_IP)
	}
	return etherType("ip6", unix.ETH_P_IPV6)
}

// asked is a network's set of who has asked whom by UDP.
func (fam family) asked(bridge string) string {
	if fam.Family == model.IPv4 {
		return iccName(setICCAsked4, bridge)
	}
	return iccName(setICCAsked6, bridge)
}

// flow is what names a flow by a packet of who has begun it, and back by one of the other side.
func (fam family) flow() []field { return []field{fam.from(), fam.to(), sourcePort(), port()} }
func (fam family) back() []field { return []field{fam.to(), fam.from(), port(), sourcePort()} }

// noted puts an element into a dynamic set, or has its time begin anew. Where the set is full
// nothing happens, and no clause behind this one is looked at.
func noted(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{fmt.Sprintf("update @%s { %s }", set, text),
		append(exprs, &expr.Dynset{SrcRegKey: register(0), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE})}
}

// spanned matches a protocol, and what a span has of its ports; word is sport or dport.
func spanned(p model.Proto, s icc.Span, word string) []clause {
	out := []clause{protocol(strings.ToLower(p.String()), byte(p))}
	if s.First == 0 {
		return out
	}
	load := sourcePort().load(register(0))
	if word == "dport" {
		load = port().load(register(0))
	}
	bytes := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	if s.First == s.Last {
		return append(out, clause{fmt.Sprintf("th %s %d", word, s.First), []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: bytes(s.First)}}})
	}
	return append(out, clause{fmt.Sprintf("th %s %d-%d", word, s.First, s.Last), []expr.Any{load,
		&expr.Cmp{Op: expr.CmpOpGte, Register: register(0), Data: bytes(s.First)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: register(0), Data: bytes(s.Last)}}})
}

// masked matches if bytes of a packet have one of some bits.
func masked(text string, load expr.Any, mask ...byte) clause {
	return clause{text, []expr.Any{load,
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: make([]byte, len(mask))}}}
}

// tcpAnswers matches segments with ACK or RST (RFC 9293, 3.1).
func tcpAnswers() clause {
	return masked("tcp flags & (ack | rst) != 0", &expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1}, 0x14)
}

// noInit matches SCTP packets whose first chunk is another one than INIT (RFC 9260, 3.2).
func noInit() clause {
	return compared("@th,96,8 != 1", expr.PayloadBaseTransportHeader, 12, expr.CmpOpNeq, 1)
}

// icmpv4 matches a type of ICMP.
func icmpv4(number byte) clause {
	c := protocol("icmp", unix.IPPROTO_ICMP)
	p := compared(fmt.Sprintf("icmp type %d", number), expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, number)
	return clause{p.text, append(c.exprs, p.exprs...)}
}

// icmp6Is matches a type of what is known to be ICMPv6.
func icmp6Is(number byte) clause {
	return compared(fmt.Sprintf("icmpv6 type %d", number), expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, number)
}

// laterFragment4 matches fragments but the first (RFC 791, 3.1), and laterFragment6 those of IPv6
// (RFC 8200, 4.5).
func laterFragment4() clause {
	c := etherType("ip", unix.ETH_P_IP)
	m := masked("ip frag-off & 0x1fff != 0", &expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2}, 0x1f, 0xff)
	return clause{m.text, append(c.exprs, m.exprs...)}
}

func laterFragment6() clause {
	c := etherType("ip6", unix.ETH_P_IPV6)
	m := masked("frag frag-off != 0", &expr.Exthdr{DestRegister: register(0), Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6}, 0xff, 0xf8)
	return clause{m.text, append(c.exprs, m.exprs...)}
}

// toHost matches frames that are for the host's own hardware address (linux/if_packet.h).
func toHost() clause {
	return clause{"meta pkttype host", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{unix.PACKET_HOST}},
	}}
}
