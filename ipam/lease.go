package ipam

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// takeAddress finds and records the address that is wanted, or finds it recorded.
func takeAddress(tx Tx, p model.Pool, want wantedAddress, r rests) (netip.Addr, error) {
	if err := r.settle(tx, p); err != nil {
		return netip.Addr{}, err
	}
	if want.addr.IsValid() {
		return want.addr, takeNamed(tx, p, want)
	}
	have, err := repeated(tx, p, want)
	if !errors.Is(err, model.ErrNotFound) {
		return have, err
	}
	a, err := chooseAddress(tx, p, want, r)
	if err != nil {
		return a, err
	}
	if want.kind != model.LeaseGateway {
		p.Last = a
		if err := tx.PutPool(p); err != nil {
			return a, err
		}
	}
	return a, tx.PutLease(p.ID, model.Lease{Addr: a, Kind: want.kind, MAC: want.mac})
}

// chooseAddress returns the next address of a pool that is neither in use nor rests. If there
// is none, it is one whose release was lost, and if there is none of those either, the one
// that has rested longest.
func chooseAddress(tx Tx, p model.Pool, want wantedAddress, r rests) (netip.Addr, error) {
	s := rangeOf(p)
	behind := p.Last
	if want.kind == model.LeaseGateway {
		behind = netip.Addr{}
	}
	if a, ok := nextAddr(s, behind, free(tx, p)); ok {
		return a, nil
	}
	if err := reclaim(tx, p, r); err != nil {
		return netip.Addr{}, err
	}
	if a, ok := nextAddr(s, behind, free(tx, p)); ok {
		return a, nil
	}
	if a, ok := longest(tx, p); ok {
		return a, nil
	}
	return netip.Addr{}, model.Conflict("pool %s is exhausted: all %d addresses of %s are in use", p.ID, s.size(), chosenFrom(p))
}

// repeated returns the address that the same request, which names none, got before, or
// an error that wraps model.ErrNotFound. Once the address is an endpoint's of mybr's
// driver, the request is of another container, which was given the same MAC.
func repeated(tx Tx, p model.Pool, want wantedAddress) (netip.Addr, error) {
	switch want.kind {
	case model.LeaseEndpoint:
		l, err := tx.LeaseByMAC(p.ID, want.mac)
		if err == nil && holderOf(tx, p, l.Addr) == held {
			return netip.Addr{}, model.ErrNotFound
		}
		return l.Addr, err
	case model.LeaseGateway:
		for l := range tx.Leases(p.ID, netip.Addr{}) {
			if l.Kind == model.LeaseGateway {
				return l.Addr, nil
			}
		}
	}
	return netip.Addr{}, model.ErrNotFound
}

// takeNamed records the address that the request names, if it is free.
func takeNamed(tx Tx, p model.Pool, want wantedAddress) error {
	hosts := hostsOf(p.Prefix)
	switch {
	case !p.Prefix.Contains(want.addr):
		return model.Invalid("not an address of pool %s", p.ID)
	case want.addr.Less(hosts.first) && want.addr.Is4():
		return model.Invalid("the network address of pool %s", p.ID)
	case want.addr.Less(hosts.first):
		return model.Invalid("the address of any router (subnet-router anycast) of pool %s", p.ID)
	case hosts.last.Less(want.addr):
		return model.Invalid("the broadcast address of pool %s", p.ID)
	}
	l := model.Lease{Addr: want.addr, Kind: want.kind, MAC: want.mac, Named: want.kind == model.LeaseEndpoint}
	have, err := tx.Lease(p.ID, want.addr)
	switch {
	case errors.Is(err, model.ErrNotFound), err == nil && have.Kind == model.LeaseResting:
		return tx.PutLease(p.ID, l)
	case err != nil:
		return err
	case want.repeated:
		return nil
	}
	holder := unknown
	if have.Kind == model.LeaseEndpoint {
		holder = holderOf(tx, p, want.addr)
	}
	same := have.Kind == l.Kind && have.MAC == l.MAC && holder != held
	if same || holder == stale {
		return tx.PutLease(p.ID, l)
	}
	return model.Conflict("Address already in use in pool %s %s", p.ID, use(have))
}

