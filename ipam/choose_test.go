package ipam

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"testing"

	helper "github.com/docker/go-plugins-helpers/ipam"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// plus is addition, in a way that is not the tested one; a zero address if there is
// none of the family.
func plus(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, n)
	if sum.Sign() < 0 || sum.BitLen() > a.BitLen() {
		return netip.Addr{}
	}
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out
}

func plusInt(a netip.Addr, n int) netip.Addr { return plus(a, big.NewInt(int64(n))) }

func anyPool(d *Driver, space string) (string, error) { return anyPoolOf(d, space, false) }

func anyPoolOf(d *Driver, space string, v6 bool) (string, error) {
	r, err := d.RequestPool(context.Background(), &helper.RequestPoolRequest{AddressSpace: space, V6: v6})
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
	const none = "request pool: every default IPv4 subnet is in use by another network or by a route of the host: give a subnet (--subnet), or mybr more of them (--address-pool)"
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

// drawPrefix draws a part of base, of one address or as many as to's length has.
func drawPrefix(t *rapid.T, base netip.Prefix, to int, label string) netip.Prefix {
	bits := rapid.IntRange(base.Bits(), to).Draw(t, label+" bits")
	n := big.NewInt(rapid.Int64Range(0, 1<<(to-base.Bits())-1).Draw(t, label))
	return netip.PrefixFrom(plus(base.Addr(), n.Lsh(n, uint(base.Addr().BitLen()-to))), bits).Masked()
}

// The ends of a subnet and their distance are right at any length of both families.
func TestSpanOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		if rapid.Bool().Draw(t, "IPv4") {
			raw = raw[:4]
		}
		a, _ := netip.AddrFromSlice(raw)
		p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		count := new(big.Int).Lsh(big.NewInt(1), uint(a.BitLen()-p.Bits()))
		have := spanOf(p)
		last := plus(p.Masked().Addr(), new(big.Int).Sub(count, big.NewInt(1)))
		if have.first != p.Masked().Addr() || have.last != last || have.empty() {
			t.Fatalf("%s: have %+v, want it to %s", p, have, last)
		}
		want := uint64(math.MaxUint64)
		if count.IsUint64() {
			want = count.Uint64()
		}
		if size := have.size(); size != want {
			t.Fatalf("%s: have %d addresses, want %d", p, size, want)
		}
		if none := (span{have.last, have.first}); count.Int64() != 1 && (!none.empty() || none.size() != 0) {
			t.Fatalf("%+v: want it empty", none)
		}
	})
}

// nextSubnet finds what trying one subnet after the other finds.
func TestNextSubnetEqualsTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near := prefixes("255.255.255.0/24", "0.0.0.0/24", "::/120", "2001:db8::/60", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120")
		draw := rapid.SampledFrom(near)
		var pools []AddressPool
		for range rapid.IntRange(1, 3).Draw(t, "pools") {
			in := draw.Draw(t, "near")
			base := drawPrefix(t, in, in.Bits()+6, "base")
			pools = append(pools, AddressPool{base, rapid.IntRange(base.Bits(), in.Bits()+7).Draw(t, "size")})
		}
		var taken []netip.Prefix
		for range rapid.IntRange(0, 12).Draw(t, "taken") {
			in := pools[0].Base
			if rapid.Bool().Draw(t, "elsewhere") {
				in = draw.Draw(t, "near")
			}
			taken = append(taken, drawPrefix(t, in, min(in.Bits()+8, in.Addr().BitLen()), "taken"))
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
		size := new(big.Int).Lsh(big.NewInt(1), uint(pool.Base.Addr().BitLen()-pool.Size))
		for a := pool.Base.Addr(); pool.Base.Contains(a); a = plus(a, size) {
			p := netip.PrefixFrom(a, pool.Size)
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
		base := netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "10.0.0.250", "255.255.255.240",
			"::", "2001:db8::ffff:ffff:ffff:fff8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0"}).Draw(t, "base"))
		draw := func(label string) netip.Addr { return plusInt(base, rapid.IntRange(0, 15).Draw(t, label)) }
		s := span{draw("first"), draw("last")}
		if s.last.Less(s.first) {
			s.first, s.last = s.last, s.first
		}
		taken := map[netip.Addr]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "leases") {
			taken[draw("lease")] = true
		}
		behind := netip.Addr{}
		if rapid.Bool().Draw(t, "behind") {
			behind = draw("last one")
		}
		want, run := tryAddrs(s, behind, taken)
		read := 0
		have, ok := nextAddr(s, behind, gaps(leasesOf(taken, &read)))
		if ok != want.IsValid() || have != want {
			t.Fatalf("%+v behind %s without %v: have %s %t, want %s", s, behind, taken, have, ok, want)
		}
		if read > run+2 {
			t.Fatalf("read %d leases, want the %d on the way and one behind each part", read, run)
		}
	})
}

