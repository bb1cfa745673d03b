package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/mybr/mybr/internal/model"
)

// records is all that a file has to say, as far as it can be read.
type records struct {
	networks  []model.Network
	endpoints []model.Endpoint
	pools     []model.Pool
	leases    map[string][]model.Lease // by pool
	meta      map[string][]byte        // without the schema and lists
	lists     []model.List
}

// readRecords reads what there is; lost says what can't be read.
func readRecords(b *bolt.Tx) (r records, lost []error) {
	r.leases, r.meta = map[string][]model.Lease{}, map[string][]byte{}
	note := func(err error) {
		if err != nil {
			lost = append(lost, err)
		}
	}
	for _, part := range []func(){
		func() { readBucket(b, place{bucketNetworks}, &r.networks, note) },
		func() { readBucket(b, place{bucketEndpoints}, &r.endpoints, note) },
		func() { readBucket(b, place{bucketPools}, &r.pools, note) },
		func() { r.readLeases(b, note) },
		func() {
			note(eachKey(b, place{bucketMeta}, func(k, v []byte) {
				switch {
				case strings.HasPrefix(string(k), string(keyList)):
					l, err := readList(string(k), v)
					if note(err); err == nil {
						r.lists = append(r.lists, l)
					}
				case string(k) != string(keySchema):
					r.meta[string(k)] = bytes.Clone(v)
				}
			}))
		},
	} {
		note(undamaged(func() error { part(); return nil })) // what a part has read before it ends is kept
	}
	return r, lost
}

func (r *records) readLeases(b *bolt.Tx, note func(error)) {
	if _, err := (place{bucketLeases}).checked(b); err != nil {
		note(fmt.Errorf("%s: %w", bucketLeases, err))
		return
	}
	for _, p := range r.pools {
		addrs, _ := leasePlaces(p.ID)
		var leases []model.Lease
		readBucket(b, addrs, &leases, note)
		for _, l := range leases {
			if !p.Prefix.Contains(l.Addr) {
				note(fmt.Errorf("lease %s is none of pool %s", l.Addr, p.ID))
				continue
			}
			r.leases[p.ID] = append(r.leases[p.ID], l)
		}
	}
}

// readBucket decodes the records of a bucket, in the order of the keys, each by itself.
func readBucket[V any](b *bolt.Tx, at place, all *[]V, note func(error)) {
	note(eachKey(b, at, func(k, raw []byte) {
		var v V
		if err := json.Unmarshal(raw, &v); err != nil {
			note(fmt.Errorf("%s %s: %w", at[0], readableKey(k), err))
			return
		}
		*all = append(*all, v)
	}))
}

// readableKey is a key as a person reads it: an address, or text.
func readableKey(k []byte) string {
	if a, ok := netip.AddrFromSlice(k); ok {
		return a.String()
	}
	return string(k)
}

// eachKey calls fn for each key of a bucket that has a value.
func eachKey(b *bolt.Tx, at place, fn func(k, v []byte)) error {
	bucket, err := at.checked(b)
	if err != nil {
		return fmt.Errorf("%q: %w", at, err)
	} else if bucket == nil {
		return fmt.Errorf("not a state file of mybr: no bucket %q", at)
	}
	return bucket.ForEach(func(k, v []byte) error {
		if v != nil {
			fn(k, v)
		}
		return nil
	})
}

// checkRecords decodes every record, and looks for those that lead nowhere.
func checkRecords(b *bolt.Tx) error {
	r, lost := readRecords(b)
	if lost = append(lost, r.broken()...); len(lost) > 0 {
		return &Damage{Err: errors.Join(lost...)}
	}
	return nil
}

// broken takes out the endpoints of networks that are not there, and says which.
func (r *records) broken() (lost []error) {
	networks := map[string]bool{}
	for _, n := range r.networks {
		networks[n.ID] = true
	}
	kept := r.endpoints[:0:0]
	for _, e := range r.endpoints {
		if networks[e.NetworkID] {
			kept = append(kept, e)
		} else {
			lost = append(lost, fmt.Errorf("endpoint %s is of network %s, which has no record", e.ID, e.NetworkID))
		}
	}
	r.endpoints = kept
	return lost
}

// fill writes the records into a new file.
func (r records) fill(b *bolt.Tx) error {
	tx := newTx(b, decoded{})
	var errs []error
	for k, v := range r.meta {
		errs = append(errs, tx.put(place{bucketMeta}, []byte(k), v))
	}
	for _, l := range r.lists {
		errs = append(errs, tx.PutList(l))
	}
	for _, n := range r.networks {
		errs = append(errs, tx.PutNetwork(n))
	}
	for _, e := range r.endpoints {
		errs = append(errs, tx.PutEndpoint(e))
	}
	for _, p := range r.pools {
		errs = append(errs, tx.PutPool(p))
		for _, l := range r.leases[p.ID] {
			errs = append(errs, tx.PutLease(p.ID, l))
		}
	}
	return errors.Join(append(errs, tx.err)...)
}

// salvage reads what is left in a damaged file, and says what isn't.
func salvage(path string) (r records, lost []error) {
	f, err := openFile(path, readOnly)
	if err != nil {
		return r, []error{err}
	}
	err = undamaged(func() error {
		return f.db.View(func(b *bolt.Tx) error {
			if err := checkSchema(b); err != nil {
				return err
			}
			r, lost = readRecords(b)
			return nil
		})
	})
	if err != nil {
		lost = append(lost, err)
	}
	return r, append(append(lost, r.broken()...), f.abandon())
}
