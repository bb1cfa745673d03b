package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// ended is what a process that ends now leaves to the next: the files as they are, of which bbolt
// has written nothing since the last commit.
func ended(t fataler, s *Store) (path string) {
	t.Helper()
	s.write.Lock() // nothing is under way
	defer s.write.Unlock()
	dir, err := os.MkdirTemp(filepath.Dir(s.path), "ended-")
	for _, name := range []string{s.path, s.journal.path} {
		var text []byte
		if err == nil {
			text, err = os.ReadFile(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		} else if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, filepath.Base(s.path))
}

// transactionOf is the last transaction of the state file.
func transactionOf(t *testing.T, s *Store) (id int) {
	t.Helper()
	if err := s.file.db.View(func(b *bolt.Tx) error { id = b.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func join(id, sandbox string) func(*Tx) error {
	return func(tx *Tx) error {
		e, err := tx.Endpoint(id)
		if err != nil {
			return err
		}
		e.Sandbox = sandbox
		return tx.PutEndpoint(e)
	}
}

// A change of endpoints alone is no transaction of the state file, and the next process finds it
// all the same; nothing else is answered before the state file has it.
func TestEndpointsAreInTheJournal(t *testing.T) {
	s, _ := start(t, t.TempDir())
	s.journal.within = time.Hour
	update(t, s, someRecords)
	before := transactionOf(t, s)
	for i := range 5 {
		update(t, s, join("e1", fmt.Sprint("/run/netns/", i)))
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteEndpoint("e2") })
	if now := transactionOf(t, s); now != before {
		t.Errorf("transaction %d, want %d", now, before)
	}
	next := open(t, ended(t, s))
	if have := next.Snapshot(); !reflect.DeepEqual(have, s.Snapshot()) || len(have.Endpoints) != 1 || have.Endpoints[0].Sandbox != "/run/netns/4" {
		t.Errorf("the next process has %+v, want %+v", have, s.Snapshot())
	}
	if _, err := os.Stat(next.journal.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its journal: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Tx) error
	}{
		{"network", func(tx *Tx) error { return errors.Join(join("e1", "/other")(tx), tx.PutNetwork(network("late"))) }},
		{"pool", func(tx *Tx) error { return tx.PutPool(model.Pool{ID: "late"}) }},
		{"endpoint", func(tx *Tx) error { return errors.Join(tx.DeleteEndpoint("e1"), tx.SetTurnedOn("net/ipv4/other")) }},
	} {
		before := transactionOf(t, s)
		if update(t, s, c.change); transactionOf(t, s) == before {
			t.Errorf("%s: the state file does not have it", c.name)
		}
		if len(s.journal.ahead) > 0 {
			t.Errorf("%s: the journal has %d changes still", c.name, len(s.journal.ahead))
		}
	}
}

// What is in the journal comes into the state file without anybody's doing, and at the end.
func TestJournalIsWrittenBack(t *testing.T) {
	s, _ := start(t, t.TempDir())
	update(t, s, someRecords)
	before := transactionOf(t, s)
	over := make(chan struct{})
	restore := onPoint(t, "store: after writing the journal back", func() { close(over) })
	update(t, s, join("e1", "/a"))
	<-over
	restore()
	if now := transactionOf(t, s); now != before+1 {
		t.Errorf("transaction %d, want %d", now, before+1)
	}
	update(t, s, join("e1", "/b"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.journal.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("behind the end the journal is there: %v", err)
	}
	if e := open(t, s.path).Snapshot().Endpoints[0]; e.Sandbox != "/b" {
		t.Errorf("have sandbox %q", e.Sandbox)
	}
}

// A line that is cut off or garbled was not answered: those before it count. A journal of before
// the state file's last transaction, or of another file, counts not at all.
func TestJournalThatIsNotWhole(t *testing.T) {
	s, _ := start(t, t.TempDir())
	s.journal.within = time.Hour
	update(t, s, someRecords)
	update(t, s, join("e1", "/a"))
	old, err := os.ReadFile(s.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, join("e1", "/b"))
	for name, c := range map[string]struct {
		change func(journal []byte) []byte
		want   string
	}{
		"whole":              {func(j []byte) []byte { return j }, "/b"},
		"cut off":            {func(j []byte) []byte { return j[:len(j)-3] }, "/a"},
		"cut off in its sum": {func(j []byte) []byte { return j[:len(old)+4] }, "/a"},
		"garbled":            {func(j []byte) []byte { j[len(j)-20] ^= 1; return j }, "/a"},
		"zeroes":             {func(j []byte) []byte { clear(j[len(old):]); return j }, "/a"},
		"all zeroes":         {func(j []byte) []byte { clear(j); return j }, "/run/netns/1"},
		"nothing":            {func(j []byte) []byte { return nil }, "/run/netns/1"},
		"another file's":     {func(j []byte) []byte { return bytes.Repeat([]byte("theirs\n"), 1000) }, "/run/netns/1"},
	} {
		path := ended(t, s)
		rewriteFile(t, journalPath(path), c.change)
		if e := open(t, path).Snapshot().Endpoints[0]; e.Sandbox != c.want {
			t.Errorf("%s: sandbox %q, want %q", name, e.Sandbox, c.want)
		}
	}
	update(t, s, func(tx *Tx) error { return errors.Join(join("e1", "/c")(tx), tx.PutNetwork(network("late"))) })
	path := ended(t, s) // the journal has its lines still, and nothing of them counts
	if e := open(t, path).Snapshot().Endpoints[0]; e.Sandbox != "/c" {
		t.Errorf("behind the state file: sandbox %q", e.Sandbox)
	}
}

// Whatever is changed and whenever the process ends: the next one has it all.
func TestEndAtAnyTime(t *testing.T) {
	dir := memory(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		s, err := Open(filepath.Join(dir, fmt.Sprint(round), "mybr.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range rapid.IntRange(1, 8).Draw(t, "updates") {
			_, err := s.Update(func(tx *Tx) error {
				for range rapid.IntRange(0, 2).Draw(t, "steps") {
					if err := randomStep(t, tx); err != nil {
						return err
					}
				}
				if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
					return errors.New("refused")
				}
				return nil
			})
			if err != nil && err.Error() != "refused" {
				t.Fatal(err)
			}
			next, err := Open(ended(t, s))
			if err != nil {
				t.Fatal(err)
			}
			have, want := next.Snapshot(), s.Snapshot()
			if err := next.Close(); err != nil {
				t.Fatal(err)
			}
			if len(have.Endpoints)+len(want.Endpoints) > 0 && !reflect.DeepEqual(have.Endpoints, want.Endpoints) ||
				len(have.Networks)+len(want.Networks) > 0 && !reflect.DeepEqual(have.Networks, want.Networks) {
				t.Fatalf("the next process has %+v, want %+v", have, want)
			}
		}
	})
}

// Where the journal can't be written, endpoints are recorded as everything else is.
func TestJournalThatCannotBeWritten(t *testing.T) {
	s, warned := start(t, t.TempDir())
	s.journal.within = time.Hour
	update(t, s, someRecords)
	if err := os.Mkdir(s.journal.path, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, sandbox := range []string{"/a", "/b"} {
		before := transactionOf(t, s)
		if update(t, s, join("e1", sandbox)); transactionOf(t, s) != before+1 {
			t.Error("the state file does not have it")
		}
	}
	if text := strings.Join(*warned, "\n"); strings.Count(text, "write "+s.journal.path+": ") != 1 {
		t.Errorf("warned of %q", text)
	}
	if err := os.Remove(s.journal.path); err != nil {
		t.Fatal(err)
	}
	before := transactionOf(t, s)
	if update(t, s, join("e1", "/c")); transactionOf(t, s) != before {
		t.Error("the journal is not used again")
	}
	// It is deleted while something is in it.
	if err := os.Remove(s.journal.path); err != nil {
		t.Fatal(err)
	}
	if update(t, s, join("e1", "/d")); transactionOf(t, s) != before+1 {
		t.Error("the state file does not have it")
	}
	if e := open(t, ended(t, s)).Snapshot().Endpoints[0]; e.Sandbox != "/d" {
		t.Errorf("have sandbox %q", e.Sandbox)
	}
}

// What can't be written back stays recorded in the journal, and comes into the state file with
// the next update that does.
func TestWriteBackThatFails(t *testing.T) {
	s, warned := start(t, t.TempDir())
	s.journal.within = time.Hour
	update(t, s, someRecords)
	update(t, s, join("e1", "/a"))
	restore := failAt(t, "store: at writing the journal back", unix.ENOSPC)
	if err := s.Flush(); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), s.path) {
		t.Errorf("have %v, want ENOSPC and the path", err)
	}
	s.writeBack()
	s.writeBack()
	if text := strings.Join(*warned, "\n"); strings.Count(text, "are in "+s.journal.path+" alone") != 1 {
		t.Errorf("warned of %q", text)
	}
	if e := open(t, ended(t, s)).Snapshot().Endpoints[0]; e.Sandbox != "/a" {
		t.Errorf("have sandbox %q", e.Sandbox)
	}
	restore()
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("late")) })
	if err := os.Remove(s.journal.path); err != nil {
		t.Fatal(err)
	}
	if e := open(t, ended(t, s)).Snapshot().Endpoints[0]; e.Sandbox != "/a" {
		t.Errorf("in the state file: sandbox %q", e.Sandbox)
	}
}

// onPoint calls fn at the next pass of a point.
func onPoint(t *testing.T, point string, fn func()) (restore func()) {
	t.Helper()
	passed := false
	restore = fault.Set(func(p string) error {
		if p == point && !passed {
			passed = true
			fn()
		}
		return nil
	})
	t.Cleanup(restore)
	return restore
}
