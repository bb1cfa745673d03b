package driver

import (
	"context"
	"errors"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/arbitrate"
	"github.com/mybr/mybr/internal/model"
)

const publishing = "publish ports of endpoint"

// ProgramExternalConnectivity publishes an endpoint's ports, which are its only ones then.
// Asked again, an endpoint keeps the host ports that were chosen for it. An internal network
// publishes nothing. What an operator has changed since the container began stays changed.
//
// An error of the reservation is returned as it is: its text is the one that users know
// from Docker, which puts the endpoint's name before it.
func (d *Driver) ProgramExternalConnectivity(ctx context.Context, r *network.ProgramExternalConnectivityRequest) error {
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	d.removeStaleSiblings(ctx, r.EndpointID)
	n, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID)
	defer unlock()
	var request arbitrate.Request
	if err == nil {
		request, err = d.portRequest(r, n, e)
	}
	if err == nil {
		err = hungUp(ctx)
	}
	if err != nil {
		wrap(&err, publishing, r.EndpointID)
		return err
	}
	if n.Internal {
		return nil
	}
	s, err := d.sandbox(e.PortOwner())
	if err != nil {
		return err
	}
	defer s.release()
	if len(request.Ports) == 0 && len(e.Ports) == 0 && len(e.Wanted) == 0 && !s.changed() {
		return nil
	}
	if err := d.publishChanged(ctx, n, e, s, request); err != nil {
		return err
	}
	d.reassign(e.PortOwner(), s, e.ID)
	err = d.commit(ctx, d.kindOf(n.ID).subject(e), s.put)
	wrap(&err, publishing, e.ID)
	return err
}

// RevokeExternalConnectivity ends the publishing of an endpoint's ports.
func (d *Driver) RevokeExternalConnectivity(ctx context.Context, r *network.RevokeExternalConnectivityRequest) (err error) {
	defer wrap(&err, "revoke ports of endpoint", r.EndpointID)
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	n, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID)
	defer unlock()
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return d.withdraw(ctx, n, e, false)
}

// withdraw changes an endpoint so that it has no ports any more, and with leaves no sandbox. There is
// a pass only if that changes anything on the host. The caller holds the lock of its sandbox.
func (d *Driver) withdraw(ctx context.Context, n model.Network, e model.Endpoint, leaves bool) error {
	s, err := d.reshare(e.PortOwner(), e.ID, withoutPorts)
	if err != nil {
		return err
	}
	defer s.release()
	change := withoutPorts
	if leaves {
		s.bequeath(e.ID)
		change = func(e *model.Endpoint) {
			e.Sandbox = ""
			left(e)
		}
	}
	record := func(tx Tx) error {
		return errors.Join(s.put(tx), changeEndpoint(tx, e.ID, change))
	}
	if !s.published() && e.OpenV4 == nil && e.OpenV6 == nil {
		_, err := d.store.Update(record)
		return err
	}
	return d.remove(ctx, d.kindOf(n.ID).subject(e), record)
}

// portRequest reads what an endpoint is to publish.
func (d *Driver) portRequest(r *network.ProgramExternalConnectivityRequest, n model.Network, e model.Endpoint) (req arbitrate.Request, err error) {
	req.Endpoint = e.ID
	entries, err := parsePortMap(r.Options)
	if err == nil {
		err = get(r.Options, optNoProxy64, &req.V4Only)
	}
	if err != nil {
		return req, err
	}
	told := map[string]bool{}
	for _, entry := range entries {
		if told[entry.HostIP] {
			continue // one word for all ports
		}
		told[entry.HostIP] = true
		if host, err := entry.host(); err == nil && host.IsValid() && n.Subnet(model.FamilyOf(host)).Mode == model.ModeRouted && !n.Internal {
			d.warn("endpoint %s: host address %s of its port %d/%s does not matter: %s of its network is routed",
				short(e.ID), host, entry.Port, model.Proto(entry.Proto), model.FamilyOf(host))
		}
	}
	if req.Ports, err = parsePorts(entries, d.bound(n), e, !req.V4Only); err != nil || n.Internal {
		return req, err
	}
	return req, d.checkRequests(n, e, req.Ports)
}

// bound is a network that says where it publishes ports that name no address, if anybody has.
func (d *Driver) bound(n model.Network) model.Network {
	if !n.HostBinding.IsValid() {
		n.HostBinding = d.atHost
	}
	return n
}
