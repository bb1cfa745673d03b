package ipam

import "github.com/mybr/mybr/internal/model"

// replay is how far Docker has come with repeating its requests after a start: a
// stage for each pool, none for those that are past it. It is kept in memory only:
// when the process ends in the middle, the rest of the repetition is refused, which
// Docker logs and lives with.
type replay struct{ stages map[string]stage }

type stage int

const (
	expected stage = iota + 1 // the capabilities were asked for, and nothing of this pool since
	running                   // the pool was asked for again, and addresses may be
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

// pool notes that a pool was granted.
func (r *replay) pool(poolID string) {
	if r.expects(poolID) {
		r.stages[poolID] = running
	}
}

// address notes that an address is asked for, and reports whether this can be a
// repetition: Docker then sends the address that it has on record, and no MAC, since
// it doesn't record the options of endpoints. Any other request ends the stage.
func (r *replay) address(poolID string, want addrWish) bool {
	if r.stages[poolID] == running && want.addr.IsValid() && want.kind == model.LeaseAux {
		return true
	}
	if r.expects(poolID) || !want.addr.IsValid() || want.kind == model.LeaseEndpoint {
		r.end(poolID)
	}
	return false
}

// end notes that Docker uses the pool for something else than repeating.
func (r *replay) end(poolID string) { delete(r.stages, poolID) }
