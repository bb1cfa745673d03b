package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
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

// The disk is full when the next process starts: it goes on with the journal, in which more comes
// behind what the process before has left, and writes it back when there is room.
func TestStartWithAJournalOnAFullDisk(t *testing.T) {
	s, _ := start(t, t.TempDir())
	update(t, s, someRecords)
	update(t, s, join("e1", "/a"))
	path := ended(t, s)
	restore := failAt(t, "store: at writing the journal back", unix.ENOSPC)
	var warned []string
	c := config(t.TempDir(), &warned)
	c.Path = path
	next, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if e := next.Snapshot().Endpoints[0]; e.Sandbox != "/a" || len(warned) != 1 || !strings.Contains(warned[0], unix.ENOSPC.Error()) {
		t.Errorf("sandbox %q, warned of %q", e.Sandbox, warned)
	}
	before := transactionOf(t, next)
	update(t, next, func(tx *Tx) error { return tx.DeleteEndpoint("e2") })
	if now := transactionOf(t, next); now != before {
		t.Errorf("transaction %d, want %d", now, before)
	}
	restore()
	third := open(t, ended(t, next))
	if have := third.Snapshot(); len(have.Endpoints) != 1 || have.Endpoints[0].Sandbox != "/a" {
		t.Errorf("the third process has %+v", have.Endpoints)
	}
	copied := &Store{file: next.copy.file}
	if err := copied.load(); err != nil || len(copied.now.snap.Endpoints) != 1 || copied.now.snap.Endpoints[0].Sandbox != "/a" {
		t.Errorf("the copy has %+v: %v", copied.now.snap.Endpoints, err)
	}
	if err := next.Flush(); err != nil {
		t.Fatal(err)
	}
	if now := transactionOf(t, next); now != before+1 {
		t.Errorf("there is room: transaction %d, want %d", now, before+1)
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
