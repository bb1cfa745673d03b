package store

import (
	"errors"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// request is one call of Update. What is below fn is guarded by Store.write.
type request struct {
	fn       func(*Tx) error
	over     bool
	undo     Undo
	err      error
	panicked any
}

// queue is the updates that wait.
type queue struct {
	mu  sync.Mutex
	all []*request
}

func (q *queue) add(u *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = append(q.all, u)
}

func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.all
	q.all = nil
	return all
}

// runAll carries out updates, in their order, in one commit. The caller holds s.write.
func (s *Store) runAll(all []*request) {
	err := errors.New("another update has ended the goroutine") // if run does not return
	defer func() {
		if err != nil {
			s.free.forget()
		}
		for _, u := range all {
			if u.over = true; err != nil && u.err == nil && u.panicked == nil {
				u.undo, u.err = Undo{}, err
			}
		}
	}()
	err = s.run(all)
}

// run is runAll. An error is that of all updates that have none of their own.
func (s *Store) run(all []*request) error {
	if err := s.putBack(); err != nil {
		return err
	}
	b, err := s.beginWrite()
	if err != nil {
		return err
	}
	defer b.Rollback() // after a commit it does nothing
	if err := s.journal.redo(b); err != nil {
		return s.unwritten(err)
	}
	snap := s.decoded()
	var changes []change
	for _, u := range all {
		tx := newTx(b, snap)
		tx.free = &s.free
		u.try(tx)
		if u.err == nil && u.panicked == nil {
			snap, changes, u.undo = tx.snap, append(changes, tx.changes...), tx.undo
		} else if err := tx.takeBack(); err != nil {
			return s.unwritten(err)
		}
	}
	if len(changes) == 0 || s.inJournal(b, changes, snap) {
		return nil
	}
	if err := s.commit(b, changes, snap, func() error { return commit(b) }); err != nil {
		return s.unwritten(err)
	}
	return nil
}

// try runs the update's function.
func (u *request) try(tx *Tx) {
	defer func() { u.panicked = recover() }()
	u.err = u.fn(tx)
	if u.err == nil {
		u.err = tx.err
	}
}

// takeBack undoes all that the transaction has changed in the file: others share its commit.
func (tx *Tx) takeBack() error {
	var errs []error
	for i := len(tx.inverse) - 1; i >= 0; i-- {
		errs = append(errs, tx.do(tx.inverse[i]))
	}
	return errors.Join(errs...)
}

// inverse lists what undoes a change, in the opposite order, before it is made.
func (c change) inverse(b *bolt.Tx) []change {
	bucket := c.at.in(b)
	if bucket == nil {
		return nil // it will fail
	}
	switch c.kind {
	case putKey, deleteKey:
		if have := bucket.Get(c.key); have != nil {
			return []change{{kind: putKey, at: c.at, key: c.key, value: append([]byte{}, have...)}}
		}
		return []change{{kind: deleteKey, at: c.at, key: c.key}}
	case makeBucket:
		if bucket.Bucket(c.key) != nil {
			return nil
		}
		return []change{{kind: dropBucket, at: c.at, key: c.key}}
	}
	all := contents(bucket.Bucket(c.key), append(append(place{}, c.at...), keyText(c.key)))
	return append(all, change{kind: makeBucket, at: c.at, key: c.key})
}

// contents lists what makes the contents of a bucket, in the opposite order.
func contents(bucket *bolt.Bucket, at place) (all []change) {
	if bucket == nil {
		return nil
	}
	c := bucket.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		key := append([]byte{}, k...)
		if v != nil {
			all = append(all, change{kind: putKey, at: at, key: key, value: append([]byte{}, v...)})
			continue
		}
		all = append(all, contents(bucket.Bucket(k), append(append(place{}, at...), keyText(k)))...)
		all = append(all, change{kind: makeBucket, at: at, key: key})
	}
	return all
}
