package driver

import (
	"context"
	"errors"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

const publishing = "publish ports of endpoint"

// ProgramExternalConnectivity publishes an endpoint's ports: they are reserved, then
// recorded, then made to work. Asked again, an endpoint keeps the host ports that were
// chosen for it. An internal network publishes nothing.
func (d *Driver) ProgramExternalConnectivity(ctx context.Context, r *network.ProgramExternalConnectivityRequest) error {
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	n, e, reqs, only4, err := d.portRequests(r)
	if err != nil {
		wrap(&err, publishing, r.EndpointID)
		return err
	}
	if n.Internal || len(reqs) == 0 && len(e.Ports) == 0 && len(e.Wanted) == 0 {
		return nil
	}
	return d.publish(ctx, e, reqs, only4)
}

// publish reserves ports for an endpoint and makes them its only ones. An error of the
// reservation is returned as it is: its text is the one that users know from Docker,
// which puts the endpoint's name before it.
func (d *Driver) publish(ctx context.Context, e model.Endpoint, reqs []model.PortRequest, only4 bool) error {
	d.buryDeadSiblings(ctx, e)
	defer d.sandboxes.lock(e.PortOwner())()
	p, err := d.sandbox(e)
	if err != nil {
		return err
	}
	before := p.clone()
	release, err := d.reserve(ctx, p, e.ID, reqs, only4)
	if err != nil {
		return err
	}
	// Also if all went well: what the pass adopted stays, but where nothing had changed it
	// adopted nothing, and what is reserved stays bound for ever.
	defer release()
	defer d.bequeath(p, e.ID)()
	err = d.commit(ctx, e.HostIface(), func(tx *store.Tx) error { return p.put(tx, before) })
	wrap(&err, publishing, e.ID)
	return err
}

// RevokeExternalConnectivity ends the publishing of an endpoint's ports.
func (d *Driver) RevokeExternalConnectivity(ctx context.Context, r *network.RevokeExternalConnectivityRequest) (err error) {
	defer wrap(&err, "revoke ports of endpoint", r.EndpointID)
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	_, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if errors.Is(err, model.ErrNotFound) || err == nil && len(e.Ports) == 0 && len(e.Wanted) == 0 {
		return nil
	} else if err != nil {
		return err
	}
	defer d.sandboxes.lock(e.PortOwner())()
	return d.withdraw(ctx, e, func(tx *store.Tx) error {
		return change(tx, e.ID, func(e *model.Endpoint) { e.Ports, e.Wanted = nil, nil })
	})
}

// change changes an endpoint's record.
func change(tx *store.Tx, id string, how func(*model.Endpoint)) error {
	e, err := tx.Endpoint(id)
	if err != nil {
		return err
	}
	how(&e)
	return tx.PutEndpoint(e)
}

// portRequests reads what is to be published, for which endpoint of which network; and
// whether the endpoint's network is the container's way out by IPv4 alone: it has another
// one by IPv6.
func (d *Driver) portRequests(r *network.ProgramExternalConnectivityRequest) (n model.Network, e model.Endpoint, reqs []model.PortRequest, only4 bool, err error) {
	entries, err := parsePortMap(r.Options)
	if err == nil {
		err = get(r.Options, optNoProxy64, &only4)
	}
	if err != nil {
		return n, e, nil, false, err
	}
	if n, e, err = d.endpoint(r.NetworkID, r.EndpointID); err != nil {
		return n, e, nil, false, err
	}
	for _, entry := range entries {
		if host, err := entry.host(); err == nil && host.IsValid() && n.Subnet(model.FamilyOf(host)).Mode == model.ModeRouted && !n.Internal {
			d.warn("endpoint %s: host address %s of its port %d/%s does not matter: %s of its network is routed",
				short(e.ID), host, entry.Port, model.Proto(entry.Proto), model.FamilyOf(host))
		}
	}
	reqs, err = parsePorts(entries, n, e, !only4)
	return n, e, reqs, only4, err
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
