package store_test

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// An address that an endpoint has no longer is noted in the same transaction, once, until
// somebody says that it is forgotten.
func TestEndedAddressesAreNoted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mybr.db")
	s, err := store.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(tx *store.Tx) error) {
		t.Helper()
		if _, err := s.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	ended := func() (all []model.Endpoint) {
		t.Helper()
		err := s.View(func(tx *store.Tx) (err error) {
			all, err = tx.Ended()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	v4, v6 := netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")
	e := model.Endpoint{ID: "e1", V4: v4, V6: v6}
	change(func(tx *store.Tx) error { return tx.PutEndpoint(e) })
	e.Sandbox = "/s"
	change(func(tx *store.Tx) error { return tx.PutEndpoint(e) })
	if all := ended(); len(all) > 0 {
		t.Errorf("it has all its addresses: %v", all)
	}
	e.V6 = netip.Prefix{}
	change(func(tx *store.Tx) error { return tx.PutEndpoint(e) })
	change(func(tx *store.Tx) error { return tx.DeleteEndpoint("e1") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(file); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := []model.Endpoint{{ID: "e1", V4: netip.MustParsePrefix("10.1.0.2/32")}, {ID: "e1", V6: netip.MustParsePrefix("fd00::2/128")}}
	if have := ended(); !reflect.DeepEqual(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	change(func(tx *store.Tx) error { return tx.ForgetEnded(want[:1]) })
	if have := ended(); !reflect.DeepEqual(have, want[1:]) {
		t.Errorf("have %v, want %v", have, want[1:])
	}
	if _, err := s.Boot("b1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Boot("b2"); err != nil {
		t.Fatal(err)
	}
	if have := ended(); len(have) > 0 {
		t.Errorf("a boot has ended all flows: %v", have)
	}
}

// An ID that was read from a link's alias can be anything: that must not keep mybr from
// starting.
func TestEndedAddressOfAnyID(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "mybr.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"a/b", "/", "e1"} {
		for _, change := range []func(tx *store.Tx) error{
			func(tx *store.Tx) error {
				return tx.PutEndpoint(model.Endpoint{ID: id, V4: netip.MustParsePrefix("10.1.0.2/24")})
			},
			func(tx *store.Tx) error { return tx.DeleteEndpoint(id) },
		} {
			if _, err := s.Update(change); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Update(func(tx *store.Tx) error {
			ended, err := tx.Ended()
			if err != nil || len(ended) != 1 || ended[0].ID != id {
				t.Errorf("have %v, %v: want one of %q", ended, err, id)
			}
			return tx.ForgetEnded(ended)
		})
		if err != nil {
			t.Error(err)
		}
	}
}
