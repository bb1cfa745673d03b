package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"reflect"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// GwAllocCheckRequest asks whether a network needs addresses for its gateways.
// Options are those that CreateNetwork will have.
type GwAllocCheckRequest struct {
	Options map[string]any
}

// GwAllocCheckResponse says which families need no gateway address.
type GwAllocCheckResponse struct {
	SkipIPv4 bool
	SkipIPv6 bool
}

// GwAllocCheck answers the first call of `docker network create` from Engine 28 on.
func (d *Driver) GwAllocCheck(_ context.Context, r *GwAllocCheckRequest) (*GwAllocCheckResponse, error) {
	o, err := parseNetOptions(r.Options)
	if err == nil && o.Families[model.IPv6].On {
		err = d.checkIPv6()
	}
	if err != nil {
		return nil, model.Invalid("create network: %w", err)
	}
	return &GwAllocCheckResponse{SkipIPv4: !o.needsGateway(model.IPv4), SkipIPv6: !o.needsGateway(model.IPv6)}, nil
}

// checkIPv6 says why a network with IPv6 can't be had, if it can't.
func (d *Driver) checkIPv6() error {
	if d.noIPv6 == nil {
		return nil
	}
	return model.Invalid("IPv6 can't be had on this host: %w", d.noIPv6)
}

// CreateNetwork records a network and makes its bridge, or uses the bridge that is
// there. A network that exists with the same settings is a success.
func (d *Driver) CreateNetwork(ctx context.Context, r *network.CreateNetworkRequest) (err error) {
	defer wrap(&err, "create network", r.NetworkID)
	want, err := parseNetwork(r)
	if err != nil {
		return err
	}
	ctx, end := d.beginNetwork(ctx, r.NetworkID)
	defer end()
	have, err := d.network(want.ID)
	if err == nil {
		if !sameNetwork(have, want) {
			return model.Exists("there is a network of this ID with other settings")
		}
		if err := d.sync.Sync(ctx, have.Bridge); err != nil {
			return err
		}
		return d.answerable(ctx, have)
	} else if !errors.Is(err, model.ErrNotFound) {
		return err
	}
	if want.V6.Prefix.IsValid() {
		if err := d.checkIPv6(); err != nil {
			return err
		}
	}
	d.buryRivals(ctx, want)
	links, err := d.links.Links()
	if err != nil {
		return err
	}
	err = d.commit(ctx, want.Bridge, func(tx *store.Tx) error {
		if err := checkNetworks(want, tx.Networks()); err != nil {
			return err
		}
		if err := checkLinks(&want, links); err != nil {
			return err
		}
		return errors.Join(tx.PutNetwork(want), tx.SetPending(want.ID, true))
	})
	if err != nil {
		return err
	}
	return d.answerable(ctx, want)
}

// answerable takes the mark off a network that is there now. Should the process end
// before that, then Docker gives the network up without a word: it repeats the call, but
// with an empty body.
func (d *Driver) answerable(ctx context.Context, n model.Network) error {
	_, err := d.store.Update(func(tx *store.Tx) error { return tx.SetPending(n.ID, false) })
	if err != nil {
		return errors.Join(err, d.forgetNetwork(ctx, n))
	}
	return nil
}

// DeleteNetwork forgets a network and whatever endpoints it still has. Docker does
// not ask twice: it forgets the network even if this fails.
func (d *Driver) DeleteNetwork(ctx context.Context, r *network.DeleteNetworkRequest) (err error) {
	defer wrap(&err, "delete network", r.NetworkID)
	ctx, end := d.beginNetwork(ctx, r.NetworkID)
	defer end()
	n, err := d.network(r.NetworkID)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return d.forgetNetwork(ctx, n)
}

// parseNetwork reads all of a network that depends on nothing but the request.
func parseNetwork(r *network.CreateNetworkRequest) (n model.Network, err error) {
	if err := checkID("network", r.NetworkID); err != nil {
		return n, err
	}
	o, err := parseNetOptions(r.Options)
	if err != nil {
		return n, err
	}
	n = model.Network{
		ID: r.NetworkID, Bridge: o.Bridge, MTU: o.MTU,
		Internal: o.Internal, ICC: o.ICC,
		IfacePrefix: o.IfacePrefix, HostBinding: o.HostBinding,
		NoAnnounce: o.NoAnnounce, Routes: o.Routes, Trusted: o.Trusted,
	}
	if n.Bridge == "" {
		n.Bridge = "br-" + n.ID[:min(12, len(n.ID))]
	}
	for _, f := range model.Families() {
		if *n.Subnet(f), err = parsePools(f, pools(f, r), o); err != nil {
			return n, err
		}
	}
	return n, checkRoutes(n)
}

// sameNetwork reports whether want asks for what have is.
func sameNetwork(have, want model.Network) bool {
	want.Owned, want.BridgeMAC = have.Owned, have.BridgeMAC
	want.V4.AddressKept, want.V6.AddressKept = have.V4.AddressKept, have.V6.AddressKept
	return reflect.DeepEqual(have, want)
}

// randomMAC returns a random locally administered unicast address (IEEE 802, the two
// lowest bits of the first octet).
func randomMAC() model.MAC {
	var m model.MAC
	_, _ = rand.Read(m[:]) // never fails, see crypto/rand
	m[0] = m[0]&^0x01 | 0x02
	return m
}
