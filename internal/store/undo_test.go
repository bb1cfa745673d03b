package store

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

// everything is all records, as read from the file, not from memory.
type everything struct {
	Networks  []model.Network
	Endpoints []model.Endpoint
	Pools     []model.Pool
	Leases    map[string][]model.Lease
	MACs      map[string][]string
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func dump(t fataler, s *Store) everything {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	all := everything{Leases: map[string][]model.Lease{}, MACs: map[string][]string{}}
	err := s.View(func(tx *Tx) error {
		var err error
		if all.Networks, err = readAll[model.Network](tx.b, bucketNetworks); err != nil {
			return err
		}
		if all.Endpoints, err = readAll[model.Endpoint](tx.b, bucketEndpoints); err != nil {
			return err
		}
		all.Pools = tx.Pools()
		return tx.b.Bucket(bucketLeases.bytes()).ForEachBucket(func(k []byte) error {
			id := string(k)
			all.Leases[id] = slices.Collect(tx.Leases(id, netip.Addr{}))
			_, macs := tx.leases(id)
			return macs.ForEach(func(k, _ []byte) error {
				all.MACs[id] = append(all.MACs[id], fmt.Sprintf("%x", k))
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if have := s.Snapshot(); len(have.Networks)+len(all.Networks) > 0 && !reflect.DeepEqual(have.Networks, all.Networks) {
		t.Fatal("memory and file differ: ", have.Networks, all.Networks)
	} else if !reflect.DeepEqual(values(have.Endpoints), all.Endpoints) {
		t.Fatal("memory and file differ: ", values(have.Endpoints), all.Endpoints)
	}
	return all
}

// randomStep does one random thing to a few records, so that steps meet.
func randomStep(t *rapid.T, tx *Tx) error {
	id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
	n := rapid.IntRange(1, 5).Draw(t, "n")
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
	mac := model.MAC{0, 0, 0, 0, 0, byte(rapid.IntRange(0, 3).Draw(t, "mac"))}
	steps := []func() error{
		func() error { return tx.PutNetwork(model.Network{ID: id, MTU: n}) },
		func() error { return tx.deleteEmptyNetwork(id) },
		func() error {
			return tx.putEndpointOfNetwork(model.Endpoint{ID: id, NetworkID: id, MAC: mac, Ports: make([]model.PortBinding, n)})
		},
		func() error { return tx.DeleteEndpoint(id) },
		func() error { return tx.PutPool(model.Pool{ID: id, Last: addr}) },
		func() error { return tx.PutLease(id, model.Lease{Addr: addr, MAC: mac}) },
		func() error { return tx.DeleteLease(id, addr) },
		func() error { return tx.DeletePool(id) },
	}
	step := steps[rapid.SampledFrom([]int{0, 1, 2, 3, 4, 4, 5, 5, 5, 5, 6, 7}).Draw(t, "step")]
	_ = step() // a lease without its pool is refused, and that is fine
	return nil
}

// Reverting an update gives what was before it, whatever it did.
func TestRevertIsTheInverse(t *testing.T) {
	dir := t.TempDir()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		s, err := Open(filepath.Join(dir, fmt.Sprint(round)))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range 4 {
			before := dump(t, s)
			steps := rapid.IntRange(0, 15).Draw(t, "steps")
			undo, err := s.Update(func(tx *Tx) error {
				for range steps {
					if err := randomStep(t, tx); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for id, leases := range dump(t, s).Leases {
				checkIndex(t, s, id, leases)
			}
			if rapid.Bool().Draw(t, "revert") {
				if err := s.Revert(undo); err != nil {
					t.Fatal(err)
				}
				if after := dump(t, s); !reflect.DeepEqual(before, after) {
					t.Fatalf("before %+v\nafter  %+v", before, after)
				}
			}
		}
	})
}

// checkIndex compares LeaseByMAC, Leased and Leases-from with the list of leases.
func checkIndex(t *rapid.T, s *Store, pool string, leases []model.Lease) {
	first := map[model.MAC]model.Lease{}
	for _, l := range slices.Backward(leases) {
		first[l.MAC] = l
	}
	delete(first, model.MAC{})
	err := s.View(func(tx *Tx) error {
		for last := range byte(4) {
			mac := model.MAC{0, 0, 0, 0, 0, last}
			have, err := tx.LeaseByMAC(pool, mac)
			if want, ok := first[mac]; ok != (err == nil) || have != want {
				t.Fatalf("pool %s, %s: have %v %v, want %v", pool, mac, have, err, want)
			}
		}
		for i, l := range leases {
			if have := slices.Collect(tx.Leases(pool, l.Addr)); !slices.Equal(have, leases[i:]) {
				t.Fatalf("from %s: have %v, want %v", l.Addr, have, leases[i:])
			}
		}
		addrs := slices.Collect(tx.Leased(pool, netip.Addr{}))
		if !slices.EqualFunc(addrs, leases, func(a netip.Addr, l model.Lease) bool { return a == l.Addr }) {
			t.Fatalf("have %v, want the addresses of %v", addrs, leases)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Reverts that race with updates of other records touch only their own.
func TestRevertLeavesOthersAlone(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	const workers, rounds = 8, 30
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			keep, drop := fmt.Sprintf("keep%d", w), fmt.Sprintf("drop%d", w)
			for i := range rounds {
				undo, err := s.Update(func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: drop, NetworkID: fmt.Sprint(i)}) })
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Update(func(tx *Tx) error { return tx.PutEndpoint(model.Endpoint{ID: keep, NetworkID: fmt.Sprint(i)}) }); err != nil {
					t.Error(err)
				}
				if err := s.Revert(undo); err != nil {
					t.Error(err)
				}
				if len(s.Snapshot().Endpoints) > 2*workers {
					t.Error("too many endpoints")
				}
			}
		})
	}
	wg.Wait()
	have := dump(t, s).Endpoints
	if len(have) != workers {
		t.Fatalf("have %v, want %d endpoints", have, workers)
	}
	for _, e := range have {
		if e.NetworkID != fmt.Sprint(rounds-1) {
			t.Errorf("have %+v, want that of the last round", e)
		}
	}
}

// A revert after others have deleted the pool leaves its leases out.
func TestRevertOfALeaseWithoutPool(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	addr := netip.MustParseAddr("10.0.0.1")
	update(t, s, func(tx *Tx) error {
		if err := tx.PutPool(model.Pool{ID: "p"}); err != nil {
			return err
		}
		return tx.PutLease("p", model.Lease{Addr: addr})
	})
	undo := update(t, s, func(tx *Tx) error { return tx.DeleteLease("p", addr) })
	update(t, s, func(tx *Tx) error { return tx.DeletePool("p") })
	if err := s.Revert(undo); err != nil {
		t.Error(err)
	}
	if have := dump(t, s); len(have.Pools)+len(have.Leases) != 0 {
		t.Errorf("have %+v, want nothing", have)
	}
}

// An update that changes nothing writes nothing.
func TestIdleUpdateIsNotCommitted(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
	put := func(tx *Tx) error { return tx.PutNetwork(network("n1")) }
	update(t, s, put)
	txid := func() (id int) {
		_ = s.View(func(tx *Tx) error { id = tx.b.ID(); return nil })
		return id
	}
	before := txid()
	undo := update(t, s, put)
	if after := txid(); after != before || undo.networks != nil {
		t.Errorf("transaction %d, then %d, undo %v", before, after, undo)
	}
}

// A revert puts back no record that another update has changed or deleted since, and no
// endpoint without its network.
func TestRevertOfWhatHasChangedSince(t *testing.T) {
	n, e := network("n"), model.Endpoint{ID: "e", NetworkID: "n"}
	busy := e
	busy.Sandbox = "/var/run/docker/netns/1"
	moved := busy
	moved.Sandbox = "/var/run/docker/netns/2"
	put := func(records ...any) func(*Tx) error {
		return func(tx *Tx) (err error) {
			for _, r := range records {
				switch r := r.(type) {
				case model.Network:
					err = errors.Join(err, tx.PutNetwork(r))
				case model.Endpoint:
					err = errors.Join(err, tx.PutEndpoint(r))
				}
			}
			return err
		}
	}
	deleteEndpoint := func(tx *Tx) error { return tx.DeleteEndpoint("e") }
	deleteBoth := func(tx *Tx) error { return errors.Join(tx.DeleteEndpoint("e"), tx.DeleteNetwork("n")) }
	for name, c := range map[string]struct {
		before         func(*Tx) error
		reverted, then func(*Tx) error
		networks       int
		endpoints      []model.Endpoint
	}{
		"changed, then changed":                  {put(n, e), put(busy), put(moved), 1, []model.Endpoint{moved}},
		"changed, then deleted":                  {put(n, e), put(busy), deleteEndpoint, 1, nil},
		"changed, then deleted with its network": {put(n, e), put(busy), deleteBoth, 0, nil},
		"deleted, then its network is deleted":   {put(n, e), deleteEndpoint, deleteBoth, 0, nil},
		"deleted, then made":                     {put(n, e), deleteEndpoint, put(moved), 1, []model.Endpoint{moved}},
		"made, then changed":                     {put(n), put(e), put(busy), 1, []model.Endpoint{busy}},
		"made with its network, then changed":    {put(), put(n, e), put(busy), 1, []model.Endpoint{busy}},
		"changed, and the same again":            {put(n, e), put(busy), put(busy), 1, []model.Endpoint{e}},
		"deleted with its network":               {put(n, e), deleteBoth, put(), 1, []model.Endpoint{e}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "mybr.db"))
			update(t, s, c.before)
			undo := update(t, s, c.reverted)
			update(t, s, c.then)
			if err := s.Revert(undo); err != nil {
				t.Fatal(err)
			}
			have := dump(t, s)
			if len(have.Networks) != c.networks || !slices.EqualFunc(have.Endpoints, c.endpoints, func(a, b model.Endpoint) bool { return reflect.DeepEqual(a, b) }) {
				t.Errorf("have %d networks, %+v, want %d, %+v", len(have.Networks), have.Endpoints, c.networks, c.endpoints)
			}
		})
	}
}
