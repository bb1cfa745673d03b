package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A copy says to have no transaction of the state file that it lacks: what is in the journal comes
// behind the last one, and is none.
func TestCopyOfAJournalIsOfTheLastTransaction(t *testing.T) {
	s, _ := start(t, t.TempDir())
	update(t, s, someRecords)
	update(t, s, join("e1", "/a"))
	s.write.Lock() // nothing is written back meanwhile
	defer s.write.Unlock()
	var of uint64
	if err := s.copy.file.db.View(func(b *bolt.Tx) error { of, _ = copyState(b); return nil }); err != nil {
		t.Fatal(err)
	}
	if last := transactionOf(t, s); of != uint64(last) {
		t.Errorf("it is of transaction %d, and the state file's last is %d", of, last)
	}
}

// A state file that is lost while something is in the journal alone is written again with that,
// and so is one that the next process finds lost, of the copy.
func TestFileThatIsLostWithAJournal(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, dir)
	update(t, s, someRecords)
	update(t, s, join("e1", "/a"))
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	update(t, s, join("e1", "/b"))
	if e := open(t, ended(t, s)).Snapshot().Endpoints[0]; e.Sandbox != "/b" {
		t.Errorf("have sandbox %q", e.Sandbox)
	}
	update(t, s, join("e1", "/c"))
	path := ended(t, s)
	copied, err := os.ReadFile(s.copy.path)
	if err == nil {
		err = os.Remove(path)
	}
	c := config(filepath.Join(dir, "next"), new([]string))
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(c.Path), 0o700), os.MkdirAll(filepath.Dir(c.Copy), 0o700))
	}
	if err == nil {
		err = errors.Join(os.Rename(journalPath(path), journalPath(c.Path)), os.WriteFile(c.Copy, copied, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	next, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if e := next.Snapshot().Endpoints[0]; e.Sandbox != "/c" {
		t.Errorf("of the copy: sandbox %q", e.Sandbox)
	}
}
