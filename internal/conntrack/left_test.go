package conntrack

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawEndpoints is some endpoints, of which one may be there several times with different addresses, as
// those are that ended before the process began.
func drawEndpoints(t *rapid.T) (all []Endpoint) {
	for range rapid.IntRange(0, 6).Draw(t, "endpoints") {
		e := Endpoint{ID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")}
		if n := rapid.IntRange(0, 3).Draw(t, "v4"); n > 0 {
			e.V4 = netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
		}
		if n := rapid.IntRange(0, 2).Draw(t, "v6"); n > 0 {
			e.V6 = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)})
		}
		all = append(all, e)
	}
	return all
}

// An address is left if an endpoint had it and has it no longer, whoever else has it, and in whatever
// order it is known what there was.
func TestLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawEndpoints(t), drawEndpoints(t)
		if rapid.Bool().Draw(t, "stay") {
			want = append(want, have...)
		}
		slices.SortStableFunc(want, func(a, b Endpoint) int { return compareEndpoints(&a, &b) })
		if rapid.Bool().Draw(t, "sorted") {
			slices.SortStableFunc(have, func(a, b Endpoint) int { return compareEndpoints(&a, &b) })
		}
		got, plain := map[netip.Addr]bool{}, map[netip.Addr]bool{}
		for _, a := range left(have, want) {
			got[a] = true
		}
		for _, e := range have {
			for _, a := range []netip.Addr{e.V4, e.V6} {
				if a.IsValid() && !slices.ContainsFunc(want, func(w Endpoint) bool { return w.ID == e.ID && (w.V4 == a || w.V6 == a) }) {
					plain[a] = true
				}
			}
		}
		if len(got) != len(plain) {
			t.Fatalf("left are %v, want %v", got, plain)
		}
		for a := range plain {
			if !got[a] {
				t.Fatalf("left are %v, want %v", got, plain)
			}
		}
	})
}
