package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// A file that a power cut or a disk has damaged is refused with an error, or opened:
// never with a panic, which says nothing to whoever must mend it.
func TestDamagedFileIsRefusedWithoutAPanic(t *testing.T) {
	dir := memory(t)
	path := filepath.Join(dir, "mybr.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(func(tx *Tx) error {
		for _, id := range []string{"a", "b", "c"} {
			if err := tx.PutNetwork(model.Network{ID: id, Bridge: "br-" + id}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		text := bytes.Clone(whole)
		page := rnd.IntN(len(text)/os.Getpagesize()) * os.Getpagesize()
		switch rnd.IntN(4) {
		case 0: // a page that was never written
			clear(text[page:min(page+os.Getpagesize(), len(text))])
		case 1:
			text = text[:rnd.IntN(len(text))]
		case 2: // the page's header
			text[page+rnd.IntN(16)] ^= byte(1 + rnd.IntN(255))
		case 3:
			for range 20 {
				text[page+rnd.IntN(min(512, len(text)-page))] ^= byte(1 + rnd.IntN(255))
			}
		}
		damaged := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(damaged, text, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(damaged)
		switch {
		case err == nil: // what was damaged held nothing
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		case errors.Is(err, model.ErrConflict):
			t.Error(err)
		}
	}
}
