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
// costs no memory, whatever its size.
//
// Be aware: records are not checked against each other (an endpoint may name a
// network that has none; only a lease needs its pool): that is the drivers' work.
// A closure must not call View or Update of the same store: a write that has to
// grow the file waits for all readers. One process at a time has the file open.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// schema is the version of the file's layout that this package writes: five
// top-level buckets, of which
//
//	meta       schema → decimal version, boot → boot id, pending/ID → nothing,
//	           global-id → 5 bytes, turned-on/PATH → nothing
//	networks   ID → JSON of model.Network
//	endpoints  ID → JSON of model.Endpoint
//	pools      ID → JSON of model.Pool
//	leases     pool ID → bucket with three buckets:
//	             addr  4 or 16 bytes of address → JSON of model.Lease
//	             mac   6 bytes of MAC, then the address → nothing
//	             rest  1 if it was named or 0, 8 bytes of time, then the address → nothing
//
// The leases of a pool are in the order of their addresses, because bbolt orders
// keys as bytes.
const schema = 1

// lockWait is how long Open waits for the file's lock. bbolt tries again every
// 50 ms, so this is two attempts.
const lockWait = 100 * time.Millisecond

// keyText is a key or bucket name. bbolt takes bytes, which can't be constants.
type keyText string

func (k keyText) bytes() []byte { return []byte(k) }

const (
	bucketMeta      keyText = "meta"
	bucketNetworks  keyText = "networks"
	bucketEndpoints keyText = "endpoints"
	bucketPools     keyText = "pools"
	bucketLeases    keyText = "leases"
	bucketAddr      keyText = "addr"
	bucketMAC       keyText = "mac"
	bucketRest      keyText = "rest"

	keySchema     keyText = "schema"
	keyBoot       keyText = "boot"
	keyGlobalID   keyText = "global-id"
	keyUnanswered keyText = "pending/"   // a network's ID follows
	keyTurnedOn   keyText = "turned-on/" // the path of a setting follows
)

// Store is an open file of records. Its methods may be called from any goroutine.
type Store struct {
	db *bolt.DB

	write sync.Mutex   // one Update at a time, from its begin until snap is replaced
	pair  sync.RWMutex // a reader's transaction and snap are taken together
	snap  atomic.Pointer[model.Snapshot]
}

// Open opens the file at path, or makes it (mode 0600, its directory 0700).
//
// If another process has it open, Open fails after at most about 100 ms with an
// error that wraps model.ErrConflict and names that process. A file of a newer
// schema is refused and left as it is.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	s := &Store{}
	err := undamaged(func() (err error) {
		if s.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait}); err != nil {
			return err
		}
		if err := s.load(); err != nil {
			return errors.Join(err, s.db.Close())
		}
		return nil
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, &inUse{path: path, by: holder(path)}
	}
	if err != nil {
		return nil, fmt.Errorf("open state file %s: %w", path, err)
	}
	return s, nil
}

// undamaged makes an error of what bbolt says by a panic or a fault about a file that a
// power cut or a disk has damaged. After that the file can't be closed.
func undamaged(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the file may be shorter than its pages say
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the file is damaged (%v): put back a copy of it, or move it away and create the networks again", v)
		}
	}()
	return fn()
}

// Close closes the file. Updates that are under way end first.
func (s *Store) Close() error { return s.db.Close() }

// load checks the schema, makes what a new file lacks, and reads networks and
// endpoints into memory.
func (s *Store) load() error {
	empty := false
	err := s.db.View(func(b *bolt.Tx) error {
		if first, _ := b.Cursor().First(); first == nil {
			empty = true
			return nil
		}
		return checkSchema(b)
	})
	if err != nil {
		return err
	}
	if empty {
		if err := s.db.Update(initialise); err != nil {
			return err
		}
		fault.Passed("store: after making the file")
	}
	return s.db.View(func(b *bolt.Tx) error {
		var snap model.Snapshot
		var err error
		if snap.Networks, err = readAll[model.Network](b, bucketNetworks); err != nil {
			return err
		}
		if snap.Endpoints, err = readAll[model.Endpoint](b, bucketEndpoints); err != nil {
			return err
		}
		s.snap.Store(&snap)
		return nil
	})
}

