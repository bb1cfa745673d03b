package nftables

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// ruleset is the content of mybr's table in one family; without chains there is none.
type ruleset struct {
	chains []chain
	sets   []set
}

// chain is a list of rules.
type chain struct {
	name  string
	hook  *hook // nil: only other chains lead there
	rules []rule
}

// hook is where the kernel has packets enter a base chain.
type hook struct {
	kind     nftables.ChainType
	name     string
	point    *nftables.ChainHook
	priority nftables.ChainPriority
}

// rule is one rule as nft(8) prints it, and what it is for.
type rule struct {
	text, why string
	exprs     []expr.Any
}

// newRule puts a rule together.
func newRule(why string, clauses ...clause) rule {
	r := rule{why: why}
	var words []string
	for _, c := range clauses {
		words = append(words, c.text)
		r.exprs = append(r.exprs, c.exprs...)
	}
	r.text = strings.Join(words, " ")
	return r
}

// add appends rules.
func (c *chain) add(why string, clauses ...clause) {
	c.rules = append(c.rules, newRule(why, clauses...))
}

// set is a set or a map, named as nft(8) does.
type set struct {
	name     string
	key      []kind
	data     []kind // of a map; nil and not verdicts: it is a set
	verdicts bool   // it is a map of verdicts
	interval bool   // of the first field of its keys
	counter  bool   // each element counts
	dynamic  bool   // rules put the elements in, for askedFor: they are none of what is wanted
	elements []element
}

// isMap reports whether elements have data.
func (s set) isMap() bool { return s.verdicts || s.data != nil }

// element is one element. Its parts are as the kernel has them, so that they can be compared.
type element struct {
	key  string
	end  string // of the last key of an interval; "": there is only one
	data string // "": a set's; a verdict's is its words
	served
}

// served is what an element is for: the network of a bridge, and of its endpoints the one
// with that host's end of the veth pair. "": all of them.
type served struct {
	why, bridge, link string
}

// same reports whether the kernel can't tell two elements apart.
func (e element) same(o element) bool { return e.key == o.key && e.end == o.end && e.data == o.data }

func compareElements(a, b element) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.end, b.end), cmp.Compare(a.data, b.data))
}

// sorted puts the elements in order, and has each once.
func (s *set) sorted() {
	slices.SortStableFunc(s.elements, compareElements)
	s.elements = slices.CompactFunc(s.elements, element.same)
}

// kind is what a field of a key or of data holds.
type kind struct {
	nftables.SetDatatype
	size   int // in a key: a multiple of the kernel's registers, which have 4 bytes
	format func([]byte) string
}

// bytes is its size by itself.
func (k kind) bytes() uint32 { return k.Bytes }

func addressKind(t nftables.SetDatatype, size int) kind {
	return kind{t, size, func(b []byte) string { a, _ := netip.AddrFromSlice(b); return a.String() }}
}

func nameKind() kind {
	return kind{nftables.TypeIFName, 16, func(b []byte) string { return fmt.Sprintf("%q", bytes.TrimRight(b, "\x00")) }}
}

func protoKind() kind {
	return kind{nftables.TypeInetProto, 4, func(b []byte) string {
		switch b[0] {
		case unix.IPPROTO_ICMP:
			return "icmp"
		case unix.IPPROTO_ICMPV6:
			return "ipv6-icmp"
		}
		return model.Proto(b[0]).String()
	}}
}

func portKind() kind {
	return kind{nftables.TypeInetService, 4, func(b []byte) string { return fmt.Sprint(binary.BigEndian.Uint16(b)) }}
}

// key puts fields of a key or of data together.
func key(parts ...string) string { return strings.Join(parts, "") }

func nameBytes(name string) string { return name + strings.Repeat("\x00", 16-len(name)) }

func addrBytes(a netip.Addr) string { return string(a.AsSlice()) }

func protoBytes(p model.Proto) string { return string([]byte{byte(p), 0, 0, 0}) }

func portBytes(p uint16) string { return string([]byte{byte(p >> 8), byte(p), 0, 0}) }

// fields is how nft(8) prints a key or data.
func fields(kinds []kind, value string) string {
	var words []string
	for _, k := range kinds {
		if len(value) < k.size {
			return fmt.Sprintf("%#x", value) // of another type: somebody else's
		}
		words = append(words, k.format([]byte(value[:k.bytes()])))
		value = value[k.size:]
	}
	return strings.Join(words, " . ")
}

// text is how nft(8) prints an element, without what it has counted.
func (s set) text(e element) string {
	out := fields(s.key, e.key)
	if first := s.key[0]; e.end != "" && len(e.key) >= first.size && len(e.end) >= first.size {
		out = first.span(e.key[:first.bytes()], e.end[:first.bytes()])
		if rest := s.key[1:]; len(rest) > 0 {
			out += " . " + fields(rest, e.key[first.size:])
		}
	}
	switch {
	case s.verdicts:
		out += " : " + e.data
	case s.data != nil:
		out += " : " + fields(s.data, e.data)
	}
	return out
}

// span is a range, of addresses as a prefix if it is one.
func (k kind) span(first, last string) string {
	if k.Name == nftables.TypeInetService.Name {
		return k.format([]byte(first)) + "-" + k.format([]byte(last))
	}
	from, _ := netip.AddrFromSlice([]byte(first))
	to, _ := netip.AddrFromSlice([]byte(last))
	for bits := range from.BitLen() + 1 {
		if p := netip.PrefixFrom(from, bits); p.Masked() == p && lastOf(p) == to {
			if p.IsSingleIP() {
				return from.String()
			}
			return p.String()
		}
	}
	return from.String() + "-" + to.String()
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// word is what nft(8) calls it.
func (s set) word() string {
	if s.isMap() {
		return "map"
	}
	return "set"
}
