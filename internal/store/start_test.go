package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// start starts a store with a copy beside it, and gives what it warned of.
func start(t *testing.T, dir string) (s *Store, warned *[]string) {
	t.Helper()
	warned = &[]string{}
	s, err := Start(config(dir, warned))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, warned
}

func config(dir string, warned *[]string) Config {
	warn := func(format string, args ...any) { *warned = append(*warned, fmt.Sprintf(format, args...)) }
	return Config{
		Path: filepath.Join(dir, "state", "mybr.db"), Copy: filepath.Join(dir, "run", "mybr.db"),
		Warn: warn, Info: func(string, ...any) {},
	}
}

// memory is a temporary directory in memory, where that is to be had: for tests of many
// commits, which the disk would take long for.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mybr-store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// someRecords puts records of each kind.
func someRecords(tx *Tx) error {
	addr := netip.MustParseAddr("10.0.0.2")
	_, err := tx.GlobalID()
	return errors.Join(err, tx.SetFound(),
		tx.PutNetwork(model.Network{ID: "n1", Bridge: "br-1", V4: model.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24")}}),
		tx.PutNetwork(model.Network{ID: "n2", Bridge: "br-2"}),
		tx.PutEndpoint(model.Endpoint{ID: "e1", NetworkID: "n1", Sandbox: "/run/netns/1"}),
		tx.PutEndpoint(model.Endpoint{ID: "e2", NetworkID: "n2"}),
		tx.PutPool(model.Pool{ID: "p", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Last: addr}),
		tx.PutLease("p", model.Lease{Addr: addr, Kind: model.LeaseEndpoint, MAC: model.MAC{2, 0, 0, 0, 0, 1}}),
		tx.SetUnanswered("n2", true), tx.SetTurnedOn("net/ipv4/ip_forward"),
	)
}

// damages are what can become of a file, each with how many networks can still be read in it.
var damages = map[string]struct {
	do   func(t *testing.T, path string)
	left int
}{
	"empty": {func(t *testing.T, path string) { rewriteFile(t, path, func([]byte) []byte { return nil }) }, 0},
	"cut off": {func(t *testing.T, path string) {
		size := int64(0)
		edit(t, path, func(b *bolt.Tx) error { size = b.Size(); return nil })
		rewriteFile(t, path, func(b []byte) []byte { return b[:size-int64(os.Getpagesize())] })
	}, 2},
	"cut off within its head": {func(t *testing.T, path string) {
		rewriteFile(t, path, func(b []byte) []byte { return b[:100] })
	}, 0},
	"garbage": {func(t *testing.T, path string) {
		rewriteFile(t, path, func(b []byte) []byte { return bytes.Repeat([]byte("garbage."), len(b)/8) })
	}, 0},
	"a page never written": {func(t *testing.T, path string) {
		rewriteFile(t, path, func(b []byte) []byte { clear(b[pageOf(t, path, "leaf"):][:os.Getpagesize()]); return b })
	}, 0},
	"half a page written": {func(t *testing.T, path string) {
		rewriteFile(t, path, func(b []byte) []byte { clear(b[pageOf(t, path, "leaf")+64:][:os.Getpagesize()-64]); return b })
	}, 0},
	"a page that goes on for ever": {func(t *testing.T, path string) {
		rewriteFile(t, path, func(b []byte) []byte { // bytes 12 to 15 of a page are how many follow
			copy(b[pageOf(t, path, "freelist")+12:], "\xff\xff\xff\xff")
			return b
		})
	}, 2},
	"a record that is no JSON": {func(t *testing.T, path string) {
		edit(t, path, func(b *bolt.Tx) error { return b.Bucket(bucketNetworks.bytes()).Put([]byte("n1"), []byte(`{"ID":`)) })
	}, 1},
	"an endpoint of no network": {func(t *testing.T, path string) {
		edit(t, path, func(b *bolt.Tx) error { return b.Bucket(bucketNetworks.bytes()).Delete([]byte("n1")) })
	}, 1},
	"a lease of another pool": {func(t *testing.T, path string) {
		edit(t, path, func(b *bolt.Tx) error {
			raw, err := json.Marshal(model.Lease{Addr: netip.MustParseAddr("10.1.0.1")})
			addrs, _ := leasePlaces("p")
			return errors.Join(err, addrs.in(b).Put([]byte{10, 1, 0, 1}, raw))
		})
	}, 2},
	"no leases at all": {func(t *testing.T, path string) {
		edit(t, path, func(b *bolt.Tx) error { return b.DeleteBucket(bucketLeases.bytes()) })
	}, 2},
	"another program's": {func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		edit(t, path, func(b *bolt.Tx) error { _, err := b.CreateBucket([]byte("theirs")); return err })
	}, 0},
}

// pageOf is the offset of the file's last page of a type.
func pageOf(t *testing.T, path, kind string) (offset int) {
	t.Helper()
	edit(t, path, func(b *bolt.Tx) error {
		for n := 2; n < int(b.Size())/os.Getpagesize(); n++ {
			if p, err := b.Page(n); err != nil {
				return err
			} else if p.Type == kind {
				offset = n * os.Getpagesize()
			}
		}
		return nil
	})
	if offset == 0 {
		t.Fatalf("there is no page of type %s", kind)
	}
	return offset
}

func rewriteFile(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err == nil {
		err = errors.Join(db.Update(fn), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A damaged file is kept, and what was recorded comes from the copy; without one, from what
// is left in the file.
func TestDamagedFileIsSetAside(t *testing.T) {
	for name, damage := range damages {
		for _, copied := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, copy %t", name, copied), func(t *testing.T) {
				dir := memory(t)
				s, _ := start(t, dir)
				update(t, s, someRecords)
				want := dump(t, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				damage.do(t, s.path)
				if !copied {
					if err := os.Remove(s.copy.path); err != nil {
						t.Fatal(err)
					}
				}
				before, err := os.ReadFile(s.path)
				if err != nil {
					t.Fatal(err)
				}
				s, warned := start(t, dir)
				have, lost := dump(t, s), false
				_ = s.View(func(tx *Tx) error { lost = tx.Lost(); return nil })
				if copied && !reflect.DeepEqual(have, want) {
					t.Errorf("have %d networks, lost %t, want what was recorded", len(have.Networks), lost)
				}
				if !copied && (len(have.Networks) != damage.left || !lost) {
					t.Errorf("have %d networks, lost %t, want %d", len(have.Networks), lost, damage.left)
				}
				checkAside(t, s.path, before, *warned)
			})
		}
	}
}

// A process that ends between setting a damaged file aside and making another one leaves what
// is left in it to the next.
func TestEndWhileADamagedFileIsReplaced(t *testing.T) {
	dir := memory(t)
	s, _ := start(t, dir)
	update(t, s, someRecords)
	if err := errors.Join(s.Close(), os.Remove(s.copy.path)); err != nil {
		t.Fatal(err)
	}
	damages["a record that is no JSON"].do(t, s.path)
	restore := fault.Set(func(point string) error {
		if point == "store: before a new state file is in place" {
			runtime.Goexit()
		}
		return nil
	})
	defer restore()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := Start(config(dir, new([]string)))
		t.Errorf("the start did not end at the point: %v", err)
	}()
	<-ended
	restore()
	s, _ = start(t, dir)
	if have := s.Snapshot(); len(have.Networks) != 1 {
		t.Errorf("have %d networks, want the one that can be read", len(have.Networks))
	}
}

// checkAside looks for the one file that was set aside, which is as it was.
func checkAside(t *testing.T, path string, before []byte, warned []string) {
	t.Helper()
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside are %v %v, want one file", aside, err)
	}
	if after, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s is not what was found: %v", aside[0], err)
	}
	if text := strings.Join(warned, "\n"); !strings.Contains(text, path+" is damaged (") || !strings.Contains(text, "set aside as "+aside[0]) {
		t.Errorf("warned of %q", text)
	}
}

