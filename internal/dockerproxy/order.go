package dockerproxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// request is one published port as it was asked for.
type request struct {
	host        netip.Addr // zero: not named
	first, last uint16     // 0: any
	at          []netip.AddrPort
}

// requests are what was asked for of one port, in the order in which the engine publishes
// it. Engines up to 26 compare the requests in a way that puts those of one TCP port in the
// reverse order, and those of other protocols with the highest number first
// (nat.SortPortMap in Docker's go-connections). With several ports, some by TCP, that order
// also hangs on a map's, and is a matter of chance.
func requests(asked []wanted, proto string, sorted bool) (list []*request) {
	for _, w := range asked {
		if r, ok := w.parse(); ok {
			list = append(list, r)
		}
	}
	switch {
	case sorted:
		slices.SortStableFunc(list, (*request).compare)
	case proto == "tcp":
		slices.Reverse(list)
	default:
		slices.SortStableFunc(list, func(a, b *request) int { return cmp.Compare(b.first, a.first) })
	}
	return list
}

// inOrder gives the places of one port in the order of the requests. What was asked for
// with fewer numbers and addresses to choose from is found first.
func inOrder(places []netip.AddrPort, requests []*request) []netip.AddrPort {
	left := slices.Clone(places)
	narrow := slices.Clone(requests)
	slices.SortStableFunc(narrow, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.leeway(), b.leeway()), -a.host.Compare(b.host))
	})
	for _, r := range narrow {
		left = r.take(left)
	}
	out := make([]netip.AddrPort, 0, len(places))
	for _, r := range requests {
		out = append(out, r.at...)
	}
	for len(left) > 0 { // such as those of -P, which no request names
		var r request
		left = r.take(left)
		out = append(out, r.at...)
	}
	return out
}

func (w wanted) parse() (*request, bool) {
	r := &request{}
	if w.HostIP != "" {
		a, err := netip.ParseAddr(w.HostIP)
		if err != nil {
			return nil, false
		}
		r.host = a.Unmap()
	}
	if w.HostPort == "" {
		return r, true
	}
	from, to, isRange := strings.Cut(w.HostPort, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	last, errLast := strconv.ParseUint(to, 10, 16)
	r.first, r.last = uint16(first), uint16(last)
	return r, err == nil && errLast == nil
}

// leeway is how many numbers beside one could be chosen.
func (r *request) leeway() int {
	if r.first == 0 {
		return 1 << 16
	}
	return int(r.last) - int(r.first)
}

// take moves the places of a request from those that are left: one number, on one address
// or, where none was named, on one of each family, IPv4 first. A family that is routed has no
// number.
func (r *request) take(left []netip.AddrPort) []netip.AddrPort {
	i := slices.IndexFunc(left, func(at netip.AddrPort) bool { return at.Port() != 0 && r.fits(at) })
	number := uint16(0)
	if i >= 0 {
		number = left[i].Port()
	}
	left = slices.DeleteFunc(left, func(at netip.AddrPort) bool {
		mine := (at.Port() == number || at.Port() == 0) && r.fits(at) && !slices.ContainsFunc(r.at, func(have netip.AddrPort) bool {
			return have.Addr().Is4() == at.Addr().Is4()
		})
		if mine {
			r.at = append(r.at, at)
		}
		return mine
	})
	slices.SortFunc(r.at, func(a, b netip.AddrPort) int { return a.Addr().Compare(b.Addr()) })
	return left
}

func (r *request) fits(at netip.AddrPort) bool {
	if r.host.IsValid() && (r.host.Is4() != at.Addr().Is4() || at.Port() != 0 && at.Addr() != r.host) {
		return false
	}
	return r.first == 0 || at.Port() == 0 || r.first <= at.Port() && at.Port() <= r.last
}

// compare is the order in which engines from 27.0 on publish the ports of a container:
// those with one number, then the others, by number and address.
func (r *request) compare(o *request) int {
	choice := func(r *request) int { return min(r.leeway(), 1) }
	return cmp.Or(
		cmp.Compare(choice(r), choice(o)),
		cmp.Compare(r.first, o.first),
		cmp.Compare(r.last, o.last),
		r.host.Compare(o.host),
	)
}
