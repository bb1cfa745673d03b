package ipam

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// This file chooses: it is arithmetic on IPv4 addresses as numbers, and knows
// neither the store nor Docker. Numbers are 64 bits wide, so that the one behind
// 255.255.255.255 is one too.

// span is a run of consecutive addresses, both ends included. It is empty if first
// is greater than last.
type span struct{ first, last uint64 }

func (s span) size() uint64 {
	if s.first > s.last {
		return 0
	}
	return s.last - s.first + 1
}

// number returns an IPv4 address as a number.
func number(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

// addr is the inverse of number.
func addr(n uint64) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n))))
}

// spanOf returns all addresses of a subnet.
func spanOf(p netip.Prefix) span {
	first := number(p.Masked().Addr())
	return span{first, first + 1<<(32-p.Bits()) - 1}
}

// hostsOf returns the addresses of a subnet that a host can have. The first is the
// network's and the last is for broadcasts (RFC 1122, 3.2.1.3, and RFC 3021 for the
// first); a subnet of two addresses has no need of either (RFC 3021), and one of one
// address has no room.
func hostsOf(p netip.Prefix) span {
	s := spanOf(p)
	if p.Bits() < 31 {
		s.first++
		s.last--
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
	return span{max(hosts.first, part.first), min(hosts.last, part.last)}
}

// nextAddr returns the first address of s behind the given one that is not leased;
// it goes on at the start of s when it has come to its end, so the given address is
// the last that it looks at. A zero address, and one outside s, means the start.
// leased yields the leased addresses from one on, in order; what is read of it is
// the run of leases before the address that is found.
func nextAddr(s span, behind netip.Addr, leased func(from netip.Addr) iter.Seq[netip.Addr]) (netip.Addr, bool) {
	start := s.first
	if behind.IsValid() {
		if n := number(behind); s.first <= n && n < s.last {
			start = n + 1
		}
	}
	for _, part := range []span{{start, s.last}, {s.first, start - 1}} {
		if part.size() == 0 {
			continue
		}
		if n := firstGap(part, leased(addr(part.first))); n <= part.last {
			return addr(n), true
		}
	}
	return netip.Addr{}, false
}

// firstGap returns the first number of s that is not among the leased ones, which
// are in order and begin at s.first or later; if all are, one greater than s.last.
func firstGap(s span, leased iter.Seq[netip.Addr]) uint64 {
	next := s.first
	for a := range leased {
		if next > s.last || number(a) != next {
			break
		}
		next++
	}
	return next
}

// obstacles returns the subnets that a chosen one must not overlap: held pools, and
// the host's IPv4 routes and addresses. A route to a sixteenth of all addresses or
// more is not counted: VPNs split their default route into 0.0.0.0/1 and
// 128.0.0.0/1, so that it wins over the other one.
func obstacles(held []model.Pool, routes []netip.Prefix) []netip.Prefix {
	const widest = 4 // bits
	var all []netip.Prefix
	for _, p := range held {
		all = append(all, p.Prefix)
	}
	for _, r := range routes {
		if r.Addr().Is4() && r.Bits() >= widest {
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
	slices.SortFunc(spans, func(a, b span) int { return int(a.first) - int(b.first) })
	for _, pool := range pools {
		size := uint64(1) << (32 - pool.Size)
		base := spanOf(pool.Base)
		next := base.first
		for _, s := range spans {
			if s.first > next+size-1 {
				break // so are all that follow: next is free
			}
			if s.last >= next {
				next = base.first + (s.last-base.first)/size*size + size
			}
		}
		if next <= base.last {
			return netip.PrefixFrom(addr(next), pool.Size), true
		}
	}
	return netip.Prefix{}, false
}
