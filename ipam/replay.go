package ipam

import (
	"errors"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// replay is how far Docker has come with repeating its requests after a start: a
// stage for each pool, none for those that are past it. It is kept in memory only:
// when the process ends in the middle, the rest of the repetition is refused, which
// Docker logs and lives with.
type replay struct{ stages map[string]stage }

type stage int

const (
	expected stage = iota + 1 // the capabilities were asked for, and nothing of this pool since
	running                   // the pool was asked for again, and addresses may be
	second                    // it was for a second network, whose pool Docker is about to release
)

// expect begins anew: each of the pools may be asked for once more.
func (r *replay) expect(pools []model.Pool) {
	r.stages = make(map[string]stage, len(pools))
	for _, p := range pools {
		r.stages[p.ID] = expected
	}
}

// expects reports whether a request for this pool is a repetition.
func (r *replay) expects(poolID string) bool { return r.stages[poolID] == expected }

// runs reports whether a pool was asked for again, and not yet used.
func (r *replay) runs(poolID string) bool { return r.stages[poolID] == running }

// pool notes that a pool was granted.
func (r *replay) pool(poolID string) {
	if r.expects(poolID) {
		r.stages[poolID] = running
	}
}

// revived notes that a pool whose record was lost is there again for a network that has it:
// Docker may be repeating its requests.
func (r *replay) revived(poolID string) {
	if r.stages == nil {
		r.stages = map[string]stage{}
	}
	r.stages[poolID] = running
}

// address notes that an address is asked for, and reports whether this can be a
// repetition: Docker then sends the address that it has on record, and no MAC, since
// it doesn't record the options of endpoints. Docker repeats everything before it does
// anything else, so any other request ends the stage of all pools.
func (r *replay) address(poolID string, want wantedAddress) bool {
	if !want.addr.IsValid() || want.kind == model.LeaseEndpoint {
		r.over()
		return false
	}
	if r.stages[poolID] != running {
		r.end(poolID)
		return false
	}
	return want.kind == model.LeaseAux
}

// markSecond notes that the pool was not asked for again but for a second network with its
// subnet: Docker repeats a gateway with its address, which nobody else has, and does not
// release it.
func (r *replay) markSecond(poolID string) {
	r.over()
	r.stages[poolID] = second
}

// isSecond reports whether a pool is that of a second network, which Docker is giving up.
func (r *replay) isSecond(poolID string) bool { return r.stages[poolID] == second }

// released notes that a pool is released, and reports whether this is only the second
// network's.
func (r *replay) released(poolID string) bool {
	is := r.isSecond(poolID)
	r.end(poolID)
	return is
}

// over notes that Docker is past repeating.
func (r *replay) over() { r.stages = map[string]stage{} }

// end notes that Docker uses the pool for something else than repeating.
func (r *replay) end(poolID string) { delete(r.stages, poolID) }

// untold reports whether Docker may not have been told of a pool: no address of it is in
// use, nor a network with it, and the process that took it has ended.
func (d *Driver) untold(tx Tx, p model.Pool) bool {
	if _, used := networkOf(tx, p); used || d.told[p.ID] {
		return false
	}
	for l := range tx.Leases(p.ID, netip.Addr{}) {
		if l.Kind != model.LeaseResting {
			return false
		}
	}
	return true
}

// checkSecond refuses the gateway of a second network whose pool was taken for a
// repetition.
func (d *Driver) checkSecond(tx Tx, poolID string, want wantedAddress) error {
	if !d.replay.runs(poolID) || want.kind != model.LeaseGateway {
		return nil
	}
	p, err := tx.Pool(poolID)
	if err != nil {
		return err
	}
	if have, err := tx.Lease(poolID, want.addr); err == nil && have.Kind == model.LeaseGateway {
		return nil
	} else if err != nil && !errors.Is(err, model.ErrNotFound) {
		return err
	}
	d.replay.markSecond(poolID)
	return overlap(p)
}

// granted notes that a pool is given out, and returns what takes that back.
func (d *Driver) granted(poolID string) (before func()) {
	stage, told := d.replay.stages[poolID], d.told[poolID]
	d.replay.pool(poolID)
	d.told[poolID] = true
	return func() {
		if stage == expected {
			d.replay.stages[poolID] = expected
		}
		if !told {
			delete(d.told, poolID)
		}
	}
}
