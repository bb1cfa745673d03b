package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// Pools returns all pools, sorted by ID.
func (tx *Tx) Pools() []model.Pool {
	all, err := readAll[model.Pool](tx.b, bucketPools)
	if err != nil {
		tx.fail(err)
	}
	return all
}

// Pool returns the pool with that ID, or an error that wraps model.ErrNotFound.
func (tx *Tx) Pool(id string) (model.Pool, error) {
	var p model.Pool
	raw := tx.b.Bucket(bucketPools.bytes()).Get([]byte(id))
	if raw == nil {
		return p, fmt.Errorf("pool %s: %w", id, model.ErrNotFound)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("pool %s: %w", id, err)
	}
	return p, nil
}

// PutPool records a pool under its ID; the leases it has stay.
func (tx *Tx) PutPool(p model.Pool) error {
	before, err := tx.Pool(p.ID)
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		return err
	}
	stored, changed, putErr := put(tx, bucketPools, p.ID, p)
	if putErr != nil || !changed {
		return putErr
	}
	remember(&tx.undo.pools, p.ID, before, err, &stored)
	if err == nil { // its buckets are there
		return nil
	}
	for _, c := range []change{
		{kind: makeBucket, at: place{bucketLeases}, key: []byte(p.ID)},
		{kind: makeBucket, at: place{bucketLeases, keyText(p.ID)}, key: bucketAddr.bytes()},
		{kind: makeBucket, at: place{bucketLeases, keyText(p.ID)}, key: bucketMAC.bytes()},
		{kind: makeBucket, at: place{bucketLeases, keyText(p.ID)}, key: bucketRest.bytes()},
	} {
		if err := tx.change(c); err != nil {
			return fmt.Errorf("pool %s: %w", p.ID, err)
		}
	}
	return nil
}

// DeletePool deletes the pool's record and all its leases.
func (tx *Tx) DeletePool(id string) error {
	before, err := tx.Pool(id)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for l := range tx.Leases(id, netip.Addr{}) {
		remember(&tx.undo.leases, leaseKey{id, l.Addr}, l, nil, nil)
	}
	if err := del(tx, bucketPools, id); err != nil {
		return err
	}
	if err := tx.change(change{kind: dropBucket, at: place{bucketLeases}, key: []byte(id)}); err != nil {
		return fmt.Errorf("delete the leases of pool %s: %w", id, err)
	}
	remember(&tx.undo.pools, id, before, nil, nil)
	return nil
}

// leases returns the buckets of a pool's leases, nil if there is no such pool.
func (tx *Tx) leases(poolID string) (addrs, macs *bolt.Bucket) {
	root := tx.b.Bucket(bucketLeases.bytes()).Bucket([]byte(poolID))
	if root == nil {
		return nil, nil
	}
	return root.Bucket(bucketAddr.bytes()), root.Bucket(bucketMAC.bytes())
}

// leasePlaces are the buckets of a pool's leases.
func leasePlaces(poolID string) (addrs, macs place) {
	return place{bucketLeases, keyText(poolID), bucketAddr}, place{bucketLeases, keyText(poolID), bucketMAC}
}

// Lease returns the lease of an address, or an error that wraps model.ErrNotFound.
func (tx *Tx) Lease(poolID string, a netip.Addr) (model.Lease, error) {
	var l model.Lease
	addrs, _ := tx.leases(poolID)
	var raw []byte
	if addrs != nil && a.IsValid() {
		raw = addrs.Get(a.AsSlice())
	}
	if raw == nil {
		return l, fmt.Errorf("address %s of pool %s: %w", a, poolID, model.ErrNotFound)
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("address %s of pool %s: %w", a, poolID, err)
	}
	return l, nil
}

