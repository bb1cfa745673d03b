package ipam

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

func anyPool(d *Driver, space string) (string, error) {
	r, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: space})
	if err != nil {
		return "", err
	}
	return r.Pool, nil
}

// The default subnets come in Docker's order, each once, and then none.
func TestDefaultSubnets(t *testing.T) {
	d, s := newDriver(t)
	var all []string
	for second := 17; second <= 31; second++ {
		all = append(all, fmt.Sprintf("172.%d.0.0/16", second))
	}
	for third := 0; third < 256; third += 16 {
		all = append(all, fmt.Sprintf("192.168.%d.0/20", third))
	}
	for _, want := range all {
		if have, err := anyPool(d, SpaceLocal); err != nil || have != want {
			t.Fatalf("have %s %v, want %s", have, err, want)
		}
	}
	const none = "request pool: every default subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)"
	if have, err := anyPool(d, SpaceLocal); err == nil || err.Error() != none {
		t.Errorf("have %s %v, want %s", have, err, none)
	}
	releasePool(t, d, dump(t, s).Pools[7].ID)
	if have, err := anyPool(d, SpaceLocal); err != nil || have != all[7] {
		t.Errorf("have %s %v, want %s, which is free again", have, err, all[7])
	}
	if have, err := anyPool(d, SpaceGlobal); err != nil || have != all[0] {
		t.Errorf("have %s %v, want %s in the other space", have, err, all[0])
	}
}

func TestSubnetsAvoidRoutesAndPools(t *testing.T) {
	d, _ := newDriver(t,
		"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "160.0.0.0/3", // default routes and such in disguise
		"172.17.0.1/32", "172.18.44.0/24", "172.20.0.0/14", "fe80::/64", "::/0")
	pool(t, d, "172.19.7.0/24", "")
	for _, want := range []string{"172.24.0.0/16", "172.25.0.0/16"} {
		if have, err := anyPool(d, SpaceLocal); err != nil || have != want {
			t.Fatalf("have %s %v, want %s", have, err, want)
		}
	}
	d, _ = newDriver(t, "160.0.0.0/4")
	if have, err := anyPool(d, SpaceLocal); err != nil || have != "192.168.0.0/20" {
		t.Errorf("have %s %v, want what a route of 4 bits leaves", have, err)
	}
}

func drawPrefix(t *rapid.T, base netip.Prefix, to int, label string) netip.Prefix {
	bits := rapid.IntRange(base.Bits(), to).Draw(t, label+" bits")
	s := spanOf(base)
	n := rapid.Uint64Range(s.first, s.last).Draw(t, label)
	return netip.PrefixFrom(addr(n), bits).Masked()
}

// nextSubnet finds what trying one subnet after the other finds.
func TestNextSubnetEqualsTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near := netip.MustParsePrefix("255.255.255.0/24")
		if rapid.Bool().Draw(t, "low") {
			near = netip.MustParsePrefix("0.0.0.0/24")
		}
		var pools []AddressPool
		for range rapid.IntRange(1, 3).Draw(t, "pools") {
			base := drawPrefix(t, near, 30, "base")
			pools = append(pools, AddressPool{base, rapid.IntRange(base.Bits(), 31).Draw(t, "size")})
		}
		var taken []netip.Prefix
		for range rapid.IntRange(0, 12).Draw(t, "taken") {
			taken = append(taken, drawPrefix(t, near, 32, "taken"))
		}
		have, haveOK := nextSubnet(pools, taken)
		want, wantOK := tryAll(pools, taken)
		if have != want || haveOK != wantOK {
			t.Fatalf("have %s %t, want %s %t", have, haveOK, want, wantOK)
		}
	})
}

func tryAll(pools []AddressPool, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, pool := range pools {
		for n := spanOf(pool.Base).first; n <= spanOf(pool.Base).last; n += 1 << (32 - pool.Size) {
			p := netip.PrefixFrom(addr(n), pool.Size)
			if !slices.ContainsFunc(taken, p.Overlaps) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// nextAddr finds what trying one address after the other finds, and reads no more
// leases than lie between.
func TestNextAddrEqualsTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]string{"0.0.0.0/28", "10.0.0.16/28", "255.255.255.240/28"}).Draw(t, "base")
		all := spanOf(netip.MustParsePrefix(base))
		draw := func(label string) uint64 { return rapid.Uint64Range(all.first, all.last).Draw(t, label) }
		s := span{draw("first"), draw("last")}
		if s.first > s.last {
			s.first, s.last = s.last, s.first
		}
		taken := map[uint64]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "leases") {
			taken[draw("lease")] = true
		}
		behind := netip.Addr{}
		if rapid.Bool().Draw(t, "behind") {
			behind = addr(draw("last one"))
		}
		want, run := tryAddrs(s, behind, taken)
		read := 0
		have, ok := nextAddr(s, behind, leasesOf(taken, &read))
		if ok != want.IsValid() || have != want {
			t.Fatalf("%+v behind %s without %v: have %s %t, want %s", s, behind, taken, have, ok, want)
		}
		if read > run+2 {
			t.Fatalf("read %d leases, want the %d on the way and one behind each part", read, run)
		}
	})
}

