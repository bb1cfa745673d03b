package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// failAt has every pass of a point fail.
func failAt(t *testing.T, point string, with error) (restore func()) {
	t.Helper()
	restore = fault.Set(func(p string) error {
		if p == point {
			return with
		}
		return nil
	})
	t.Cleanup(restore)
	return restore
}

// When the disk fails at the end of a commit, memory shows what the file has: either all of
// the change or nothing, and the copy too.
func TestCommitThatFailsAtItsEnd(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, dir)
	update(t, s, someRecords)
	restore := failAt(t, "store: at the end of the commit", unix.EIO)
	_, err := s.Update(func(tx *Tx) error { return tx.PutNetwork(network("late")) })
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), s.path) {
		t.Fatalf("have %v, want EIO and the path", err)
	}
	restore()
	have := dump(t, s) // compares memory with the file
	if len(have.Networks) != 3 {
		t.Errorf("have %d networks, want 3, as the file has", len(have.Networks))
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteNetwork("late") })
	want := dump(t, s)
	if err := errors.Join(s.Close(), os.Remove(s.path)); err != nil {
		t.Fatal(err)
	}
	s, _ = start(t, dir)
	if have := dump(t, s); !reflect.DeepEqual(have, want) {
		t.Errorf("the copy has %+v, want %+v", have, want)
	}
}

// What the disk has failed to take is not written again by another commit, so the next one
// writes the whole file. If that can't be, the records go on as they are.
func TestFileIsWrittenAnewWhenTheDiskHasFailed(t *testing.T) {
	s, warned := start(t, t.TempDir())
	update(t, s, someRecords)
	before, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	restore := failAt(t, "store: at the end of the commit", unix.EIO)
	if _, err := s.Update(func(tx *Tx) error { return tx.PutNetwork(network("late")) }); !errors.Is(err, unix.EIO) {
		t.Fatalf("have %v, want EIO", err)
	}
	restore()
	restore = failAt(t, "store: before a new state file is in place", unix.ENOSPC)
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("later")) })
	restore()
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("last")) })
	want := dump(t, s)
	if after, err := os.Stat(s.path); err != nil || os.SameFile(before, after) {
		t.Errorf("the file was not written anew: %v", err)
	}
	text := strings.Join(*warned, "\n")
	for _, line := range []string{"can't be written anew: a power cut may damage it", "it is written again, with all records"} {
		if strings.Count(text, line) != 1 {
			t.Errorf("warned of %q, want %q once", text, line)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.path)
	if have := dump(t, s); !reflect.DeepEqual(have, want) || len(want.Networks) != 5 {
		t.Errorf("have %+v, want %+v", have, want)
	}
	if left, _ := filepath.Glob(s.path + ".*"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A state file that is deleted while it is open is written again with the next change, and
// one that another file has taken the place of, too: that one is kept.
func TestFileThatIsDeletedWhileOpen(t *testing.T) {
	for name, instead := range map[string][]byte{"deleted": nil, "replaced": []byte("theirs")} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, warned := start(t, dir)
			update(t, s, someRecords)
			if err := os.RemoveAll(filepath.Dir(s.path)); err != nil {
				t.Fatal(err)
			}
			if instead != nil {
				if err := errors.Join(os.Mkdir(filepath.Dir(s.path), 0o700), os.WriteFile(s.path, instead, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("late")) })
			want := dump(t, s)
			if text := strings.Join(*warned, "\n"); !strings.Contains(text, "the state file "+s.path+" was "+name) {
				t.Errorf("warned of %q", text)
			}
			aside, _ := filepath.Glob(s.path + ".damaged-*")
			if (len(aside) == 1) != (instead != nil) {
				t.Errorf("set aside are %v", aside)
			}
			if err := errors.Join(s.Close(), os.Remove(s.copy.path)); err != nil {
				t.Fatal(err)
			}
			s, _ = start(t, dir)
			if have := dump(t, s); !reflect.DeepEqual(have, want) || len(want.Networks) != 3 {
				t.Errorf("have %+v, want %+v", have, want)
			}
		})
	}
}

// A file that bbolt has given up, as it does when it can't map it, is opened again.
func TestFileThatBboltHasGivenUp(t *testing.T) {
	s, _ := start(t, t.TempDir())
	update(t, s, someRecords)
	for _, read := range []bool{true, false} {
		if err := s.file.db.Close(); err != nil {
			t.Fatal(err)
		}
		if !read {
			update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("late")) })
		}
		if have := dump(t, s); len(have.Networks) < 2 {
			t.Errorf("have %d networks", len(have.Networks))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.View(func(*Tx) error { return nil }); err == nil {
		t.Error("a store that was closed was opened again")
	}
	if _, err := s.Update(func(*Tx) error { return nil }); err == nil {
		t.Error("a store that was closed was opened again")
	}
}

// A copy that can't be written is deleted, is no error of the change, and comes back.
func TestCopyThatFails(t *testing.T) {
	dir := t.TempDir()
	s, warned := start(t, dir)
	restore := failAt(t, "store: before the commit of the copy", unix.ENOSPC)
	update(t, s, someRecords)
	if _, err := os.Stat(s.copy.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is there: %v", err)
	}
	if text := strings.Join(*warned, "\n"); !strings.Contains(text, "the copy "+s.copy.path+" of the state file could not be written and is deleted") {
		t.Errorf("warned of %q", text)
	}
	restore()
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("soon")) })
	if _, err := os.Stat(s.copy.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is tried again at once: %v", err)
	}
	s.copy.retry = s.copy.retry.Add(-retryCopy)
	update(t, s, func(tx *Tx) error { return tx.PutNetwork(network("late")) })
	want := dump(t, s)
	if err := errors.Join(s.Close(), os.Remove(s.path)); err != nil {
		t.Fatal(err)
	}
	s, _ = start(t, dir)
	if have := dump(t, s); !reflect.DeepEqual(have, want) || len(want.Networks) != 4 {
		t.Errorf("have %+v, want %+v", have, want)
	}
}

// A read does not wait for a commit that is being written.
func TestReadDuringACommit(t *testing.T) {
	s, _ := start(t, t.TempDir())
	update(t, s, someRecords)
	writing, written := make(chan struct{}), make(chan struct{})
	restore := fault.Set(func(p string) error {
		if p == "store: at the end of the commit" {
			close(writing)
			<-written
		}
		return nil
	})
	defer restore()
	done := make(chan error)
	go func() {
		_, err := s.Update(func(tx *Tx) error { return tx.PutNetwork(network("late")) })
		done <- err
	}()
	<-writing
	err := s.View(func(tx *Tx) error {
		inFile, err := readAll[model.Network](tx.b, bucketNetworks)
		if err == nil && !reflect.DeepEqual(inFile, tx.Networks()) {
			err = fmt.Errorf("the file has %v, the snapshot %v", inFile, tx.Networks())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if have := s.Snapshot(); len(have.Networks) != 2 {
		t.Errorf("have %d networks before the commit has ended", len(have.Networks))
	}
	close(written)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if have := s.Snapshot(); len(have.Networks) != 3 {
		t.Errorf("have %d networks", len(have.Networks))
	}
}
