package store

import (
	"errors"
	"net/netip"
	"reflect"

	"github.com/mybr/mybr/internal/model"
)

// Undo is what one update touched: each record as it was before and as the update left
// it.
type Undo struct {
	networks  map[string]touched[model.Network]
	endpoints map[string]touched[model.Endpoint]
	pools     map[string]touched[model.Pool]
	leases    map[leaseKey]touched[model.Lease]
	lists     map[string]touched[model.List]
}

// touched is a record before and after an update; nil where there is none.
type touched[V any] struct{ before, after *V }

type leaseKey struct {
	pool string
	addr netip.Addr
}

// remember keeps what a record was before it is touched the first time, and what it is
// after this time: nil if it is deleted. err is what reading it before gave:
// model.ErrNotFound if there was none.
func remember[K comparable, V any](m *map[K]touched[V], key K, before V, err error, after *V) {
	if *m == nil {
		*m = map[K]touched[V]{}
	}
	t, again := (*m)[key]
	if !again && err == nil {
		t.before = &before
	}
	t.after = after
	(*m)[key] = t
}

// Revert puts the records of one update back to what they were before it, in one
// transaction. What another update has changed, made or deleted since is left alone. So
// are the records that the update did not touch, save that a pool that goes takes all its
// leases with it. An endpoint whose network is gone and a lease whose pool is gone stay
// gone; a network that has endpoints stays.
func (s *Store) Revert(u Undo) error {
	_, err := s.Update(func(tx *Tx) error {
		return errors.Join(
			revert(u.lists, tx.List, byID(tx.PutList), tx.DeleteList),
			revert(u.endpoints, tx.Endpoint, nil, tx.DeleteEndpoint),
			revert(u.networks, tx.Network, byID(tx.PutNetwork), tx.deleteEmptyNetwork),
			revert(u.endpoints, tx.Endpoint, byID(tx.putEndpointOfNetwork), nil),
			revert(u.pools, tx.Pool, byID(tx.PutPool), tx.DeletePool),
			revert(u.leases,
				func(k leaseKey) (model.Lease, error) { return tx.Lease(k.pool, k.addr) },
				func(k leaseKey, l model.Lease) error { return tx.putLeaseOfPool(k.pool, l) },
				func(k leaseKey) error { return tx.DeleteLease(k.pool, k.addr) },
			),
		)
	})
	return err
}

// revert puts those records back that are as the update left them. With put or del nil it
// leaves those alone that would need it.
func revert[K comparable, V any](all map[K]touched[V], get func(K) (V, error), put func(K, V) error, del func(K) error) error {
	for key, t := range all {
		have, err := get(key)
		found := err == nil
		if err != nil && !errors.Is(err, model.ErrNotFound) {
			return err
		}
		if found != (t.after != nil) || found && !reflect.DeepEqual(have, *t.after) {
			continue
		}
		switch {
		case t.before == nil && del != nil:
			err = del(key)
		case t.before != nil && put != nil:
			err = put(key, *t.before)
		default:
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// byID makes a put of a record with an ID of its own one with a key.
func byID[V any](put func(V) error) func(string, V) error {
	return func(_ string, v V) error { return put(v) }
}

// deleteEmptyNetwork deletes a network unless it has endpoints.
func (tx *Tx) deleteEmptyNetwork(id string) error {
	for _, e := range tx.Endpoints() {
		if e.NetworkID == id {
			return nil
		}
	}
	return tx.DeleteNetwork(id)
}

// putEndpointOfNetwork records an endpoint if its network has a record.
func (tx *Tx) putEndpointOfNetwork(e model.Endpoint) error {
	if _, err := tx.Network(e.NetworkID); err != nil {
		return nil
	}
	return tx.PutEndpoint(e)
}

// putLeaseOfPool records a lease if its pool has a record.
func (tx *Tx) putLeaseOfPool(pool string, l model.Lease) error {
	if _, err := tx.Pool(pool); errors.Is(err, model.ErrNotFound) {
		return nil
	}
	return tx.PutLease(pool, l)
}