// A state file that is gone is made of the copy; if that is damaged too, it is kept as well,
// and there is nothing, which is said.
func TestLostFileComesFromTheCopy(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, dir)
	update(t, s, someRecords)
	want := dump(t, s)
	for range 2 { // what was made of the copy has a copy itself
		if err := errors.Join(s.Close(), os.Remove(s.path)); err != nil {
			t.Fatal(err)
		}
		var warned *[]string
		s, warned = start(t, dir)
		if have := dump(t, s); !reflect.DeepEqual(have, want) {
			t.Fatalf("have %+v, want %+v", have, want)
		}
		if text := strings.Join(*warned, "\n"); !strings.Contains(text, "records were lost with the state file: they are taken from "+s.copy.path+", complete up to 20") {
			t.Errorf("warned of %q", text)
		}
	}
	if err := errors.Join(s.Close(), os.Remove(s.path)); err != nil {
		t.Fatal(err)
	}
	damages["garbage"].do(t, s.copy.path)
	s, warned := start(t, dir)
	if have := dump(t, s); len(have.Networks) > 0 {
		t.Errorf("have %+v", have)
	}
	if text := strings.Join(*warned, "\n"); !strings.Contains(text, "the copy "+s.copy.path+" of the state file is damaged too") {
		t.Errorf("warned of %q", text)
	}
	if aside, _ := filepath.Glob(s.copy.path + ".damaged-*"); len(aside) != 1 {
		t.Errorf("set aside are %v", aside)
	}
}
