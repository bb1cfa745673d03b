package ipam

import (
	"encoding/binary"
	"iter"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// This file chooses: it is arithmetic on addresses, and knows neither the store nor
// Docker. Both families are alike to it but for their length: an address has a next
// one, and a subnet a last one, whether it is of 32 or of 128 bits. All addresses of
// IPv4 are less than those of IPv6, and no next address is in the other family.

// span is a run of consecutive addresses of one family, both ends included. It is
// empty if first is greater than last.
type span struct{ first, last netip.Addr }

func (s span) empty() bool { return s.last.Less(s.first) }

// size returns how many addresses there are in a span; math.MaxUint64 if more.
func (s span) size() uint64 {
	if s.empty() {
		return 0
	}
	first, last := s.first.As16(), s.last.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(first[:8]), borrow)
	if high > 0 || low == math.MaxUint64 {
		return math.MaxUint64
	}
	return low + 1
}

// spanOf returns all addresses of a subnet.
func spanOf(p netip.Prefix) span {
	first := p.Masked().Addr()
	last := first.AsSlice()
	for bit := p.Bits(); bit < first.BitLen(); bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(last) // as long as it was
	return span{first, a}
}

// hostsOf returns the addresses of a subnet that a host can have. The first one of
// IPv4 is the network's and the last is for broadcasts (RFC 1122, 3.2.1.3, and RFC
// 3021 for the first); the first of IPv6 is that of the subnet's routers, whichever
// hears it (RFC 4291, 2.6.1), and there are no broadcasts. A subnet of two addresses
// has no need of any of these (RFC 3021, RFC 6164), and one of one address no room.
//
// Docker's own IPAM driver keeps the first address from everybody in these two IPv6
// subnets as well, so that they have no room for a container beside its gateway.
func hostsOf(p netip.Prefix) span {
	s := spanOf(p)
	if p.Addr().BitLen()-p.Bits() < 2 {
		return s
	}
	s.first = s.first.Next()
	if p.Addr().Is4() {
		s.last = s.last.Prev()
	}
	return s
}

// chosenFrom is the part of a pool that addresses are chosen from.
func chosenFrom(p model.Pool) netip.Prefix {
	if p.Sub.IsValid() {
		return p.Sub
	}
	return p.Prefix
}

// rangeOf returns the addresses that can be chosen in a pool. The ends of a sub-pool
// are addresses like any other.
func rangeOf(p model.Pool) span {
	hosts, part := hostsOf(p.Prefix), spanOf(chosenFrom(p))
	if part.first.Less(hosts.first) {
		part.first = hosts.first
	}
	if hosts.last.Less(part.last) {
		part.last = hosts.last
	}
	return part
}

// nextAddr returns the first address of s behind the given one that is not leased;
// it goes on at the start of s when it has come to its end, so the given address is
// the last that it looks at. A zero address, and one outside s, means the start.
// free returns the first address of a span that is not leased.
func nextAddr(s span, behind netip.Addr, free func(span) (netip.Addr, bool)) (netip.Addr, bool) {
	parts := []span{s}
	if !behind.Less(s.first) && behind.Less(s.last) {
		parts = []span{{behind.Next(), s.last}, {s.first, behind}}
	}
	for _, part := range parts {
		if part.empty() {
			continue
		}
		if a, ok := free(part); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// gaps finds free addresses by the leased ones from one on, in order; what is read of them is
// the run before the address that is found.
func gaps(leased func(from netip.Addr) iter.Seq[netip.Addr]) func(span) (netip.Addr, bool) {
	return func(s span) (netip.Addr, bool) {
		next := s.first
		for a := range leased(s.first) {
			if a != next {
				break
			}
			if next == s.last {
				return netip.Addr{}, false
			}
			next = next.Next()
		}
		return next, true
	}
}

// obstacles returns the subnets that a chosen one must not overlap: held pools, and
// the host's routes and addresses, save very wide ones.
func obstacles(held []model.Pool, routes []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range held {
		all = append(all, p.Prefix)
	}
	for _, r := range routes {
		if !model.VeryWide(r) {
			all = append(all, r.Masked())
		}
	}
	return all
}

// nextSubnet returns the first subnet of the pools, in their order, that overlaps
// none of taken. It takes a step for each taken subnet at most, however many
// subnets the pools have.
func nextSubnet(pools []AddressPool, taken []netip.Prefix) (netip.Prefix, bool) {
	spans := make([]span, len(taken))
	for i, t := range taken {
		spans[i] = spanOf(t)
	}
	slices.SortFunc(spans, func(a, b span) int { return a.first.Compare(b.first) })
	for _, pool := range pools {
		next := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Size)
		for _, s := range spans {
			if !next.IsValid() || spanOf(next).last.Less(s.first) {
				break // so are all that follow: next is free
			}
			if !s.last.Less(next.Addr()) {
				behind := spanOf(netip.PrefixFrom(s.last, pool.Size)).last.Next() // zero behind the last of all
				next = netip.PrefixFrom(behind, pool.Size)
			}
		}
		if next.IsValid() && pool.Base.Contains(next.Addr()) {
			return next, true
		}
	}
	return netip.Prefix{}, false
}
