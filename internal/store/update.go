package store

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/fault"
)

// Update calls fn with a transaction, and commits to disk what it did if it
// returns nil. If fn returns an error, that error is returned; then, and if fn
// panics, nothing has changed. The transaction must not be used after fn has
// returned.
//
// The Undo holds the records that fn touched as they were before. It is empty, and
// nothing is written, if fn changed nothing.
//
// Be aware: if the disk fails at the very end of a commit, that the change is there can't
// be helped: then it is seen, although there is an error.
func (s *Store) Update(fn func(*Tx) error) (Undo, error) {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.putBack(); err != nil {
		return Undo{}, err
	}
	b, err := s.file.db.Begin(true)
	if err != nil && s.reopenLocked(err) {
		b, err = s.file.db.Begin(true)
	}
	if err != nil {
		return Undo{}, s.unwritten(err)
	}
	defer b.Rollback() // after a commit it does nothing
	tx := newTx(b, s.Snapshot())
	if err := fn(tx); err != nil {
		return Undo{}, err
	}
	if tx.err != nil {
		return Undo{}, tx.err
	}
	if len(tx.changes) == 0 {
		return Undo{}, nil
	}
	if err := s.commit(tx); err != nil {
		return Undo{}, s.unwritten(err)
	}
	return tx.undo, nil
}

// commit has what the transaction did on disk, repeats it in the copy, and shows it.
func (s *Store) commit(tx *Tx) error {
	next := &state{transaction: tx.b.ID(), snap: tx.snap}
	s.pair.Lock()
	s.next = next
	s.pair.Unlock()
	err := commit(tx.b)
	if err == nil {
		err = fault.Point("store: at the end of the commit")
	}
	if err != nil {
		s.doubted = s.doubted || errors.Is(err, syscall.EIO)
		return errors.Join(err, s.settle())
	}
	if s.copy != nil {
		s.copy.repeat(s.file, next.transaction, tx.changes, time.Now())
	}
	s.pair.Lock()
	defer s.pair.Unlock()
	s.now, s.next = *next, nil
	return nil
}

// settle shows what a commit that failed has left in the file: either state is whole. If the
// change is there, the copy is made anew.
func (s *Store) settle() error {
	s.pair.Lock()
	defer s.pair.Unlock()
	b, err := s.file.db.Begin(false)
	if err != nil {
		s.next = nil
		return err
	}
	defer b.Rollback() // ends a read; can't fail before it has ended
	if s.next.transaction != b.ID() {
		s.next = nil
		return nil
	}
	s.now, s.next = *s.next, nil
	if s.copy != nil {
		s.copy.renew(s.file, time.Now())
	}
	return nil
}

func (s *Store) unwritten(err error) error {
	return fmt.Errorf("write state file %s: %w (see df, dmesg)", s.path, err)
}
