package ipam

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// poolOf returns the pool with an ID. If its record was lost, and a network of mybr's own
// driver has its subnet, it is made again: Docker goes on using the ID, which says all of a
// pool, until it starts again.
func poolOf(tx Tx, id string) (model.Pool, error) {
	have, err := tx.Pool(id)
	if !errors.Is(err, model.ErrNotFound) {
		return have, err
	}
	p, ok := parsePoolID(id)
	if !ok {
		return have, err
	}
	for _, o := range tx.Pools() {
		if o.Space == p.Space && o.Prefix.Overlaps(p.Prefix) {
			return have, err
		}
	}
	if revived, err := revive(tx, p); revived || err != nil {
		return p, err
	}
	return have, err
}

// revive records a pool with the addresses that the network has which has its subnet, and
// reports whether there is one. Auxiliary addresses are not known.
func revive(tx Tx, p model.Pool) (bool, error) {
	n, used := networkOf(tx, p)
	if !used {
		return false, nil
	}
	errs := []error{tx.PutPool(p)}
	f := model.FamilyOf(p.Prefix.Addr())
	put := func(a netip.Addr, kind model.LeaseKind, mac model.MAC) {
		if a.IsValid() && p.Prefix.Contains(a) {
			errs = append(errs, tx.PutLease(p.ID, model.Lease{Addr: a, Kind: kind, MAC: mac}))
		}
	}
	for _, e := range tx.Endpoints() {
		if e.NetworkID == n.ID {
			put(e.Address(f).Addr(), model.LeaseEndpoint, e.MAC)
		}
	}
	put(n.Subnet(f).Gateway, model.LeaseGateway, model.MAC{})
	return true, errors.Join(errs...)
}

// parsePoolID reads what wantedPool.id has written.
func parsePoolID(id string) (p model.Pool, ok bool) {
	part := strings.Split(id, "/")
	if len(part) != 3 && len(part) != 5 {
		return p, false
	}
	p = model.Pool{ID: id, Space: part[0]}
	var err error
	if p.Prefix, err = netip.ParsePrefix(part[1] + "/" + part[2]); err != nil || p.Prefix != p.Prefix.Masked() {
		return p, false
	}
	if len(part) == 5 {
		p.Sub, err = netip.ParsePrefix(part[3] + "/" + part[4])
		ok = err == nil && p.Sub == p.Sub.Masked() && p.Sub.Bits() >= p.Prefix.Bits() && p.Prefix.Contains(p.Sub.Addr())
		return p, ok
	}
	return p, true
}
