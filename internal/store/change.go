package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// place is a bucket, by the names of those on the way to it and its own.
type place []keyText

// in returns the bucket, nil if there is none.
func (p place) in(b *bolt.Tx) *bolt.Bucket {
	bucket := b.Bucket(p[0].bytes())
	for _, name := range p[1:] {
		if bucket == nil {
			return nil
		}
		bucket = bucket.Bucket(name.bytes())
	}
	return bucket
}

// changeKind is what a change does.
type changeKind int

const (
	putKey changeKind = iota
	deleteKey
	makeBucket // and nothing if it is there
	dropBucket // with all in it
)

// change is one change of the file, as it is repeated in the copy. key and value are not
// changed any more.
type change struct {
	kind       changeKind
	at         place
	key, value []byte
}

// do makes the change in a file.
func (c change) do(b *bolt.Tx) (err error) {
	bucket := c.at.in(b)
	if bucket == nil {
		return fmt.Errorf("bucket %q: %w", c.at, model.ErrNotFound)
	}
	switch c.kind {
	case putKey:
		return bucket.Put(c.key, c.value)
	case deleteKey:
		return bucket.Delete(c.key)
	case dropBucket:
		return bucket.DeleteBucket(c.key)
	}
	_, err = bucket.CreateBucketIfNotExists(c.key)
	return err
}

// change makes a change of the transaction, through here alone: what goes another way is
// missing in the copy.
func (tx *Tx) change(c change) error {
	undo := c.inverse(tx.b)
	if err := tx.do(c); err != nil {
		return err
	}
	tx.inverse, tx.changes = append(tx.inverse, undo...), append(tx.changes, c)
	return nil
}

// do makes a change in the file, and in what is known of free addresses.
func (tx *Tx) do(c change) error {
	err := c.do(tx.b)
	if err == nil && tx.free != nil {
		tx.free.follow(c)
	}
	return err
}

// put sets a key of a bucket.
func (tx *Tx) put(at place, key, value []byte) error {
	return tx.change(change{kind: putKey, at: at, key: key, value: value})
}

// delete deletes a key of a bucket, if it is there.
func (tx *Tx) delete(at place, key []byte) error {
	return tx.change(change{kind: deleteKey, at: at, key: key})
}
