package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/fault"
)

// retryCopy is how long a copy that could not be written is not tried again: that reads
// and writes all records, in front of whoever changes one.
const retryCopy = 30 * time.Second

// duplicate is the copy: a file with the same records, of another file system, that each
// commit of the state file is repeated in. It is not synced: it is to outlive the process
// and the disk, not the kernel.
//
// A copy that is not complete is no use, and is deleted: what is there lacks at most the
// change that was being written when the process ended, which nobody was told of.
type duplicate struct {
	path  string
	warn  func(format string, args ...any)
	file  *file     // nil: there is none now
	retry time.Time // not before
}

// repeat makes the changes of the transaction of that number.
func (d *duplicate) repeat(main *file, transaction int, changes []change, now time.Time) {
	if d.file == nil {
		if now.After(d.retry) {
			d.renew(main, now)
		}
		return
	}
	err := fault.Point("store: before the commit of the copy")
	if err == nil {
		err = undamaged(func() error {
			return d.file.db.Update(func(b *bolt.Tx) error {
				for _, c := range changes {
					if err := c.do(b); err != nil {
						return err
					}
				}
				return setCopyState(b, transaction, now)
			})
		})
	}
	if err != nil {
		d.drop(err, now)
	}
}

// renew makes the copy anew, of all there is.
func (d *duplicate) renew(main *file, now time.Time) {
	if d.file != nil {
		if err := d.file.db.Close(); err != nil {
			d.drop(err, now)
		}
		d.file = nil
	}
	err := os.MkdirAll(filepath.Dir(d.path), 0o700)
	if err == nil {
		err = d.write(main, now)
	}
	if err != nil {
		d.drop(err, now)
	}
}

// write puts a copy of the file in place and opens it.
func (d *duplicate) write(main *file, now time.Time) error {
	beside := d.path + ".new"
	last := 0
	err := main.db.View(func(b *bolt.Tx) error { last = b.ID(); return nil })
	if err == nil {
		err = main.copyTo(beside)
	}
	if err != nil {
		return errors.Join(err, removeFile(beside))
	}
	f, err := openFile(beside, unsynced)
	if err != nil {
		return err
	}
	if err = f.db.Update(func(b *bolt.Tx) error { return setCopyState(b, last, now) }); err == nil {
		err = os.Rename(beside, d.path)
	}
	if err != nil {
		return errors.Join(err, f.db.Close(), removeFile(beside))
	}
	f.path, d.file = d.path, f
	return nil
}

// drop deletes a copy that could not be written.
func (d *duplicate) drop(err error, now time.Time) {
	if d.file != nil {
		err = errors.Join(err, d.file.abandon())
		d.file = nil
	}
	d.warn("the copy %s of the state file could not be written and is deleted: if the state file is lost now, records are: %v",
		d.path, errors.Join(err, removeFile(d.path)))
	d.retry = now.Add(retryCopy)
}

func (d *duplicate) close() error {
	if d.file == nil {
		return nil
	}
	return d.file.db.Close()
}

// removeFile deletes a file if it is there.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// setCopyState notes in a copy which transaction of the state file was its last, and when.
func setCopyState(b *bolt.Tx, transaction int, at time.Time) error {
	bucket, err := b.CreateBucketIfNotExists(bucketCopy.bytes())
	if err != nil {
		return fmt.Errorf("note what the copy has: %w", err)
	}
	return errors.Join(
		bucket.Put(keyOf.bytes(), binary.BigEndian.AppendUint64(nil, uint64(transaction))),
		bucket.Put(keyAt.bytes(), []byte(at.UTC().Format(time.RFC3339Nano))),
	)
}

// copyState reads what setCopyState wrote; zero for what is not there.
func copyState(b *bolt.Tx) (transaction uint64, at time.Time) {
	bucket := b.Bucket(bucketCopy.bytes())
	if bucket == nil {
		return 0, at
	}
	if raw := bucket.Get(keyOf.bytes()); len(raw) == 8 {
		transaction = binary.BigEndian.Uint64(raw)
	}
	if t, err := time.Parse(time.RFC3339Nano, string(bucket.Get(keyAt.bytes()))); err == nil {
		at = t
	}
	return transaction, at
}
