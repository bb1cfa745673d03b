package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// The first address without a lease is what looking at one after the other finds, whatever was
// put, deleted and taken back before.
func TestFirstFreeEqualsTrying(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bases := []string{"10.0.0.0", "10.0.255.250", "255.255.255.250", "fd00::", "fd00::fff8", "fd00::ffff:ffff:ffff:fffa", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffa"}
	nth := 0
	rapid.Check(t, func(t *rapid.T) {
		nth++
		id := fmt.Sprintf("pool %d", nth)
		base := netip.MustParseAddr(rapid.SampledFrom(bases).Draw(t, "base"))
		var all []netip.Addr
		for a := base; len(all) < 200 && a.IsValid(); a = a.Next() {
			all = append(all, a)
		}
		taken := map[netip.Addr]bool{}
		type op struct {
			a   netip.Addr
			put bool
		}
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			from, fails := rapid.SampledFrom(all).Draw(t, "from"), rapid.Bool().Draw(t, "fails")
			first := rapid.IntRange(0, len(all)-1).Draw(t, "first")
			var ops []op
			for _, a := range all[first:min(len(all), first+rapid.IntRange(0, 150).Draw(t, "many"))] {
				ops = append(ops, op{a, rapid.IntRange(0, 9).Draw(t, "put") > 0})
			}
			look := func(tx *Tx, now map[netip.Addr]bool) error {
				want := from
				for now[want] {
					want = want.Next()
				}
				if want.IsValid() && all[len(all)-1].Less(want) {
					want = netip.Addr{}
				}
				if have, ok := tx.FirstFree(id, from, all[len(all)-1]); ok != want.IsValid() || have != want {
					return fmt.Errorf("from %s on without %v: have %s %t, want %s", from, now, have, ok, want)
				}
				return nil
			}
			now, broken := maps.Clone(taken), errors.New("broken")
			_, err := s.Update(func(tx *Tx) error {
				errs := []error{tx.PutPool(model.Pool{ID: id}), look(tx, now)}
				for _, o := range ops {
					if now[o.a] = o.put; o.put {
						errs = append(errs, tx.PutLease(id, model.Lease{Addr: o.a, Kind: model.LeaseAux}))
					} else {
						errs = append(errs, tx.DeleteLease(id, o.a))
					}
				}
				if errs = append(errs, look(tx, now)); fails {
					errs = append(errs, broken)
				}
				return errors.Join(errs...)
			})
			if fails && err != nil && err.Error() == broken.Error() {
				err = nil
			} else if err == nil {
				taken = now
			}
			if err == nil {
				err = s.View(func(tx *Tx) error { return look(tx, taken) })
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A subnet that is full, of a kind that no test fills one by one.
func TestFullness(t *testing.T) {
	var f fullness
	const n = 64*64*3 + 17
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		f.set(uint64(i), true)
	}
	for _, from := range []uint64{0, 63, 64, 4096, n - 1} {
		if have, ok := f.next(from); have != n || !ok {
			t.Errorf("from %d: %d %t, want %d", from, have, ok, n)
		}
	}
	f.set(5000, false)
	if have, ok := f.next(n + 1); have != n+1 || !ok {
		t.Errorf("have %d %t, want %d", have, ok, n+1)
	}
	if have, _ := f.next(1); have != 5000 {
		t.Errorf("have %d, want 5000", have)
	}
	for _, i := range []uint64{full, full - 1, full - 64, full - 65} {
		f.set(i, true)
	}
	if have, ok := f.next(full - 1); ok {
		t.Errorf("behind the last number there is %d", have)
	}
	if have, ok := f.next(full - 65); !ok || have != full-63 {
		t.Errorf("have %d %t, want %d", have, ok, uint64(full-63))
	}
	for i := range uint64(n) {
		f.set(i, false)
	}
	if len(f.levels[0]) != 2 {
		t.Errorf("%d words are kept of an empty set", len(f.levels[0]))
	}
}

// Updates that wait for each other share a commit; one that fails or panics among them leaves
// nothing, and the others are done.
func TestUpdatesShareACommit(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(id string) func(*Tx) error {
		return func(tx *Tx) error {
			return errors.Join(tx.PutNetwork(model.Network{ID: id}), tx.PutPool(model.Pool{ID: id}),
				tx.PutLease(id, model.Lease{Addr: netip.MustParseAddr("10.0.0.1"), Kind: model.LeaseAux, MAC: model.MAC{2, 1}}))
		}
	}
	if _, err := s.Update(put("old")); err != nil {
		t.Fatal(err)
	}
	before := allKeys(t, s)
	broken := errors.New("broken")
	requests := []*request{
		{fn: put("a")},
		{fn: func(tx *Tx) error { // changes of all kinds, to be taken back
			return errors.Join(put("b")(tx), tx.DeletePool("old"), tx.DeletePool("a"), tx.DeleteNetwork("a"), tx.PutPool(model.Pool{ID: "a", Space: "x"}),
				tx.SetUnanswered("a", true), tx.PutEndpoint(model.Endpoint{ID: "e"}), broken)
		}},
		{fn: func(tx *Tx) error { _ = put("c")(tx); panic("broken") }},
		{fn: func(tx *Tx) error { // sees what was done before, and no more
			if len(tx.Networks()) != 2 || len(tx.Endpoints()) != 0 || len(tx.Pools()) != 2 || len(tx.Unanswered()) != 0 {
				return fmt.Errorf("there are %v, %v, %v, %v", tx.Networks(), tx.Endpoints(), tx.Pools(), tx.Unanswered())
			}
			if l, err := tx.LeaseByMAC("old", model.MAC{2, 1}); err != nil || l.Addr != netip.MustParseAddr("10.0.0.1") {
				return fmt.Errorf("the lease is %v: %w", l, err)
			}
			return put("d")(tx)
		}},
	}
	commits := s.now.transaction
	s.write.Lock()
	s.runAll(requests)
	s.write.Unlock()
	if s.now.transaction != commits+1 {
		t.Errorf("%d commits", s.now.transaction-commits)
	}
	if requests[0].err != nil || requests[3].err != nil || !errors.Is(requests[1].err, broken) || requests[2].panicked != "broken" {
		t.Errorf("%v, %v, %v, %v", requests[0].err, requests[1].err, requests[2].panicked, requests[3].err)
	}
	if err := s.Revert(requests[3].undo); err != nil {
		t.Fatal(err)
	}
	if err := s.Revert(requests[0].undo); err != nil {
		t.Fatal(err)
	}
	if after := allKeys(t, s); !slices.Equal(before, after) {
		t.Errorf("have %q, want %q", after, before)
	}
}

// allKeys lists all keys and values of the file.
func allKeys(t *testing.T, s *Store) (all []string) {
	t.Helper()
	if err := s.View(func(tx *Tx) error {
		for _, c := range contents(tx.b.Cursor().Bucket(), nil) {
			all = append(all, fmt.Sprintf("%q %q %q", c.at, c.key, c.value))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}