// use says what an address is in use for.
func use(l model.Lease) string {
	switch l.Kind {
	case model.LeaseGateway:
		return "as its gateway"
	case model.LeaseEndpoint:
		return "by the endpoint with MAC address " + l.MAC.String()
	}
	return "as an auxiliary address"
}

// holder is what mybr's own driver knows of an endpoint's lease.
type holder int

const (
	unknown holder = iota // the pool is of a network of another driver
	held                  // an endpoint has the address
	stale                 // none has: its container was removed while mybr was away
)

// holderOf looks for the endpoint that has an address. Docker makes the endpoints of a
// network one after the other, so while it asks for an address it is not about to make
// an endpoint with another one.
func holderOf(tx Tx, p model.Pool, a netip.Addr) holder {
	of := holders(tx, p)
	switch {
	case of == nil:
		return unknown
	case of[a]:
		return held
	}
	return stale
}

// holders returns the addresses, of both families, of the endpoints that mybr's own
// driver has in the network of a pool; nil if no network of that driver has the pool.
func holders(tx Tx, p model.Pool) map[netip.Addr]bool {
	n, ok := networkOf(tx, p)
	if !ok {
		return nil
	}
	of := map[netip.Addr]bool{}
	for _, e := range tx.Endpoints() {
		if e.NetworkID == n.ID {
			of[e.V4.Addr()], of[e.V6.Addr()] = true, true
		}
	}
	return of
}

// networkOf returns the network of mybr's own driver that has a pool.
func networkOf(tx Tx, p model.Pool) (n model.Network, ok bool) {
	all := tx.Networks()
	i := slices.IndexFunc(all, func(n model.Network) bool {
		s := n.Subnet(model.FamilyOf(p.Prefix.Addr()))
		return s.Prefix == p.Prefix && s.Space == p.Space
	})
	if i < 0 {
		return n, false
	}
	return all[i], true
}

// reclaim deletes the stale leases of a pool. Those that were named rest from now on.
func reclaim(tx Tx, p model.Pool, r rests) error {
	of := holders(tx, p)
	if of == nil {
		return nil
	}
	for _, named := range []bool{false, true} {
		for l := range tx.Resting(p.ID, named, 0) {
			of[l.Addr] = true // nobody's, and no record to be read: there may be many
		}
	}
	var stale []model.Lease
	for a := range tx.Leased(p.ID, netip.Addr{}) {
		if of[a] {
			continue
		}
		l, err := tx.Lease(p.ID, a)
		if err != nil {
			return err
		}
		if l.Kind == model.LeaseEndpoint {
			stale = append(stale, l)
		}
	}
	for _, l := range stale {
		if !l.Named {
			if err := tx.DeleteLease(p.ID, l.Addr); err != nil {
				return err
			}
		} else if err := r.rest(tx, p, l); err != nil {
			return err
		}
	}
	return nil
}

// releaseAddress ends a lease. If the address would be the very next to be chosen,
// the search is moved past it, so that the next endpoint gets another one as long as
// there is one, even if addresses don't rest.
func releaseAddress(tx Tx, p model.Pool, l model.Lease, r rests) error {
	if err := errors.Join(r.settle(tx, p), tx.DeleteLease(p.ID, l.Addr)); err != nil {
		return err
	}
	if next, ok := nextAddr(rangeOf(p), p.Last, free(tx, p)); ok && next == l.Addr {
		p.Last = l.Addr
		if err := tx.PutPool(p); err != nil {
			return err
		}
	}
	return r.rest(tx, p, l)
}

// free finds addresses that are neither in use nor rest.
func free(tx Tx, p model.Pool) func(span) (netip.Addr, bool) {
	return func(s span) (netip.Addr, bool) { return tx.FirstFree(p.ID, s.first, s.last) }
}
