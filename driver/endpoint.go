package driver

import (
	"context"
	"errors"
	"net/netip"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// CreateEndpoint records an endpoint and makes its veth pair. The answer has the MAC
// address if none was asked for, and nothing else: Docker takes what it is told
// although it knew it for an attempt to change it.
func (d *Driver) CreateEndpoint(ctx context.Context, r *network.CreateEndpointRequest) (res *network.CreateEndpointResponse, err error) {
	defer wrap(&err, "create endpoint", r.EndpointID)
	if err := checkID("endpoint", r.EndpointID); err != nil {
		return nil, err
	}
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	n, err := d.network(r.NetworkID)
	if err != nil {
		return nil, err
	}
	want, err := parseEndpoint(n, r)
	if err != nil {
		return nil, err
	}
	create := func() error {
		return d.commit(ctx, want.HostIface(), func(tx *store.Tx) error { return putEndpoint(tx, &want) })
	}
	err = create()
	if held := (*addressHeld)(nil); errors.As(err, &held) && d.bury(ctx, held.by, d.lostAddress) {
		err = create()
	}
	if err != nil {
		return nil, err
	}
	res = &network.CreateEndpointResponse{}
	if !want.MACGiven {
		res.Interface = &network.EndpointInterface{MacAddress: want.MAC.String()}
	}
	return res, nil
}

// DeleteEndpoint forgets an endpoint with all it has: whether Docker revoked its
// ports and left before does not matter.
func (d *Driver) DeleteEndpoint(ctx context.Context, r *network.DeleteEndpointRequest) (err error) {
	defer wrap(&err, "delete endpoint", r.EndpointID)
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	_, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer d.sandboxes.lock(e.PortOwner())()
	return d.forget(ctx, e)
}

// forget removes an endpoint's record. The caller holds its lock and its sandbox's.
func (d *Driver) forget(ctx context.Context, e model.Endpoint) error {
	d.orphans.forget(e.ID)
	d.joins.forget(e.ID)
	return d.withdraw(ctx, e, func(tx *store.Tx) error { return tx.DeleteEndpoint(e.ID) })
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

// parseEndpoint reads an endpoint of network n.
func parseEndpoint(n model.Network, r *network.CreateEndpointRequest) (e model.Endpoint, err error) {
	if err := checkEndpointOptions(r.Options); err != nil {
		return e, err
	}
	i := r.Interface
	if i == nil {
		i = &network.EndpointInterface{}
	}
	e = model.Endpoint{ID: r.EndpointID, NetworkID: n.ID}
	for _, f := range model.Families() {
		if *e.Address(f), err = parseAddress(f, n, sent(f, i)); err != nil {
			return e, err
		}
	}
	if i.MacAddress == "" {
		e.MAC = randomMAC()
		return e, nil
	}
	e.MACGiven = true
	if e.MAC, err = model.ParseMAC(i.MacAddress); err != nil || e.MAC.IsZero() || e.MAC[0]&1 != 0 {
		return e, model.Invalid("%q is not the MAC address of an interface", i.MacAddress)
	}
	return e, nil
}

// parseAddress reads an endpoint's address, which has the subnet's prefix length. There
// is one if the network has the family; but Docker gives no IPv6 address, from 28 on, to a
// container that has IPv6 switched off by a sysctl.
func parseAddress(f model.Family, n model.Network, text string) (netip.Prefix, error) {
	subnet := *n.Subnet(f)
	switch {
	case text == "" && !subnet.Prefix.IsValid():
		return netip.Prefix{}, nil
	case text == "" && f == model.IPv6 && n.V4.Prefix.IsValid():
		return netip.Prefix{}, nil
	case text == "":
		return netip.Prefix{}, model.Invalid("there is no %s address for it: mybr needs an IPAM driver that gives one", f)
	case !subnet.Prefix.IsValid():
		return netip.Prefix{}, model.Invalid("address %s: network %s has no %s", text, short(n.ID), f)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !f.Has(p.Addr()) {
		return netip.Prefix{}, model.Invalid("%q is not %s address with a prefix length", text, article(f))
	}
	a := p.Addr()
	if err := checkHost("address", a, subnet.Prefix); err != nil {
		return netip.Prefix{}, err
	}
	if a == subnet.Address.Addr() {
		return netip.Prefix{}, model.Conflict("address %s is that of bridge %s", a, n.Bridge)
	}
	if a == subnet.Gateway {
		return netip.Prefix{}, model.Conflict("address %s is that of the default gateway of network %s", a, short(n.ID))
	}
	return netip.PrefixFrom(a, subnet.Prefix.Bits()), nil
}

// addressHeld says whose the address is that another endpoint was to get.
type addressHeld struct {
	error
	by string // endpoint ID
}

func (e *addressHeld) Unwrap() error { return e.error }

// putEndpoint records want, unless it is there: then want becomes the record.
func putEndpoint(tx *store.Tx, want *model.Endpoint) error {
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
		for _, f := range model.Families() {
			a := want.Address(f).Addr()
			if o.NetworkID == want.NetworkID && a.IsValid() && a == o.Address(f).Addr() {
				return &addressHeld{model.Conflict("address %s is that of endpoint %s", a, short(o.ID)), o.ID}
			}
		}
		if o.HostIface() == want.HostIface() {
			return model.Conflict("interface %s is that of endpoint %s, whose ID begins alike", o.HostIface(), short(o.ID))
		}
	}
	return tx.PutEndpoint(*want)
}