// tryAddrs returns the address and how many leased ones were tried before it.
func tryAddrs(s span, behind netip.Addr, taken map[uint64]bool) (netip.Addr, int) {
	n := s.first
	if behind.IsValid() && number(behind) >= s.first && number(behind) < s.last {
		n = number(behind) + 1
	}
	for run := range int(s.size()) {
		if !taken[n] {
			return addr(n), run
		}
		if n++; n > s.last {
			n = s.first
		}
	}
	return netip.Addr{}, int(s.size())
}

// leasesOf yields the taken addresses as the store does, and counts them.
func leasesOf(taken map[uint64]bool, read *int) func(netip.Addr) iter.Seq[netip.Addr] {
	return func(from netip.Addr) iter.Seq[netip.Addr] {
		return func(yield func(netip.Addr) bool) {
			for n := number(from); n < 1<<32 && n < number(from)+64; n++ {
				if !taken[n] {
					continue
				}
				*read++
				if !yield(addr(n)) {
					return
				}
			}
		}
	}
}

// A pool of sixteen million addresses is one record until it is used; with 60,000
// leases, choosing the next address reads one or two of them.
func TestBigPool(t *testing.T) {
	d, s := newDriver(t)
	id := pool(t, d, "10.0.0.0/8", "")
	if w := dump(t, s); len(w.Pools) != 1 || len(w.Leases[id]) != 0 {
		t.Fatalf("have %d pools and %d leases, want 1 and none", len(w.Pools), len(w.Leases[id]))
	}
	fill(t, s, id, 60000)
	for i := range 8 {
		next := fmt.Sprintf("10.0.234.%d", 97+i)
		if have, read := peek(t, s, id); have.String() != next || read > 2 {
			t.Errorf("have %s after %d leases, want %s after 2 at most", have, read, next)
		}
		mac := model.MAC{2, 0, 0, 0, 0, byte(1 + i)}.String()
		want(t, d, id, mac, "", next+"/8")
		want(t, d, id, mac, "", next+"/8")
	}
}

// peek returns the next address of a pool, and how many leases were read to find it.
func peek(t *testing.T, s *store.Store, id string) (a netip.Addr, read int) {
	t.Helper()
	err := s.View(func(tx *store.Tx) error {
		p, err := tx.Pool(id)
		if err != nil {
			return err
		}
		a, _ = nextAddr(rangeOf(p), p.Last, func(from netip.Addr) iter.Seq[netip.Addr] {
			return func(yield func(netip.Addr) bool) {
				for l := range tx.Leased(id, from) {
					read++
					if !yield(l) {
						return
					}
				}
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, read
}

// fill leases the first n addresses of 10.0.0.0/8, with MACs.
func fill(t testing.TB, s *store.Store, id string, n int) {
	t.Helper()
	_, err := s.Update(func(tx *store.Tx) error {
		p, err := tx.Pool(id)
		if err != nil {
			return err
		}
		for i := range uint64(n) {
			p.Last = addr(10<<24 + 1 + i)
			l := model.Lease{Addr: p.Last, Kind: model.LeaseEndpoint, MAC: model.MAC{6, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}
			if err := tx.PutLease(id, l); err != nil {
				return err
			}
		}
		return tx.PutPool(p)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// One request and release with 60,000 leases held: once as usual, once with the
// search beginning before all of them.
func BenchmarkRequestAddress(b *testing.B) {
	for name, last := range map[string]string{"usual": "", "worst": "10.0.0.0"} {
		b.Run(name, func(b *testing.B) {
			s := openStore(b, b.TempDir()+"/mybr.db")
			defer s.Close()
			d := New(Config{Store: s, Routes: hostRoutes(nil)})
			id := pool(b, d, "10.0.0.0/8", "")
			fill(b, s, id, 60000)
			for b.Loop() {
				if last != "" {
					_, _ = s.Update(func(tx *store.Tx) error {
						p, _ := tx.Pool(id)
						p.Last = netip.MustParseAddr(last)
						return tx.PutPool(p)
					})
				}
				a, err := ask(d, id, mac1, "")
				if err != nil {
					b.Fatal(err)
				}
				release(b, d, id, netip.MustParsePrefix(a).Addr().String())
			}
		})
	}
}
