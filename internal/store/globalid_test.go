package store

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// The ID is drawn once, kept when the update is, and another one in every file.
func TestGlobalID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mybr.db")
	s := open(t, path)
	draw := func(s *Store, after error) (id [5]byte) {
		t.Helper()
		_, err := s.Update(func(tx *Tx) (err error) {
			if id, err = tx.GlobalID(); err != nil {
				t.Fatal(err)
			}
			if again, err := tx.GlobalID(); err != nil || again != id {
				t.Fatalf("have %x %v, want %x again", again, err, id)
			}
			return after
		})
		if !errors.Is(err, after) {
			t.Fatal(err)
		}
		return id
	}
	given := errors.New("given up")
	lost, kept := draw(s, given), draw(s, nil)
	if lost == kept {
		t.Errorf("have %x twice, though the first update was given up", kept)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if again := draw(s, nil); again != kept {
		t.Errorf("have %x after a restart, want %x", again, kept)
	}
	if other := draw(open(t, filepath.Join(t.TempDir(), "mybr.db")), nil); other == kept {
		t.Errorf("have %x in two files", other)
	}
	_, err := s.Update(func(tx *Tx) error {
		if err := tx.b.Bucket(bucketMeta.bytes()).Put(keyGlobalID.bytes(), []byte("abc")); err != nil {
			return err
		}
		_, err := tx.GlobalID()
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "global ID 616263 is damaged") {
		t.Errorf("have %v, want it to be called damaged", err)
	}
}