func checkSchema(b *bolt.Tx) error {
	meta := b.Bucket(bucketMeta.bytes())
	if meta == nil {
		return errors.New("not a state file of mybr")
	}
	text := string(meta.Get(keySchema.bytes()))
	version, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("not a state file of mybr: schema %q", text)
	}
	if version > schema {
		return fmt.Errorf("schema %d was written by a newer mybr; this one knows schema %d: use the newer one, or another state directory", version, schema)
	}
	return nil
}

func initialise(b *bolt.Tx) error {
	for _, name := range []keyText{bucketMeta, bucketNetworks, bucketEndpoints, bucketPools, bucketLeases} {
		if _, err := b.CreateBucket(name.bytes()); err != nil {
			return err
		}
	}
	return b.Bucket(bucketMeta.bytes()).Put(keySchema.bytes(), []byte(strconv.Itoa(schema)))
}

// readAll decodes every record of a bucket, in the order of the keys.
func readAll[V any](b *bolt.Tx, bucket keyText) ([]V, error) {
	var all []V
	root := b.Bucket(bucket.bytes())
	if root == nil {
		return nil, fmt.Errorf("not a state file of mybr: no %s", bucket)
	}
	err := root.ForEach(func(k, raw []byte) error {
		var v V
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("%s %s: %w", bucket, k, err)
		}
		all = append(all, v)
		return nil
	})
	return all, err
}

// Snapshot returns all networks and endpoints as of the last update, sorted by ID.
// The caller may keep it, and must not change what its slices hold.
func (s *Store) Snapshot() model.Snapshot { return *s.snap.Load() }

// View calls fn with a transaction that sees one state of the records and can't
// change them. The transaction must not be used after fn has returned.
func (s *Store) View(fn func(*Tx) error) error {
	s.pair.RLock()
	b, err := s.db.Begin(false)
	snap := *s.snap.Load()
	s.pair.RUnlock()
	if err != nil {
		return fmt.Errorf("read the state file: %w", err)
	}
	defer b.Rollback() // ends a read; can't fail before it has ended
	tx := newTx(b, snap)
	if err := fn(tx); err != nil {
		return err
	}
	return tx.err
}

// Update calls fn with a transaction, and commits to disk what it did if it
// returns nil. If fn returns an error, that error is returned; then, and if fn
// panics, nothing has changed. The transaction must not be used after fn has
// returned.
//
// The Undo holds the records that fn touched as they were before. It is empty, and
// nothing is written, if fn changed nothing.
func (s *Store) Update(fn func(*Tx) error) (Undo, error) {
	s.write.Lock()
	defer s.write.Unlock()
	b, err := s.db.Begin(true)
	if err != nil {
		return Undo{}, fmt.Errorf("write the state file: %w", err)
	}
	defer b.Rollback() // after a commit it does nothing
	tx := newTx(b, *s.snap.Load())
	if err := fn(tx); err != nil {
		return Undo{}, err
	}
	if tx.err != nil {
		return Undo{}, tx.err
	}
	if !tx.dirty {
		return Undo{}, nil
	}
	s.pair.Lock()
	defer s.pair.Unlock()
	if err := commit(b); err != nil {
		return Undo{}, fmt.Errorf("write the state file: %w", err)
	}
	s.snap.Store(&tx.snap)
	return tx.undo, nil
}

// Boot records id, the boot id of the running kernel
// (/proc/sys/kernel/random/boot_id, see random(4)), and reports whether the host
// was booted since the last call. If it was, or if there are endpoints of an
// unknown boot, all endpoints are deleted in the same transaction: their links
// ended with the boot, and Docker never uses an endpoint's ID again. Networks,
// pools and leases stay.
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
		if err := tx.deleteTurnedOn(); err != nil {
			return err
		}
		tx.dirty = true
		return meta.Put(keyBoot.bytes(), []byte(id))
	})
	return changed && err == nil, err
}
