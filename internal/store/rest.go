package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// restTime is where the time is in a key of the index of resting addresses, and restAddr
// where the address begins.
const (
	restTime = 1
	restAddr = restTime + 8
)

// Resting yields the resting leases of a pool, named ones or the others, in the order in
// which they were released, from the given time on (ns since 1970). Leases of the pool
// must not be put or deleted until the loop has ended.
func (tx *Tx) Resting(poolID string, named bool, from int64) iter.Seq[model.Lease] {
	return func(yield func(model.Lease) bool) {
		index := tx.rests(poolID)
		if index == nil {
			return
		}
		class := restKey(model.Lease{Named: named})[0]
		c := index.Cursor()
		for k, _ := c.Seek(restKey(model.Lease{Named: named, Freed: from})); k != nil && k[0] == class; k, _ = c.Next() {
			l, err := restOf(k)
			if err != nil {
				tx.fail(fmt.Errorf("resting addresses of pool %s: %w", poolID, err))
				return
			}
			if !yield(l) {
				return
			}
		}
	}
}

// rests returns the index of a pool's resting addresses; nil if there is none.
func (tx *Tx) rests(poolID string) *bolt.Bucket {
	root := tx.b.Bucket(bucketLeases.bytes()).Bucket([]byte(poolID))
	if root == nil {
		return nil
	}
	return root.Bucket(bucketRest.bytes())
}

// indexRest takes a lease that is replaced out of the index, and puts the one that
// replaces it there; those that don't rest have no place in it.
func (tx *Tx) indexRest(poolID string, before, after model.Lease) error {
	var errs []error
	if tx.rests(poolID) == nil { // a pool that was recorded before there was an index
		errs = append(errs, tx.change(change{kind: makeBucket, at: place{bucketLeases, keyText(poolID)}, key: bucketRest.bytes()}))
	}
	index := place{bucketLeases, keyText(poolID), bucketRest}
	if before.Kind == model.LeaseResting {
		errs = append(errs, tx.delete(index, restKey(before)))
	}
	if after.Kind == model.LeaseResting {
		errs = append(errs, tx.put(index, restKey(after), nil))
	}
	return errors.Join(errs...)
}

// restKey orders resting leases: those that were not named first, then by the time of their
// release. A time before 1970 counts as then.
func restKey(l model.Lease) []byte {
	k := []byte{0}
	if l.Named {
		k[0] = 1
	}
	k = binary.BigEndian.AppendUint64(k, uint64(max(l.Freed, 0)))
	return append(k, l.Addr.AsSlice()...)
}

// restOf is the lease of a key.
func restOf(k []byte) (model.Lease, error) {
	if len(k) < restAddr {
		return model.Lease{}, fmt.Errorf("index entry %x is damaged", k)
	}
	a, ok := netip.AddrFromSlice(k[restAddr:])
	if !ok {
		return model.Lease{}, fmt.Errorf("index entry %x is damaged", k)
	}
	return model.Lease{Addr: a, Kind: model.LeaseResting, Named: k[0] == 1, Freed: int64(binary.BigEndian.Uint64(k[restTime:restAddr]))}, nil
}