// tryAddrs returns the address and how many leased ones were tried before it.
func tryAddrs(s span, behind netip.Addr, taken map[netip.Addr]bool) (netip.Addr, int) {
	var all []netip.Addr
	for a := s.first; a != s.last; a = plusInt(a, 1) {
		all = append(all, a)
	}
	all = append(all, s.last)
	at := slices.Index(all, behind) + 1 // 0 if it is not there
	for run := range all {
		if a := all[(at+run)%len(all)]; !taken[a] {
			return a, run
		}
	}
	return netip.Addr{}, len(all)
}

// leasesOf yields the taken addresses as the store does, and counts them.
func leasesOf(taken map[netip.Addr]bool, read *int) func(netip.Addr) iter.Seq[netip.Addr] {
	return func(from netip.Addr) iter.Seq[netip.Addr] {
		return func(yield func(netip.Addr) bool) {
			for n := range 64 {
				a := plusInt(from, n)
				if !taken[a] {
					continue
				}
				*read++
				if !yield(a) {
					return
				}
			}
		}
	}
}

// A pool of sixteen million addresses, or of more than anybody can count, is one record
// until it is used; with 60,000 leases, choosing the next address reads one or two of
// them.
func TestBigPool(t *testing.T) {
	for _, subnet := range prefixes("10.0.0.0/8", "fd00::/8") {
		t.Run(subnet.String(), func(t *testing.T) {
			d, s := newDriver(t)
			id := pool(t, d, subnet.String(), "")
			if w := dump(t, s); len(w.Pools) != 1 || len(w.Leases[id]) != 0 {
				t.Fatalf("have %d pools and %d leases, want 1 and none", len(w.Pools), len(w.Leases[id]))
			}
			fill(t, s, id, 60000)
			for i := range 8 {
				next := netip.PrefixFrom(plusInt(subnet.Masked().Addr(), 60001+i), subnet.Bits())
				if have, read := peek(t, s, id); have != next.Addr() || read > 2 {
					t.Errorf("have %s after %d leases, want %s after 2 at most", have, read, next)
				}
				mac := model.MAC{2, 0, 0, 0, 0, byte(1 + i)}.String()
				want(t, d, id, mac, "", next.String())
				want(t, d, id, mac, "", next.String())
			}
		})
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
		a, _ = nextAddr(rangeOf(p), p.Last, gaps(func(from netip.Addr) iter.Seq[netip.Addr] {
			return func(yield func(netip.Addr) bool) {
				for l := range tx.Leased(id, from) {
					read++
					if !yield(l) {
						return
					}
				}
			}
		}))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, read
}

// fill leases the first n addresses of a pool, with MACs.
func fill(t testing.TB, s *store.Store, id string, n int) {
	t.Helper()
	_, err := s.Update(func(tx *store.Tx) error {
		p, err := tx.Pool(id)
		if err != nil {
			return err
		}
		p.Last = p.Prefix.Addr()
		for i := range n {
			p.Last = p.Last.Next()
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
			d := New(Config{Store: records{s}, Routes: hostRoutes(nil)})
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
