package driver

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// takeover is what a new endpoint takes from the endpoints that have its addresses. The
// locks of their sandboxes, and of the new endpoint's, are held until release is called.
type takeover struct {
	want   model.Endpoint
	losers []model.Endpoint
	shares []*shares // of their sandboxes
	unlock func()
}

// takeAddresses prepares to take the addresses of a new endpoint from the endpoints that
// have them: Docker, which is who gives them out, has taken them back, and does not always
// say so. It releases the address of an endpoint that it gave up waiting for; and, from 28
// on, the IPv6 address of one that has IPv6 switched off by a sysctl, which lives on. An
// endpoint that is left without an address is removed; but if it is attached to its
// container, that is not cut off: the IPAM driver is wrong, or a lease has expired.
//
// The lock of the endpoint that loses is not taken: a call that is still at making it, and
// that Docker no longer waits for, may hold it. If that call has taken addresses itself, it
// holds the lock of its sandbox until it is clear whether they are given back.
func (d *Driver) takeAddresses(want model.Endpoint) (t *takeover, err error) {
	t = &takeover{want: want, unlock: func() {}}
	if t.losers, err = d.losers(want); err != nil || len(t.losers) == 0 {
		return t, err
	}
	defer func() {
		if err != nil {
			t.release()
		}
	}()
	if err = d.lockLosers(t); err != nil {
		return t, err
	}
	if err = d.checkLosers(t); err != nil {
		return t, err
	}
	for _, owner := range t.owners() {
		s, err := d.reshareAll(owner, func(e *model.Endpoint) bool { return shareAddress(e, &want) }, t.takeFrom)
		if err != nil {
			return t, err
		}
		t.shares = append(t.shares, s)
	}
	return t, nil
}

// lockLosers takes the locks, after which nobody else changes who loses.
func (d *Driver) lockLosers(t *takeover) (err error) {
	for {
		t.unlock()
		locked := t.owners()
		t.unlock = d.sandboxes.lockAll(append(slices.Clone(locked), t.want.PortOwner())...)
		if t.losers, err = d.losers(t.want); err != nil {
			return err
		}
		if !slices.ContainsFunc(t.owners(), func(owner string) bool { return !slices.Contains(locked, owner) }) {
			return nil
		}
	}
}

// owners are the sandboxes of the losers, each once.
func (t *takeover) owners() (owners []string) {
	for _, o := range t.losers {
		owners = append(owners, o.PortOwner())
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// losers are the endpoints that have addresses of a new one; none if that is recorded.
func (d *Driver) losers(want model.Endpoint) (losers []model.Endpoint, err error) {
	err = d.store.View(func(tx Tx) error {
		if _, err := tx.Endpoint(want.ID); !errors.Is(err, model.ErrNotFound) {
			return err
		}
		for _, o := range holdersOf(tx, &want) {
			losers = append(losers, *o)
		}
		return nil
	})
	return losers, err
}

// holdersOf are the other endpoints of the network that have an address of an endpoint's, sorted by ID.
func holdersOf(tx Tx, e *model.Endpoint) (holders []*model.Endpoint) {
	for _, f := range model.Families() {
		if a := e.Address(f).Addr(); a.IsValid() {
			holders = append(holders, tx.EndpointsAt(e.NetworkID, a)...)
		}
	}
	slices.SortFunc(holders, func(a, b *model.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(slices.Compact(holders), func(o *model.Endpoint) bool { return o.ID == e.ID })
}

// checkLosers refuses to take the only address of an endpoint that is attached.
func (d *Driver) checkLosers(t *takeover) error {
	links, err := d.hostLinks()
	if err != nil {
		return err
	}
	for _, o := range t.losers {
		left := o.Clone()
		t.takeFrom(&left)
		if !hasAddress(left) && o.Sandbox != "" && d.kindOf(o.NetworkID).place(o, links.names) == placeSandbox {
			return addressConflict(sharedAddresses(&o, &t.want)[0], o)
		}
	}
	return nil
}

// put records that the losers have lost.
func (t *takeover) put(tx Tx) error {
	var errs []error
	for _, s := range t.shares {
		errs = append(errs, s.put(tx))
	}
	for _, o := range t.losers {
		e, err := tx.Endpoint(o.ID)
		if errors.Is(err, model.ErrNotFound) {
			continue // the call that made it was reverted meanwhile
		}
		t.takeFrom(&e)
		if hasAddress(e) {
			err = errors.Join(err, tx.PutEndpoint(e))
		} else {
			err = errors.Join(err, tx.DeleteEndpoint(e.ID))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// warn tells what the losers have lost.
func (t *takeover) warn(warn func(format string, args ...any)) {
	for _, o := range t.losers {
		lost := sharedAddresses(&o, &t.want)
		t.takeFrom(&o)
		if hasAddress(o) {
			warn("Docker gives %v, an address of endpoint %s, to endpoint %s: endpoint %s goes on without it", lost, short(o.ID), short(t.want.ID), short(o.ID))
		} else {
			warn("Docker gives %v, the address of endpoint %s, to endpoint %s: endpoint %s has no other one, so it is removed", lost, short(o.ID), short(t.want.ID), short(o.ID))
		}
	}
}

// release gives back what was reserved and not recorded, and the locks.
func (t *takeover) release() {
	for _, s := range t.shares {
		s.release()
	}
	t.unlock()
}

// takeFrom takes the addresses of the new endpoint from another one.
func (t *takeover) takeFrom(e *model.Endpoint) {
	for _, a := range sharedAddresses(e, &t.want) {
		loseAddress(e, a)
	}
}

func hasAddress(e model.Endpoint) bool { return e.V4.IsValid() || e.V6.IsValid() }

func addressConflict(a netip.Addr, holder model.Endpoint) error {
	return model.Conflict("address %s is that of endpoint %s", a, short(holder.ID))
}

// sharedAddresses are those that two endpoints of one network both have.
func sharedAddresses(a, b *model.Endpoint) (shared []netip.Addr) {
	if a.ID == b.ID || a.NetworkID != b.NetworkID {
		return nil
	}
	for _, f := range model.Families() {
		if addr := a.Address(f).Addr(); addr.IsValid() && addr == b.Address(f).Addr() {
			shared = append(shared, addr)
		}
	}
	return shared
}

// shareAddress reports whether there is any.
func shareAddress(a, b *model.Endpoint) bool {
	same := func(a, b netip.Prefix) bool { return a.Addr() == b.Addr() && a.IsValid() }
	return (same(a.V4, b.V4) || same(a.V6, b.V6)) && a.ID != b.ID && a.NetworkID == b.NetworkID
}

// loseAddress takes an address from an endpoint, with the ports that lead there.
func loseAddress(e *model.Endpoint, a netip.Addr) {
	f := model.FamilyOf(a)
	if e.Address(f).Addr() != a {
		return
	}
	*e.Address(f), *e.Open(f) = netip.Prefix{}, nil
	for _, list := range []*[]model.PortBinding{&e.Ports, &e.Added, &e.Removed} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(b model.PortBinding) bool { return b.Container.Addr() == a })
	}
	var wanted []model.PortRequest
	for _, r := range e.Wanted {
		for _, f := range model.Families() {
			if t := r.Target(f); t.Container.Addr() == a {
				*t = model.Target{}
			}
		}
		if r.V4.Wanted() || r.V6.Wanted() {
			wanted = append(wanted, r)
		}
	}
	e.Wanted = wanted
}
