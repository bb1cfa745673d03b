package store_test

import (
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/store"
)

// Ports at which the process listens are kept over restarts and reboots.
func TestListening(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mybr.db")
	s, err := store.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	port := func(what string) (port uint16) {
		t.Helper()
		if err := s.View(func(tx *store.Tx) (err error) { port, err = tx.Listening(what); return err }); err != nil {
			t.Error(err)
		}
		return port
	}
	if got := port("dns"); got != 0 {
		t.Errorf("nothing is recorded, and the port is %d", got)
	}
	for _, n := range []uint16{53, 61053} {
		if _, err := s.Update(func(tx *store.Tx) error { return tx.SetListening("dns", n) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Boot("b1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(file); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Boot("b2"); err != nil {
		t.Fatal(err)
	}
	if got, other := port("dns"), port("names"); got != 61053 || other != 0 {
		t.Errorf("the ports are %d and %d, want 61053 and none", got, other)
	}
}
