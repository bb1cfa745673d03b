package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
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
	want.Engine = engineOf(ctx)
	defer d.beginNetwork(r.NetworkID)()
	have, err := d.network(want.ID)
	switch {
	case errors.Is(err, model.ErrNotFound):
		if err = d.makeNetwork(ctx, want); err != nil {
			return err
		}
		if err = d.answer(ctx, want); err != nil {
			err = errors.Join(err, d.removeNetwork(ctx, want))
		}
		return err
	case err != nil:
		return err
	case !sameNetwork(have, want):
		return model.Exists("there is a network of this ID with other settings")
	}
	if err := d.sync.Sync(context.WithoutCancel(ctx), have.Bridge); err != nil {
		return err
	}
	return d.answer(ctx, have)
}

// makeNetwork records a network that is not known yet, with the mark that CreateNetwork
// has not been answered, and makes it.
func (d *Driver) makeNetwork(ctx context.Context, want model.Network) error {
	if want.V6.Prefix.IsValid() {
		if err := d.checkIPv6(); err != nil {
			return err
		}
	}
	if err := d.checkSpoof(want.Spoof); err != nil {
		return err
	}
	if err := hungUp(ctx); err != nil {
		return err
	}
	if err := d.removeConflicting(ctx, want); err != nil {
		return err
	}
	links, err := d.links.Links()
	if err != nil {
		return err
	}
	var warnings []string
	err = d.commit(ctx, want.Bridge, func(tx Tx) (err error) {
		if err := checkNetworks(want, tx.Networks()); err != nil {
			return err
		}
		if err := errors.Join(checkLists(tx, want.From), checkEgressLists(tx, want.Egress)); err != nil {
			return err
		}
		if warnings, err = checkLinks(&want, tx.Networks(), links); err != nil {
			return err
		}
		if err := d.checkLists(listsOf(tx), want, model.Endpoint{}); err != nil {
			return err
		}
		return errors.Join(tx.PutNetwork(want), tx.SetUnanswered(want.ID, true))
	})
	if err != nil {
		return err
	}
	for _, text := range warnings {
		d.warn("network %s: %s", short(want.ID), text)
	}
	return nil
}

// answer takes the mark off a network that is there now, unless the client has hung up.
// Should the process end before that, then Docker gives the network up without a word: it
// repeats the call, but with an empty body.
func (d *Driver) answer(ctx context.Context, n model.Network) error {
	if err := hungUp(ctx); err != nil {
		return err
	}
	if _, err := d.store.Update(func(tx Tx) error { return tx.SetUnanswered(n.ID, false) }); err != nil {
		return err
	}
	return hungUp(ctx)
}

// DeleteNetwork removes a network and whatever endpoints it still has. Docker does
// not ask twice: for it the network is gone even if this fails.
func (d *Driver) DeleteNetwork(ctx context.Context, r *network.DeleteNetworkRequest) (err error) {
	defer wrap(&err, "delete network", r.NetworkID)
	defer d.beginNetwork(r.NetworkID)()
	n, err := d.network(r.NetworkID)
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err = errors.Join(d.used(ctx, n), d.removeNetwork(ctx, n)); err != nil { // Docker does not ask again
		d.later.add("delete network "+n.ID, func(ctx context.Context) error { return d.DeleteNetwork(ctx, r) })
	}
	return err
}

// removeNetwork removes a network's record and those of its endpoints, whose ports go to
// the other endpoints of their sandboxes. The caller holds the network's lock.
func (d *Driver) removeNetwork(ctx context.Context, n model.Network) error {
	within := func(e *model.Endpoint) bool { return e.NetworkID == n.ID }
	endpoints, err := d.endpointsThat(within)
	if err != nil {
		return err
	}
	var owners []string
	for _, e := range endpoints {
		owners = append(owners, e.PortOwner())
	}
	defer d.sandboxes.lockAll(slices.Clone(owners)...)()
	slices.Sort(owners)
	var all []*shares
	for _, owner := range slices.Compact(owners) {
		s, err := d.reshareAll(owner, within, withoutPorts)
		if err != nil {
			return err
		}
		defer s.release()
		all = append(all, s)
	}
	return d.remove(ctx, n.Bridge, func(tx Tx) error {
		var errs []error
		for _, s := range all {
			errs = append(errs, s.put(tx))
		}
		for _, e := range tx.Endpoints() {
			if within(e) {
				errs = append(errs, tx.DeleteEndpoint(e.ID))
			}
		}
		return errors.Join(errors.Join(errs...), tx.DeleteNetwork(n.ID))
	})
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
		From: o.From, Policy: o.Policy, Egress: o.Egress, EgressMode: o.EgressMode, Spoof: o.Spoof, ICCList: o.ICCList,
	}
	if n.Bridge == "" {
		n.Bridge = "br-" + n.ID[:min(12, len(n.ID))]
	}
	for _, f := range model.Families() {
		if *n.Subnet(f), err = parsePools(f, pools(f, r), o); err != nil {
			return n, err
		}
	}
	if err := errors.Join(checkLimits(n, n.From), checkPolicy(n, n.Policy)); err != nil {
		return n, err
	}
	return n, checkRoutes(n)
}

// sameNetwork reports whether want asks for what have is.
func sameNetwork(have, want model.Network) bool {
	want.Owned, want.BridgeMAC = have.Owned, have.BridgeMAC
	want.V4.AddressKept, want.V6.AddressKept = have.V4.AddressKept, have.V6.AddressKept
	want.Engine, want.FromSet, want.PolicySet = have.Engine, have.FromSet, have.PolicySet
	want.EgressSet, want.EgressModeSet, want.SpoofSet, want.ICCSet = have.EgressSet, have.EgressModeSet, have.SpoofSet, have.ICCSet
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
