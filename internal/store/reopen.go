package store

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	berrors "go.etcd.io/bbolt/errors"
)

// reopen opens the file again if that is what an error of bbolt asks for: a file that had
// grown could not be mapped (out of address space or memory), and bbolt gives it up then.
// It reports whether the file can be used again.
func (s *Store) reopen(err error) bool {
	s.write.Lock()
	defer s.write.Unlock()
	return s.reopenLocked(err)
}

// reopenLocked is reopen for one who has write.
func (s *Store) reopenLocked(err error) bool {
	s.pair.Lock()
	defer s.pair.Unlock()
	if s.closed || !errors.Is(err, berrors.ErrInvalidMapping) && !errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return false
	}
	if b, err := s.file.db.Begin(false); err == nil { // another one has done it by now
		return b.Rollback() == nil
	}
	if err := s.file.db.Close(); err != nil {
		s.warn("close state file %s: %v", s.path, err)
		return false
	}
	f, err := openWhole(s.path, synced, checkAll)
	if err == nil {
		s.file = f
		err = f.db.Update(s.journal.redo)
	}
	if err == nil {
		s.journal.written()
		err = s.load()
	}
	if err != nil {
		s.warn("the state file could not be opened again: %v", err)
		return false
	}
	return true
}

// putBack writes the state file again if it was deleted or replaced while it was open:
// what is recorded from here on would be gone with the process. A file that is in its place
// now is set aside.
//
// So it does if the disk has failed while the file was written: the kernel has what could not
// be written, but takes it for written from then on (fsync(2)).
func (s *Store) putBack() error {
	there, err := s.file.inPlace()
	switch {
	case err != nil || s.closed: // nobody can tell, or the update fails and says why
	case !there:
		if err := s.rewriteDeleted(); err != nil {
			return fmt.Errorf("state file %s was deleted while mybr runs, and can't be put back: %w", s.path, err)
		}
	case s.doubted:
		if err := s.rewrite("could not be written to the disk"); err != nil {
			s.warn("the state file %s could not be written to the disk, and can't be written anew: a power cut may damage it: %v", s.path, err)
		}
	}
	return nil
}

// rewriteDeleted writes the state file again where it is gone, or another file is in its place.
func (s *Store) rewriteDeleted() error {
	if err := makeDir(s.path); err != nil {
		return err
	}
	what := "was deleted"
	switch aside, err := setAside(s.path, time.Now()); {
	case err == nil:
		what = "was replaced by another file, now " + aside + ","
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return s.rewrite(what)
}

// rewrite writes the state file anew, in the place of the one that is open.
func (s *Store) rewrite(what string) error {
	f, err := newFile(s.path, s.file, s.journal.redo)
	if err != nil {
		return err
	}
	s.journal.written()
	s.pair.Lock()
	gone := s.file
	s.file, s.doubted = f, false
	s.pair.Unlock()
	if err := gone.db.Close(); err != nil { // waits for its readers
		s.warn("close the state file that was replaced: %v", err)
	}
	if s.copy != nil {
		s.copy.renew(f, time.Now())
	}
	s.warn("the state file %s %s while mybr runs: it is written again, with all records", s.path, what)
	return nil
}
