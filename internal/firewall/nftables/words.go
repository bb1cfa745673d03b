package nftables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// This file has the words that rules are made of: each as nft(8) prints it, and as the
// kernel takes it.

// clause is a part of a rule.
type clause struct {
	text  string
	exprs []expr.Any
}

// field is a part of a packet, or what is known of it, which can be looked up.
type field struct {
	text string
	kind kind
	load func(register uint32) expr.Any
}

// The kernel's registers are 16 of 4 bytes each, and four of these together have a number
// of their own, by which they are told where both would do (nft_dump_register).
func register(word int) uint32 {
	if word%4 == 0 {
		return uint32(unix.NFT_REG_1 + word/4)
	}
	return uint32(unix.NFT_REG32_00 + word)
}

func metaField(text string, k kind, key expr.MetaKey) field {
	return field{text, k, func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }}
}

func iif() field   { return metaField("iifname", nameKind(), expr.MetaKeyIIFNAME) }
func oif() field   { return metaField("oifname", nameKind(), expr.MetaKeyOIFNAME) }
func proto() field { return metaField("meta l4proto", protoKind(), expr.MetaKeyL4PROTO) }

// port is the destination port, which is at the same place in TCP, UDP and SCTP.
func port() field {
	return field{"th dport", portKind(), func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	}}
}

func (fam family) from() field { return fam.addressField("saddr", fam.source) }
func (fam family) to() field   { return fam.addressField("daddr", fam.source+fam.address.bytes()) }

func (fam family) addressField(word string, offset uint32) field {
	return field{fam.word + " " + word, fam.address, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: fam.address.bytes()}
	}}
}

// load puts fields side by side, as the keys of sets are made of them.
func load(fields []field) (text string, exprs []expr.Any) {
	var words []string
	at := 0
	for _, f := range fields {
		words = append(words, f.text)
		exprs = append(exprs, f.load(register(at)))
		at += f.kind.size / 4
	}
	return strings.Join(words, " . "), exprs
}

// in matches what is in a set.
func in(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{text + " @" + set, append(exprs, &expr.Lookup{SourceRegister: register(0), SetName: set})}
}

// by does what a map of verdicts says, if it says something.
func by(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{text + " vmap @" + set,
		append(exprs, &expr.Lookup{SourceRegister: register(0), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set})}
}

// dnat translates the destination to the address and port that a map has.
func (fam family) dnat(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{fmt.Sprintf("dnat %s to %s map @%s", fam.word, text, set), append(exprs,
		&expr.Lookup{SourceRegister: register(0), DestRegister: register(0), IsDestRegSet: true, SetName: set},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: fam.number,
			RegAddrMin: register(0), RegAddrMax: register(0), RegProtoMin: register(fam.address.size / 4), RegProtoMax: register(fam.address.size / 4), Specified: true})}
}

// snat translates the source to the address that a map has.
func (fam family) snat(set string, fields ...field) clause {
	text, exprs := load(fields)
	return clause{fmt.Sprintf("snat to %s map @%s", text, set), append(exprs,
		&expr.Lookup{SourceRegister: register(0), DestRegister: register(0), IsDestRegSet: true, SetName: set},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: fam.number, RegAddrMin: register(0), RegAddrMax: register(0)})}
}

func masquerade() clause { return clause{"masquerade", []expr.Any{&expr.Masq{}}} }

// native is a number as the kernel has those that are none of the network's.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// ct matches if a flow's state, or status, has one of the bits.
func ct(text string, key expr.CtKey, bits uint32) clause {
	return clause{text, []expr.Any{
		&expr.Ct{Key: key, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: native(0)},
	}}
}

// known matches replies, and what belongs to an established flow otherwise.
func known() clause {
	return ct("ct state established,related", expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

func invalid() clause { return ct("ct state invalid", expr.CtKeySTATE, expr.CtStateBitINVALID) }

// ipsDstNAT is IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h).
const ipsDstNAT = 1 << 5

// translated matches what a published port leads to a container.
func translated() clause { return ct("ct status dnat", expr.CtKeySTATUS, ipsDstNAT) }

// marked matches a mark.
func marked(value, mask uint32) clause {
	load := &expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)}
	compare := &expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: native(value)}
	if mask == 1<<32-1 {
		return clause{fmt.Sprintf("meta mark 0x%08x", value), []expr.Any{load, compare}}
	}
	return clause{fmt.Sprintf("meta mark & 0x%08x == 0x%08x", mask, value), []expr.Any{load,
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: native(mask), Xor: native(0)}, compare}}
}

// mark sets bits of the mark, and unmark takes them away.
func mark(bits uint32) clause {
	return remark(fmt.Sprintf("meta mark set meta mark | 0x%08x", bits), ^bits, bits)
}

func unmark(bits uint32) clause {
	return remark(fmt.Sprintf("meta mark set meta mark & 0x%08x", ^bits), ^bits, 0)
}

func remark(text string, mask, xor uint32) clause {
	return clause{text, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: native(mask), Xor: native(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register(0)},
	}}
}

// local matches what is sent to an address of the host.
func local() clause {
	return clause{"fib daddr type local", []expr.Any{
		&expr.Fib{Register: register(0), FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: native(unix.RTN_LOCAL)},
	}}
}

// protocol matches a protocol.
func protocol(name string, number byte) clause {
	return clause{"meta l4proto " + name, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{number}},
	}}
}

// advertisement matches router advertisements (RFC 4861, 4.2).
func advertisement() clause { return icmpv6("nd-router-advert", 134) }

// within matches addresses of a prefix, and outside all others.
func within(f field, p netip.Prefix) clause { return f.prefix("", expr.CmpOpEq, p) }

func outside(f field, p netip.Prefix) clause { return f.prefix("!= ", expr.CmpOpNeq, p) }

func (f field) prefix(word string, op expr.CmpOp, p netip.Prefix) clause {
	if p.IsSingleIP() {
		return clause{fmt.Sprintf("%s %s%s", f.text, word, p.Addr()), []expr.Any{f.load(register(0)),
			&expr.Cmp{Op: op, Register: register(0), Data: p.Addr().AsSlice()}}}
	}
	mask := make([]byte, f.kind.bytes())
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return clause{fmt.Sprintf("%s %s%s", f.text, word, p), []expr.Any{f.load(register(0)),
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: f.kind.bytes(), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: op, Register: register(0), Data: p.Addr().AsSlice()}}}
}

// verdict is what becomes of a packet, such as "drop" or "goto pass".
func verdict(text string) clause {
	return clause{text, []expr.Any{parseVerdict(text)}}
}

// parseVerdict reads the few verdicts that are used here.
func parseVerdict(text string) *expr.Verdict {
	word, chain, _ := strings.Cut(text, " ")
	v := &expr.Verdict{Chain: chain}
	switch word {
	case "accept":
		v.Kind = expr.VerdictAccept
	case "drop":
		v.Kind = expr.VerdictDrop
	case "return":
		v.Kind = expr.VerdictReturn
	case "jump":
		v.Kind = expr.VerdictJump
	case "goto":
		v.Kind = expr.VerdictGoto
	}
	return v
}
