package store

import (
	"errors"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Undo is what one update touched: each record as it was before, nil where there
// was none.
type Undo struct {
	networks  map[string]*model.Network
	endpoints map[string]*model.Endpoint
	pools     map[string]*model.Pool
	leases    map[leaseKey]*model.Lease
}

type leaseKey struct {
	pool string
	addr netip.Addr
}

// remember keeps what a record was before it is touched the first time. err is
// what reading it gave: model.ErrNotFound if there was none.
func remember[K comparable, V any](m *map[K]*V, key K, before V, err error) {
	if *m == nil {
		*m = map[K]*V{}
	}
	if _, touched := (*m)[key]; touched {
		return
	}
	if err != nil {
		(*m)[key] = nil
		return
	}
	(*m)[key] = &before
}

// Revert puts the records of one update back to what they were before it, in one
// transaction. Records that the update did not touch are left alone, even if they
// came later; only a pool that goes takes all its leases with it. A lease whose pool
// is gone for another reason stays gone.
func (s *Store) Revert(u Undo) error {
	_, err := s.Update(func(tx *Tx) error {
		return errors.Join(
			restore(u.networks, tx.PutNetwork, tx.DeleteNetwork),
			restore(u.endpoints, tx.PutEndpoint, tx.DeleteEndpoint),
			restore(u.pools, tx.PutPool, tx.DeletePool),
			tx.restoreLeases(u.leases),
		)
	})
	return err
}

func restore[V any](before map[string]*V, put func(V) error, del func(string) error) error {
	for id, v := range before {
		var err error
		if v == nil {
			err = del(id)
		} else {
			err = put(*v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) restoreLeases(before map[leaseKey]*model.Lease) error {
	for key, l := range before {
		var err error
		if l == nil {
			err = tx.DeleteLease(key.pool, key.addr)
		} else {
			err = tx.PutLease(key.pool, *l)
		}
		if err != nil && !errors.Is(err, model.ErrNotFound) {
			return err
		}
	}
	return nil
}
