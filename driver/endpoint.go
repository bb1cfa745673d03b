package driver

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// CreateEndpoint records an endpoint and makes its interface. The answer has the MAC
// address if none was asked for, and nothing else: Docker takes what it is told
// although it knew it for an attempt to change it.
func (d *Driver) CreateEndpoint(ctx context.Context, r *network.CreateEndpointRequest) (res *network.CreateEndpointResponse, err error) {
	defer wrap(&err, "create endpoint", r.EndpointID)
	if err := checkID("endpoint", r.EndpointID); err != nil {
		return nil, err
	}
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	n, err := d.network(r.NetworkID)
	if err != nil {
		return nil, err
	}
	want, err := d.kindOf(n.ID).parse(n, r)
	if err != nil {
		return nil, err
	}
	if err := hungUp(ctx); err != nil {
		return nil, err
	}
	if err := d.takeAddresses(want); err != nil {
		return nil, err
	}
	d.ages.note(want.ID)
	err = d.commit(ctx, d.kindOf(n.ID).subject(want), func(tx Tx) error { return putEndpoint(tx, &want) })
	if err != nil {
		return nil, err
	}
	res = &network.CreateEndpointResponse{}
	if !want.MACGiven {
		res.Interface = &network.EndpointInterface{MacAddress: want.MAC.String()}
	}
	return res, nil
}

// DeleteEndpoint removes an endpoint with all it has: whether Docker revoked its
// ports and left before does not matter.
func (d *Driver) DeleteEndpoint(ctx context.Context, r *network.DeleteEndpointRequest) (err error) {
	defer wrap(&err, "delete endpoint", r.EndpointID)
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	_, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID)
	defer unlock()
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return d.removeEndpoint(ctx, e)
}

// removeEndpoint removes an endpoint's record. The caller holds its lock and its sandbox's.
func (d *Driver) removeEndpoint(ctx context.Context, e model.Endpoint) error {
	s, err := d.reshare(e.PortOwner(), e.ID, withoutPorts)
	if err != nil {
		return err
	}
	defer s.release()
	return d.remove(ctx, d.kindOf(e.NetworkID).subject(e), func(tx Tx) error {
		return errors.Join(s.put(tx), tx.DeleteEndpoint(e.ID))
	})
}

// InfoResponse is what is known of an endpoint: the helper's type has strings only.
type InfoResponse struct {
	Value map[string]any
}

// EndpointOperInfo tells what is known of an endpoint.
//
// Be aware: Docker shows none of it, for it expects Go types of its own here.
func (d *Driver) EndpointOperInfo(_ context.Context, r *network.InfoRequest) (*InfoResponse, error) {
	_, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if errors.Is(err, model.ErrNotFound) {
		return &InfoResponse{Value: map[string]any{}}, nil
	} else if err != nil {
		return nil, err
	}
	return &InfoResponse{Value: endpointInfo(e)}, nil
}

// endpointInfo is an endpoint as Docker's own bridge driver tells it, one entry for
// each port.
func endpointInfo(e model.Endpoint) map[string]any {
	type published struct {
		Proto       model.Proto
		IP          string
		Port        uint16
		HostIP      string
		HostPort    uint16
		HostPortEnd uint16
	}
	ports := []published{}
	for _, b := range e.Ports {
		for i := range b.Count {
			host := b.Host.Port() + i
			ports = append(ports, published{b.Proto, b.Container.Addr().String(), b.Container.Port() + i, b.Host.Addr().String(), host, host})
		}
	}
	return map[string]any{"MacAddress": e.MAC.String(), optPortMap: ports}
}

// putEndpoint records want, unless it is there: then want becomes the record.
func putEndpoint(tx Tx, want *model.Endpoint) error {
	have, err := tx.Endpoint(want.ID)
	if err == nil {
		if have.NetworkID != want.NetworkID || have.V4 != want.V4 || have.V6 != want.V6 || have.MACGiven != want.MACGiven || want.MACGiven && have.MAC != want.MAC {
			return model.Exists("there is an endpoint of this ID with other settings")
		}
		*want = have
		return nil
	} else if !errors.Is(err, model.ErrNotFound) {
		return err
	}
	for _, o := range tx.Endpoints() {
		if shared := sharedAddresses(o, *want); len(shared) > 0 {
			return model.Conflict("address %s is that of endpoint %s", shared[0], short(o.ID))
		}
		if o.HostIface() == want.HostIface() {
			return model.Conflict("interface %s is that of endpoint %s, whose ID begins alike", o.HostIface(), short(o.ID))
		}
	}
	return tx.PutEndpoint(*want)
}

// sharedAddresses are those that two endpoints of one network both have.
func sharedAddresses(a, b model.Endpoint) (shared []netip.Addr) {
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

// takeAddresses takes the addresses of a new endpoint from the endpoints that have them:
// Docker, which is who gives them out, has taken them back, and does not always say so. It
// releases the address of an endpoint that it gave up waiting for; and, from 28 on, the
// IPv6 address of one that has IPv6 switched off by a sysctl, which lives on. An endpoint
// that is left without an address is removed.
//
// The lock of the endpoint that loses is not taken: a call that is still at making it, and
// that Docker no longer waits for, may hold it.
func (d *Driver) takeAddresses(want model.Endpoint) error {
	known := false
	losers, err := d.endpointsThat(func(o model.Endpoint) bool {
		known = known || o.ID == want.ID
		return len(sharedAddresses(o, want)) > 0
	})
	if err != nil || known {
		return err
	}
	for _, o := range losers {
		if err := d.takeAddressesFrom(o, want); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) takeAddressesFrom(o, want model.Endpoint) error {
	defer d.sandboxes.lock(o.PortOwner())()
	lost := sharedAddresses(o, want)
	s, err := d.reshare(o.PortOwner(), o.ID, func(e *model.Endpoint) {
		for _, a := range lost {
			loseAddress(e, a)
		}
	})
	if err != nil {
		return err
	}
	defer s.release()
	i := slices.IndexFunc(s.after, func(e model.Endpoint) bool { return e.ID == o.ID })
	if i < 0 {
		return nil // it is gone, or in another sandbox, by now
	}
	loseAll := !s.after[i].V4.IsValid() && !s.after[i].V6.IsValid()
	_, err = d.store.Update(func(tx Tx) error {
		if loseAll {
			return errors.Join(s.put(tx), tx.DeleteEndpoint(o.ID))
		}
		err := s.put(tx)
		if err == nil {
			err = changeEndpoint(tx, o.ID, func(e *model.Endpoint) {
				for _, a := range lost {
					loseAddress(e, a)
				}
			})
		}
		if errors.Is(err, model.ErrNotFound) {
			return nil // it was deleted meanwhile
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case loseAll:
		d.warn("Docker gives %v, the address of endpoint %s, to endpoint %s: endpoint %s has no other one, so it is removed", lost, short(o.ID), short(want.ID), short(o.ID))
	default:
		d.warn("Docker gives %v, an address of endpoint %s, to endpoint %s: endpoint %s goes on without it", lost, short(o.ID), short(want.ID), short(o.ID))
	}
	return nil
}

// loseAddress takes an address from an endpoint, with the ports that lead there.
func loseAddress(e *model.Endpoint, a netip.Addr) {
	f := model.FamilyOf(a)
	if e.Address(f).Addr() != a {
		return
	}
	*e.Address(f), *e.Open(f) = netip.Prefix{}, nil
	e.Ports = slices.DeleteFunc(slices.Clone(e.Ports), func(b model.PortBinding) bool { return b.Container.Addr() == a })
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
