package store

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
)

// inJournal records the changes of a transaction of the state file in the journal alone, and
// shows what they have left; it reports whether they are recorded. The transaction is not
// committed then.
func (s *Store) inJournal(b *bolt.Tx, changes []change, snap decoded) bool {
	j, after := &s.journal, b.ID()-1
	switch {
	case !ofEndpoints(changes), s.doubted, len(j.ahead) > 0 && j.after != after, j.size >= longestJournal:
		return false
	case s.copy != nil && s.copy.file == nil: // it is made anew of the state file
		return false
	}
	if err := j.add(after, changes); err != nil {
		j.warn(s.warn, fmt.Sprintf("%v: changes of endpoints take longer meanwhile, since each waits for the disk", err))
		return false
	}
	if s.copy != nil {
		s.copy.repeat(s.file, after, changes, time.Now()) // no transaction: one that is missing must show
	}
	if j.timer == nil {
		j.later(s.writeBack)
	}
	s.pair.Lock()
	defer s.pair.Unlock()
	s.now.snap = snap
	return true
}

// writeBack gets into the state file what is in the journal alone.
func (s *Store) writeBack() {
	s.write.Lock()
	defer s.write.Unlock()
	j := &s.journal
	defer j.over()
	if s.closed || len(j.ahead) == 0 {
		return // an update has taken it along
	}
	if err := s.flush(); err != nil {
		j.warn(s.warn, fmt.Sprintf("%v: the last changes of endpoints are in %s alone, and it is tried again", err, j.path))
		j.timer = time.AfterFunc(retryWriteBack, s.writeBack)
	} else {
		j.told = ""
	}
}

// Flush has all that is recorded in the state file, and on the disk.
func (s *Store) Flush() error {
	s.write.Lock()
	defer s.write.Unlock()
	return s.flush()
}

// flush is Flush for who holds s.write.
func (s *Store) flush() error {
	if len(s.journal.ahead) == 0 {
		return nil
	}
	if err := s.putBack(); err != nil {
		return err
	}
	b, err := s.beginWrite() // as putBack, it may have had to write the file anew, with all
	if err != nil {
		return err
	}
	defer b.Rollback() // after a commit it does nothing
	if err = s.journal.redo(b); err == nil {
		err = fault.Point("store: at writing the journal back")
	}
	if err == nil {
		err = s.commit(b, nil, s.decoded(), b.Commit)
	}
	if err != nil {
		return s.unwritten(err)
	}
	return nil
}

// beginWrite begins a transaction of the state file.
func (s *Store) beginWrite() (*bolt.Tx, error) {
	b, err := s.file.db.Begin(true)
	if err != nil && s.reopenLocked(err) {
		b, err = s.file.db.Begin(true)
	}
	if err != nil {
		return nil, s.unwritten(err)
	}
	return b, nil
}

// replay gets into the state file what the process before has left in the journal. Where that can't
// be written, as on a full disk, it goes on with both, as that process did. The caller holds s.write.
func (s *Store) replay() error {
	last, j := 0, &s.journal
	if err := s.file.db.View(func(b *bolt.Tx) error { last = b.ID(); return nil }); err != nil {
		return err
	}
	changes, size, err := readJournal(j.path, last)
	if err != nil {
		s.warn("the last changes of endpoints can't be read: %v", err)
		return s.file.db.Update(func(b *bolt.Tx) error { return b.Bucket(bucketMeta.bytes()).Put(keyLost.bytes(), []byte{}) })
	}
	if len(changes) == 0 {
		return j.remove()
	}
	j.ahead, j.after, j.size = changes, last, size
	err = s.file.db.Update(func(b *bolt.Tx) error {
		return errors.Join(j.redo(b), fault.Point("store: at writing the journal back"))
	})
	if err == nil {
		j.written()
		return j.remove()
	}
	j.warn(s.warn, fmt.Sprintf("%v: the last changes of endpoints are in %s alone, and it is tried again", s.unwritten(err), j.path))
	j.later(s.writeBack)
	return j.reopen()
}
