package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"pgregory.net/rapid"
)

// Pools that are held at the same time never overlap in one address space, whoever
// chose them, and no chosen one overlaps a route.
func TestPoolsNeverOverlap(t *testing.T) {
	dir, round := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		s := openStore(t, filepath.Join(dir, fmt.Sprint(round)))
		defer s.Close()
		near := prefixes("10.0.0.0/24", "2001:db8::/56") // in both, 8 bits count
		routes := hostRoutes{drawPrefix(t, near[0], 32, "route"), drawPrefix(t, near[1], 64, "route")}
		more := rapid.IntRange(0, 6).Draw(t, "size")
		d := New(Config{Store: records{s}, Routes: routes, Pools: []AddressPool{{near[0], 24 + more}, {near[1], 56 + more}}})
		for range rapid.IntRange(1, 25).Draw(t, "calls") {
			r := &helper.RequestPoolRequest{AddressSpace: rapid.SampledFrom([]string{SpaceLocal, SpaceGlobal}).Draw(t, "space")}
			of := rapid.IntRange(0, 1).Draw(t, "family")
			r.V6 = of == 1
			switch rapid.IntRange(0, 3).Draw(t, "call") {
			case 0:
				if held := dump(t, s).Pools; len(held) > 0 {
					releasePool(t, d, rapid.SampledFrom(held).Draw(t, "pool").ID)
				}
				continue
			case 1:
				r.Pool = drawPrefix(t, near[of], near[of].Bits()+6, "subnet").String()
			}
			before := dump(t, s).Pools
			resp, err := d.RequestPool(context.Background(), r)
			after := dump(t, s).Pools
			if err != nil {
				if len(after) != len(before) {
					t.Fatalf("%v, but there are %d pools now", err, len(after))
				}
				continue
			}
			got := netip.MustParsePrefix(resp.Pool)
			if r.Pool == "" && (got.Overlaps(routes[of]) || !got.Overlaps(near[of])) {
				t.Fatalf("%s overlaps the route %s, or is not of %s", got, routes[of], near[of])
			}
			for _, p := range before {
				if p.Space == r.AddressSpace && p.Prefix.Overlaps(got) || p.ID == resp.PoolID {
					t.Fatalf("%s: %s overlaps %s", resp.PoolID, got, p.ID)
				}
			}
			if len(after) != len(before)+1 {
				t.Fatalf("have %d pools, want %d", len(after), len(before)+1)
			}
		}
	})
}
