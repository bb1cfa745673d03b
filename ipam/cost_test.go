package ipam

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// counted counts what is read and written of a pool's leases.
type counted struct {
	Tx
	n *int
}

func count[V any](n *int, all iter.Seq[V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for v := range all {
			*n++
			if !yield(v) {
				return
			}
		}
	}
}

func (c counted) Leases(id string, from netip.Addr) iter.Seq[model.Lease] {
	return count(c.n, c.Tx.Leases(id, from))
}

func (c counted) Leased(id string, from netip.Addr) iter.Seq[netip.Addr] {
	return count(c.n, c.Tx.Leased(id, from))
}

func (c counted) Resting(id string, named bool, from int64) iter.Seq[model.Lease] {
	return count(c.n, c.Tx.Resting(id, named, from))
}

func (c counted) Lease(id string, a netip.Addr) (model.Lease, error) {
	*c.n++
	return c.Tx.Lease(id, a)
}

func (c counted) PutLease(id string, l model.Lease) error {
	*c.n++
	return c.Tx.PutLease(id, l)
}

func (c counted) DeleteLease(id string, a netip.Addr) error {
	*c.n++
	return c.Tx.DeleteLease(id, a)
}

type countedRecords struct {
	Records
	n *int
}

func (r countedRecords) Update(fn func(Tx) error) error {
	return r.Records.Update(func(tx Tx) error { return fn(counted{tx, r.n}) })
}

// occupy leases and rests as many addresses of a pool as are wanted, as if one after the
// other had been asked for and a third of them released.
func occupy(t testing.TB, s *store.Store, id string, now time.Time, size int) (held []netip.Addr) {
	t.Helper()
	_, err := s.Update(func(tx *store.Tx) error {
		p, err := tx.Pool(id)
		if err != nil {
			return err
		}
		a := p.Prefix.Addr()
		for i := range size {
			a = a.Next()
			l := model.Lease{Addr: a, Kind: model.LeaseEndpoint, MAC: model.MAC{2, 1, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}}
			if i%3 == 2 {
				l = model.Lease{Addr: a, Kind: model.LeaseResting, Freed: now.UnixNano()}
			} else {
				held = append(held, a)
			}
			if err := tx.PutLease(id, l); err != nil {
				return err
			}
		}
		p.Last = a
		return tx.PutPool(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// What a request costs does not grow with what is leased or rests, nor with the size of
// the pool.
func TestCostOfAddresses(t *testing.T) {
	for _, subnet := range []string{"10.0.0.0/8", "fd00::/64"} {
		costs := map[int]int{}
		for _, size := range []int{100, 20_000} {
			d, s, c := resting(t)
			n := 0
			d.store = countedRecords{d.store, &n}
			id := pool(t, d, subnet, "")
			held := occupy(t, s, id, c.now, size)
			rnd := rand.New(rand.NewPCG(1, 2))
			for i := range 60 {
				at := rnd.IntN(len(held))
				release(t, d, id, held[at].String())
				held = append(held[:at], held[at+1:]...)
				before := n
				if _, err := ask(d, id, mac(i), ""); err != nil {
					t.Fatal(err)
				}
				costs[size] = max(costs[size], n-before)
				c.pass(time.Second / 2)
			}
			c.pass(2 * time.Minute) // now all of them have rested
			before := n
			if _, err := ask(d, id, mac1, ""); err != nil {
				t.Fatal(err)
			}
			if ended := n - before; ended > 4*maxEnded {
				t.Errorf("%s with %d addresses: %d steps when all rests end", subnet, size, ended)
			}
		}
		t.Logf("%s: %v steps at most", subnet, costs)
		if costs[100] == 0 || costs[20_000] > costs[100]+4 {
			t.Errorf("%s: steps by addresses in use or at rest: %v", subnet, costs)
		}
	}
}

// BenchmarkAddress takes an address and gives it back, with the commits.
func BenchmarkAddress(b *testing.B) {
	for _, subnet := range []string{"10.0.0.0/8", "fd00::/64"} {
		for _, size := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d_leases", subnet, size), func(b *testing.B) {
				s := openStore(b, filepath.Join(b.TempDir(), "mybr.db"))
				defer s.Close()
				d := restingOn(s, &clock{time.Unix(1_800_000_000, 0)})
				id := pool(b, d, subnet, "")
				occupy(b, s, id, d.now(), size)
				for b.Loop() {
					text, err := ask(d, id, mac1, "")
					if err != nil {
						b.Fatal(err)
					}
					release(b, d, id, netip.MustParsePrefix(text).Addr().String())
				}
			})
		}
	}
}
