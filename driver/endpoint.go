package driver

import (
	"context"
	"errors"

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
	if err := errors.Join(d.checkSpoof(want.Spoof), d.checkEgress(n, want), d.checkICC(n, want)); err != nil {
		return nil, err
	}
	if err := hungUp(ctx); err != nil {
		return nil, err
	}
	taken, err := d.takeAddresses(want)
	if err != nil {
		return nil, err
	}
	defer taken.release()
	d.ages.note(want.ID)
	err = d.commit(ctx, d.kindOf(n.ID).subject(want), func(tx Tx) error {
		return errors.Join(taken.put(tx), putEndpoint(tx, &want), d.checkNames(listsOf(tx), n, want), d.useNetwork(ctx, tx, n.ID))
	})
	if err != nil {
		return nil, err
	}
	taken.warn(d.warn)
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
	n, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID)
	defer unlock()
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err = errors.Join(d.used(ctx, n), d.removeEndpoint(ctx, e)); err != nil { // Docker does not ask again
		d.later.add("delete endpoint "+e.ID, func(ctx context.Context) error { return d.DeleteEndpoint(ctx, r) })
	}
	return err
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
	count := 0
	for _, b := range e.Ports {
		count += int(b.Count)
	}
	ports := make([]published, 0, count)
	for _, b := range e.Ports {
		inside, outside := b.Container.Addr().String(), b.Host.Addr().String()
		for i := range b.Count {
			host := b.Host.Port() + i
			ports = append(ports, published{b.Proto, inside, b.Container.Port() + i, outside, host, host})
		}
	}
	return map[string]any{"MacAddress": e.MAC.String(), optPortMap: ports}
}

// putEndpoint records want, unless it is there: then want becomes the record.
func putEndpoint(tx Tx, want *model.Endpoint) error {
	have, err := tx.Endpoint(want.ID)
	if err == nil {
		if !sameEndpoint(have, *want) {
			return model.Exists("there is an endpoint of this ID with other settings")
		}
		*want = have
		return nil
	} else if !errors.Is(err, model.ErrNotFound) {
		return err
	}
	if err := checkLists(tx, want.From); err != nil {
		return err
	}
	if err := checkEgressLists(tx, want.Egress); err != nil {
		return err
	}
	if holders := holdersOf(tx, want); len(holders) > 0 {
		return addressConflict(sharedAddresses(holders[0], want)[0], *holders[0])
	}
	if alike := tx.EndpointsAlike(want); len(alike) > 0 {
		return model.Conflict("interface %s is that of endpoint %s, whose ID begins alike", alike[0].HostIface(), short(alike[0].ID))
	}
	return tx.PutEndpoint(*want)
}

// sameEndpoint reports whether want asks for what have is.
func sameEndpoint(have, want model.Endpoint) bool {
	if !have.MACGiven && !want.MACGiven {
		want.MAC = have.MAC // it was chosen here
	}
	want.Sandbox, want.Ports, want.Wanted, want.OpenV4, want.OpenV6 = have.Sandbox, have.Ports, have.Wanted, have.OpenV4, have.OpenV6
	want.Added, want.Removed = have.Added, have.Removed
	want.FromSet, want.PolicySet, want.SpoofSet = have.FromSet, have.PolicySet, have.SpoofSet
	want.EgressSet, want.EgressModeSet, want.GroupSet = have.EgressSet, have.EgressModeSet, have.GroupSet
	return want.Same(&have)
}
