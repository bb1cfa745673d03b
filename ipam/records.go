package ipam

import (
	"errors"
	"iter"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Tx is a transaction of the records, good until the function that got it returns. A Put
// replaces a record or makes it; deleting what has no record is no error; what has none is
// an error that wraps model.ErrNotFound.
type Tx interface {
	Pools() []model.Pool // sorted by ID
	Pool(id string) (model.Pool, error)
	PutPool(model.Pool) error
	DeletePool(id string) error // with its leases

	Lease(poolID string, a netip.Addr) (model.Lease, error)
	LeaseByMAC(poolID string, mac model.MAC) (model.Lease, error)
	Leases(poolID string, from netip.Addr) iter.Seq[model.Lease] // in the order of addresses
	Leased(poolID string, from netip.Addr) iter.Seq[netip.Addr]  // likewise
	// FirstFree returns the first of some addresses that has no lease.
	FirstFree(poolID string, first, last netip.Addr) (a netip.Addr, ok bool)
	// Resting yields the resting ones, named or not, in the order of their release from a time on.
	Resting(poolID string, named bool, from int64) iter.Seq[model.Lease]
	PutLease(poolID string, l model.Lease) error
	DeleteLease(poolID string, a netip.Addr) error

	GlobalID() ([5]byte, error) // of this host's unique local addresses (RFC 4193, 3.2.1)

	// Networks and Endpoints are those of mybr's own driver.
	Networks() []model.Network
	Endpoints() []*model.Endpoint
}

// Records runs transactions. What Update's function has put is kept unless it fails.
type Records interface {
	View(func(Tx) error) error
	Update(func(Tx) error) error
}

// leasing is a transaction that notes the address that is leased in it and was not before.
type leasing struct {
	Tx
	leased *model.Lease // as it was: resting, or with nothing but its address
}

// PutLease is that of the transaction.
func (l leasing) PutLease(poolID string, lease model.Lease) error {
	have, err := l.Lease(poolID, lease.Addr)
	switch {
	case lease.Kind == model.LeaseResting:
	case errors.Is(err, model.ErrNotFound):
		*l.leased = model.Lease{Addr: lease.Addr}
	case err == nil && have.Kind == model.LeaseResting:
		*l.leased = have
	}
	return l.Tx.PutLease(poolID, lease)
}

// giveBack makes an address what it was before it was leased.
func giveBack(tx Tx, poolID string, before model.Lease) error {
	if before.Kind == model.LeaseResting {
		return tx.PutLease(poolID, before)
	}
	return tx.DeleteLease(poolID, before.Addr)
}
