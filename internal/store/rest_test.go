package store

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// rest is a resting lease.
func rest(addr string, named bool, freed int64) model.Lease {
	return model.Lease{Addr: netip.MustParseAddr(addr), Kind: model.LeaseResting, Named: named, Freed: freed}
}

// resting lists the resting leases of pool p from a time on.
func resting(t *testing.T, s *Store, named bool, from int64) (found []model.Lease) {
	t.Helper()
	if err := s.View(func(tx *Tx) error { found = slices.Collect(tx.Resting("p", named, from)); return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

// Resting leases are found in the order of their release, those that were named by
// themselves; the index follows what is put, replaced, deleted and reverted, and is in the
// file.
func TestResting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	update := func(fn func(tx *Tx) error) Undo {
		t.Helper()
		u, err := s.Update(fn)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	check := func(when string, named bool, from int64, want ...model.Lease) {
		t.Helper()
		if have := resting(t, s, named, from); !slices.Equal(have, want) {
			t.Errorf("%s: from %d on, named %v: have %v, want %v", when, from, named, have, want)
		}
	}
	a, b, c, d := rest("10.0.0.9", false, 20), rest("10.0.0.2", false, 30), rest("10.0.0.3", true, 10), rest("10.0.0.4", false, 20)
	check("no pool", false, 0)
	update(func(tx *Tx) error {
		return errors.Join(tx.PutPool(model.Pool{ID: "p"}), tx.PutPool(model.Pool{ID: "q"}),
			tx.PutLease("q", a), tx.PutLease("p", a), tx.PutLease("p", b), tx.PutLease("p", c), tx.PutLease("p", d),
			tx.PutLease("p", model.Lease{Addr: netip.MustParseAddr("10.0.0.5"), Kind: model.LeaseAux}))
	})
	check("put", false, 0, d, a, b)
	check("put", false, 21, b)
	check("put", true, 0, c)
	check("put", true, 11)
	used := model.Lease{Addr: a.Addr, Kind: model.LeaseEndpoint, MAC: model.MAC{2}}
	later := rest("10.0.0.4", true, 40)
	undo := update(func(tx *Tx) error {
		return errors.Join(tx.PutLease("p", used), tx.DeleteLease("p", b.Addr), tx.PutLease("p", later))
	})
	check("replaced and deleted", false, 0)
	check("replaced", true, 0, c, later)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	check("opened again", true, 0, c, later)
	if err := s.Revert(undo); err != nil {
		t.Fatal(err)
	}
	check("reverted", false, 0, d, a, b)
	check("reverted", true, 0, c)
	update(func(tx *Tx) error { return tx.DeletePool("p") })
	check("pool deleted", false, 0)
	check("pool deleted", true, 0)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A pool that was recorded before there was an index gets one with its first resting lease.
func TestRestingInAnOlderFile(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := rest("10.0.0.9", false, 20)
	_, err = s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutPool(model.Pool{ID: "p"}), tx.b.Bucket(bucketLeases.bytes()).Bucket([]byte("p")).DeleteBucket(bucketRest.bytes()))
	})
	if err != nil {
		t.Fatal(err)
	}
	if have := resting(t, s, false, 0); len(have) != 0 {
		t.Errorf("have %v", have)
	}
	if _, err := s.Update(func(tx *Tx) error { return tx.PutLease("p", a) }); err != nil {
		t.Fatal(err)
	}
	if have := resting(t, s, false, 0); !slices.Equal(have, []model.Lease{a}) {
		t.Errorf("have %v, want %v", have, a)
	}
}
