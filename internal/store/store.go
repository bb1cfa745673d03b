// Package store keeps mybr's records on disk: networks, endpoints, address pools
// and leases, in one bbolt file.
//
// Changes are made in a closure that is all or nothing: Update commits if the
// closure returns nil, and changes nothing if it returns an error or panics. What
// Update returns can be given to Revert, which puts back the records that this one
// update touched, save those that others have changed since.
//
// Networks and endpoints are kept decoded in memory too, so Snapshot costs next to
// nothing. Pools and leases are read from the file, so a pool that nobody uses
// costs no memory, whatever its size; of one that is, the addresses are kept as bits, so that
// a free one is found at once.
//
// What is about endpoints alone is in a journal beside the file until the next commit
// (journal.go).
//
// The file is looked through when it is opened. Start goes on where it is lost or damaged:
// from a copy on another file system, which each commit is repeated in, or from what is left.
//
// Be aware: an update does not check records against each other (only a lease needs its
// pool): that is the drivers' work. Start takes an endpoint of a network that has no record
// for damage.
// A closure must not call View or Update of the same store: a write that has to
// grow the file waits for all readers. One process at a time has the file open.
package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// Store is an open file of records. Its methods may be called from any goroutine.
type Store struct {
	path string
	copy *duplicate // nil: there is none
	warn func(format string, args ...any)

	waiting queue      // updates that have not begun
	write   sync.Mutex // one transaction of updates at a time, from its begin until now is replaced
	free    free       // guarded by write
	journal journal    // guarded by write
	doubted bool       // guarded by write: what was written may not be on the disk

	pair   sync.RWMutex // the fields below, and a reader's transaction and snapshot are taken together
	file   *file
	closed bool
	now    state
	next   *state // being committed: a reader may see it a moment before now is replaced
}

// state is the networks and endpoints that a transaction of the file has left.
type state struct {
	transaction int
	snap        decoded
}

// decoded is what of a state is kept decoded: nothing of it is changed once others see it.
type decoded struct {
	model.Snapshot
	index
}

// Open opens the file at path, or makes it (mode 0600, its directory 0700).
//
// If another process has it open, Open fails after at most about 100 ms with an
// error that wraps model.ErrConflict and names that process. A file of a newer
// schema is refused and left as it is. A damaged one is an error that wraps a *Damage.
func Open(path string) (*Store, error) {
	if err := makeDir(path); err != nil {
		return nil, err
	}
	s := &Store{path: path, journal: journal{path: journalPath(path)}, warn: func(string, ...any) {}}
	var err error
	s.file, err = openWhole(path, synced, func(b *bolt.Tx) error { return errors.Join(checkSchema(b), checkPages(b)) })
	if errors.Is(err, fs.ErrNotExist) {
		s.file, err = newFile(path, nil, initialise)
	}
	if err != nil {
		return nil, err
	}
	s.write.Lock() // what is written back later waits
	defer s.write.Unlock()
	if err = s.replay(); err == nil {
		err = s.load()
	}
	if err != nil {
		s.closed = true // for what would be written back later
		return nil, errors.Join(fmt.Errorf("open state file %s: %w", path, err), s.file.db.Close())
	}
	return s, nil
}

// Close closes the files. Updates that are under way end first.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.flush()
	if err == nil {
		err = s.journal.remove()
	} else {
		err = errors.Join(err, s.journal.close()) // the next process reads it
	}
	s.pair.Lock()
	defer s.pair.Unlock()
	s.closed = true
	err = errors.Join(err, s.file.db.Close())
	if s.copy != nil {
		err = errors.Join(err, s.copy.close())
	}
	return err
}

// Backup writes all records as they are now, as a state file that mybr can start with.
func (s *Store) Backup(w io.Writer) error {
	if err := s.Flush(); err != nil {
		return err
	}
	return s.View(func(tx *Tx) error {
		_, err := tx.b.WriteTo(w)
		return err
	})
}

// Snapshot returns all networks and endpoints as of the last update, sorted by ID.
// The caller may keep it, and must change neither what its slices hold nor the records that their
// pointers lead to.
func (s *Store) Snapshot() model.Snapshot { return s.decoded().Snapshot }

func (s *Store) decoded() decoded {
	s.pair.RLock()
	defer s.pair.RUnlock()
	return s.now.snap
}

// View calls fn with a transaction that sees one state of the records and can't
// change them. The transaction must not be used after fn has returned. It does not wait
// for an update that is being written.
func (s *Store) View(fn func(*Tx) error) error {
	tx, err := s.begin()
	if err != nil && s.reopen(err) {
		tx, err = s.begin()
	}
	if err != nil {
		return fmt.Errorf("read state file %s: %w", s.path, err)
	}
	defer tx.b.Rollback() // ends a read; can't fail before it has ended
	if err := fn(tx); err != nil {
		return err
	}
	return tx.err
}

// begin begins a read with the snapshot of the transaction that it sees: that may be one
// whose commit is not on disk yet.
func (s *Store) begin() (*Tx, error) {
	s.pair.RLock()
	defer s.pair.RUnlock()
	b, err := s.file.db.Begin(false)
	if err != nil {
		return nil, err
	}
	if s.next != nil && s.next.transaction == b.ID() {
		return newTx(b, s.next.snap), nil
	}
	return newTx(b, s.now.snap), nil
}

// Boot records id, the boot id of the running kernel
// (/proc/sys/kernel/random/boot_id, see random(4)), and reports whether the host
// was booted since the last call. If it was, or if there are endpoints of an
// unknown boot, all endpoints are deleted in the same transaction: their links
// ended with the boot, and Docker never uses an endpoint's ID again. Networks,
// pools and leases stay. From then on records are Lost: where links are there all the same,
// the file is one of before, put back from a backup.
func (s *Store) Boot(id string) (changed bool, err error) {
	if id == "" {
		return false, fmt.Errorf("%w: empty boot id", model.ErrInvalid)
	}
	_, err = s.Update(func(tx *Tx) error {
		meta := tx.b.Bucket(bucketMeta.bytes())
		have := string(meta.Get(keyBoot.bytes()))
		if have == id {
			return nil
		}
		changed = have != "" || len(tx.snap.Endpoints) > 0
		for _, e := range tx.Endpoints() {
			if err := tx.DeleteEndpoint(e.ID); err != nil {
				return err
			}
		}
		if err := tx.deleteNotes(); err != nil {
			return err
		}
		if changed {
			if err := tx.put(place{bucketMeta}, keyLost.bytes(), []byte{}); err != nil {
				return err
			}
		}
		return tx.put(place{bucketMeta}, keyBoot.bytes(), []byte(id))
	})
	return changed && err == nil, err
}
