package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is changed, the copy has it too: bucket for bucket, key for key.
func TestCopyHasEveryChange(t *testing.T) {
	dir := memory(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		var warned []string
		c := config(filepath.Join(dir, string(rune('a'+n%26)), "x"), &warned)
		if err := errors.Join(os.RemoveAll(filepath.Dir(c.Path)), os.RemoveAll(filepath.Dir(c.Copy))); err != nil {
			rt.Fatal(err)
		}
		s, err := Start(c)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		for range rapid.IntRange(1, 8).Draw(rt, "updates") {
			_, err := s.Update(func(tx *Tx) error {
				for range rapid.IntRange(1, 5).Draw(rt, "steps") {
					if err := randomStep(rt, tx); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		if _, err := s.Boot("another"); err != nil {
			rt.Fatal(err)
		}
		copied := &Store{file: s.copy.file}
		if err := copied.load(); err != nil {
			rt.Fatal(err)
		}
		if have, want := dump(rt, copied), dump(rt, s); !reflect.DeepEqual(have, want) {
			rt.Fatalf("the copy has %+v\nwant %+v", have, want)
		}
		if len(warned) > 0 {
			rt.Fatal(warned)
		}
	})
}

// BenchmarkCopy is what the copy adds to a commit, in memory as it is.
func BenchmarkCopy(b *testing.B) {
	run := filepath.Join("/dev/shm", "mybr-bench")
	defer os.RemoveAll(run)
	s, err := Start(Config{Path: filepath.Join(b.TempDir(), "mybr.db"), Copy: filepath.Join(run, "records.db"), Warn: b.Fatalf, Info: func(string, ...any) {}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 1000 {
		if _, err := s.Update(func(tx *Tx) error { return tx.PutEndpoint(endpoint(fmt.Sprint(i))) }); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		raw := []byte(`{"ID":"` + fmt.Sprint(i) + `"}`)
		s.copy.repeat(s.file, i, []change{{kind: putKey, at: place{bucketEndpoints}, key: []byte(fmt.Sprint(i % 1000)), value: raw}}, time.Now())
	}
}

// The copy must not make a commit more than a tenth slower.
func BenchmarkUpdate(b *testing.B) {
	for name, copied := range map[string]bool{"alone": false, "with a copy": true} {
		b.Run(name, func(b *testing.B) {
			dir, run := b.TempDir(), filepath.Join("/dev/shm", "mybr-bench")
			defer os.RemoveAll(run)
			c := Config{Path: filepath.Join(dir, "mybr.db"), Warn: b.Fatalf, Info: func(string, ...any) {}}
			if copied {
				c.Copy = filepath.Join(run, "records.db")
			}
			s, err := Start(c)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			e := endpoint("e")
			for i := 0; b.Loop(); i++ {
				e.Sandbox = string(rune('a' + i%26))
				if _, err := s.Update(func(tx *Tx) error { return tx.PutEndpoint(e) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
