package store

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
)

// Update calls fn with a transaction, and commits to disk what it did if it
// returns nil; what is about endpoints alone, to where it outlasts the process (see journal.go). If fn returns an error, that error is returned; then, and if fn
// panics, nothing has changed. The transaction must not be used after fn has
// returned.
//
// The Undo holds the records that fn touched as they were before. It is empty, and
// nothing is written, if fn changed nothing.
//
// Be aware: if the disk fails at the very end of a commit, that the change is there can't
// be helped: then it is seen, although there is an error.
// Updates that wait for their turn share a commit, since that is what takes long; each sees
// what those before it have done. fn may run on the goroutine of another update. So it must
// not wait for anything that the caller of an update may hold.
func (s *Store) Update(fn func(*Tx) error) (Undo, error) {
	u := &request{fn: fn}
	s.waiting.add(u)
	s.write.Lock()
	defer s.write.Unlock()
	if !u.over { // else an update that was before it in the queue has taken it along
		s.runAll(s.waiting.take())
	}
	if u.panicked != nil {
		panic(u.panicked)
	}
	return u.undo, u.err
}

// commit has all that a transaction of the file has made on disk, by do, repeats changes in the
// copy, which has what was in the journal, and shows what they have left.
func (s *Store) commit(b *bolt.Tx, changes []change, snap decoded, do func() error) error {
	next := &state{transaction: b.ID(), snap: snap}
	s.pair.Lock()
	s.next = next
	s.pair.Unlock()
	err := do()
	if err == nil {
		err = fault.Point("store: at the end of the commit")
	}
	if err != nil {
		s.doubted = s.doubted || errors.Is(err, syscall.EIO)
		return errors.Join(err, s.settle())
	}
	s.journal.written()
	if s.copy != nil {
		s.copy.repeat(s.file, next.transaction, changes, time.Now())
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
	s.journal.written()
	if s.copy != nil {
		s.copy.renew(s.file, time.Now())
	}
	return nil
}

func (s *Store) unwritten(err error) error {
	return fmt.Errorf("write state file %s: %w (see df, dmesg)", s.path, err)
}
