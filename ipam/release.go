package ipam

import (
	"context"
	"errors"
	"slices"

	helper "github.com/docker/go-plugins-helpers/ipam"

	"github.com/mybr/mybr/internal/model"
)

// ReleasePool gives the pool back, with all its addresses. A pool that is not held
// is no error. What a second network releases, which was refused when it asked for its
// gateway, is the first one's, and stays.
//
// A network of mybr's own driver keeps its pool. Docker removes the network before the pool,
// so what it releases meanwhile is that of a second network, which that driver has refused;
// or Docker has not waited until the network was made or removed: then the pool goes once
// the network has (deleteReleased).
func (d *Driver) ReleasePool(_ context.Context, r *helper.ReleasePoolRequest) error {
	if err := checkPoolID(r.PoolID); err != nil {
		return wrap(err, "release pool", "")
	}
	second := false
	err := d.update(func(tx Tx) error {
		second = d.replay.released(r.PoolID)
		if err := deleteReleased(tx); err != nil {
			return err
		}
		return endPool(tx, r.PoolID, second)
	})
	if err != nil && !second {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.owed[r.PoolID] = true
	}
	return wrap(err, "release pool", r.PoolID)
}

// endPool deletes a pool that no network of mybr's own driver has, save where it is that
// of a second network, and marks it otherwise.
func endPool(tx Tx, id string, second bool) error {
	p, err := tx.Pool(id)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if _, used := networkOf(tx, p); used {
		p.Released = true
		return tx.PutPool(p)
	} else if second {
		return nil
	}
	return tx.DeletePool(p.ID)
}

// releaseOwed releases the pools whose release could not be recorded, which Docker does not
// ask for again.
func (d *Driver) releaseOwed(tx Tx) error {
	var errs []error
	for id := range d.owed {
		errs = append(errs, endPool(tx, id, false))
	}
	return errors.Join(errs...)
}

// paid notes that pools were released whose release could not be recorded before.
func (d *Driver) paid(ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		delete(d.owed, id)
	}
}

// NetworkDeleted deletes the pools that were released while a network had them, which Docker
// does before it has the network deleted.
func (d *Driver) NetworkDeleted() error {
	released := false
	err := d.store.View(func(tx Tx) error {
		released = slices.ContainsFunc(tx.Pools(), func(p model.Pool) bool { return p.Released })
		return nil
	})
	if err != nil || !released {
		return err
	}
	return wrap(d.update(deleteReleased), "release pools", "of a network that is gone")
}

// deleteReleased deletes the pools that were released while a network had them, and that
// none has any more.
func deleteReleased(tx Tx) error {
	var errs []error
	for _, p := range tx.Pools() {
		if !p.Released {
			continue
		}
		if _, used := networkOf(tx, p); !used {
			errs = append(errs, tx.DeletePool(p.ID))
		}
	}
	return errors.Join(errs...)
}

// ReleaseAddress gives an address back, which rests from now on. A pool or an address that is not held is no
// error. The gateway of a network of mybr's own driver stays, as its pool does, and so do
// the auxiliary addresses that Docker releases behind the gateway.
func (d *Driver) ReleaseAddress(_ context.Context, r *helper.ReleaseAddressRequest) (err error) {
	defer func() { err = wrap(err, "release address", r.Address) }()
	a, err := parseAddr(r.Address)
	if err == nil {
		err = checkPoolID(r.PoolID)
	}
	if err != nil {
		return err
	}
	return d.update(func(tx Tx) error {
		p, err := tx.Pool(r.PoolID)
		if errors.Is(err, model.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		d.told[p.ID] = true
		l, err := tx.Lease(p.ID, a)
		if err != nil && !errors.Is(err, model.ErrNotFound) {
			return err
		}
		leased := err == nil && l.Kind != model.LeaseResting
		_, used := networkOf(tx, p)
		switch {
		case used && l.Kind == model.LeaseGateway:
			d.replay.markSecond(p.ID)
			return nil
		case used && l.Kind == model.LeaseAux && d.replay.isSecond(p.ID):
			return nil
		}
		d.replay.end(p.ID)
		if !leased {
			return nil
		}
		return releaseAddress(tx, p, l, d.rests())
	})
}