// PutLease records a lease under its address. The pool must have a record: the
// error wraps model.ErrNotFound if it has none.
func (tx *Tx) PutLease(poolID string, l model.Lease) error {
	if !l.Addr.IsValid() {
		return fmt.Errorf("%w: a lease of pool %s without an address", model.ErrInvalid, poolID)
	}
	if addrs, _ := tx.leases(poolID); addrs == nil {
		return fmt.Errorf("pool %s: %w", poolID, model.ErrNotFound)
	}
	addrs, macs := leasePlaces(poolID)
	before, err := tx.Lease(poolID, l.Addr)
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		return err
	}
	stored, changed, putErr := putIn(tx, addrs, l.Addr.AsSlice(), l)
	if putErr != nil || !changed {
		return putErr
	}
	remember(&tx.undo.leases, leaseKey{poolID, l.Addr}, before, err, &stored)
	if err := tx.indexRest(poolID, before, l); err != nil {
		return fmt.Errorf("address %s of pool %s: %w", l.Addr, poolID, err)
	}
	if err == nil && before.MAC != l.MAC {
		if err := tx.delete(macs, macKey(before)); err != nil {
			return fmt.Errorf("address %s of pool %s: %w", l.Addr, poolID, err)
		}
	}
	if l.MAC.IsZero() {
		return nil
	}
	if err := tx.put(macs, macKey(l), nil); err != nil {
		return fmt.Errorf("address %s of pool %s: %w", l.Addr, poolID, err)
	}
	return nil
}

// DeleteLease deletes the lease of an address.
func (tx *Tx) DeleteLease(poolID string, a netip.Addr) error {
	before, err := tx.Lease(poolID, a)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	addrs, macs := leasePlaces(poolID)
	if err := errors.Join(tx.delete(addrs, a.AsSlice()), tx.delete(macs, macKey(before))); err != nil {
		return fmt.Errorf("address %s of pool %s: %w", a, poolID, err)
	}
	if err := tx.indexRest(poolID, before, model.Lease{}); err != nil {
		return fmt.Errorf("address %s of pool %s: %w", a, poolID, err)
	}
	remember(&tx.undo.leases, leaseKey{poolID, a}, before, nil, nil)
	return nil
}

// Leases yields the leases of a pool in the order of their addresses, from the
// given address on, or from the first one if it is zero. Leases of the pool must
// not be put or deleted until the loop has ended.
func (tx *Tx) Leases(poolID string, from netip.Addr) iter.Seq[model.Lease] {
	return func(yield func(model.Lease) bool) {
		for k, raw := range tx.scan(poolID, from) {
			var l model.Lease
			if err := json.Unmarshal(raw, &l); err != nil {
				tx.fail(fmt.Errorf("lease %x of pool %s: %w", k, poolID, err))
				return
			}
			if !yield(l) {
				return
			}
		}
	}
}

// Leased yields the addresses of Leases, at a fraction of the cost: the records are
// not decoded.
func (tx *Tx) Leased(poolID string, from netip.Addr) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for k := range tx.scan(poolID, from) {
			a, ok := netip.AddrFromSlice(k)
			if !ok {
				tx.fail(fmt.Errorf("lease %x of pool %s is no address", k, poolID))
				return
			}
			if !yield(a) {
				return
			}
		}
	}
}

func (tx *Tx) scan(poolID string, from netip.Addr) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, raw []byte) bool) {
		addrs, _ := tx.leases(poolID)
		if addrs == nil {
			return
		}
		c := addrs.Cursor()
		for k, raw := c.Seek(from.AsSlice()); k != nil; k, raw = c.Next() {
			if !yield(k, raw) {
				return
			}
		}
	}
}

// LeaseByMAC returns the lease that an endpoint with that MAC holds, the lowest
// address if it holds several, or an error that wraps model.ErrNotFound.
func (tx *Tx) LeaseByMAC(poolID string, mac model.MAC) (model.Lease, error) {
	missing := fmt.Errorf("address for %s in pool %s: %w", mac, poolID, model.ErrNotFound)
	_, macs := tx.leases(poolID)
	if macs == nil || mac.IsZero() {
		return model.Lease{}, missing
	}
	k, _ := macs.Cursor().Seek(mac[:])
	if !bytes.HasPrefix(k, mac[:]) {
		return model.Lease{}, missing
	}
	a, ok := netip.AddrFromSlice(k[len(mac):])
	if !ok {
		return model.Lease{}, fmt.Errorf("MAC index entry %x of pool %s is damaged", k, poolID)
	}
	return tx.Lease(poolID, a)
}

func macKey(l model.Lease) []byte { return append(l.MAC[:], l.Addr.AsSlice()...) }
