package driver

import (
	"context"
	"errors"
	"net/netip"
	"slices"

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
	n, e, reqs, err := d.portRequests(r)
	if err != nil {
		wrap(&err, publishing, r.EndpointID)
		return err
	}
	if n.Internal || len(reqs) == 0 && len(e.Ports) == 0 {
		return nil
	}
	return d.publish(ctx, e, reqs)
}

// publish reserves ports for an endpoint and makes them its only ones. An error of the
// reservation is returned as it is: its text is the one that users know from Docker,
// which puts the endpoint's name before it.
func (d *Driver) publish(ctx context.Context, e model.Endpoint, reqs []model.PortRequest) error {
	bindings, release, err := d.reserve(ctx, e.ID, reqs)
	if err != nil {
		return err
	}
	// Also if all went well: what the pass adopted stays, but where nothing had changed it
	// adopted nothing, and what is reserved stays bound for ever.
	defer release()
	e.Ports = bindings
	err = d.commit(ctx, e.HostIface(), func(tx *store.Tx) error { return tx.PutEndpoint(e) })
	wrap(&err, publishing, e.ID)
	return err
}

// RevokeExternalConnectivity ends the publishing of an endpoint's ports.
func (d *Driver) RevokeExternalConnectivity(ctx context.Context, r *network.RevokeExternalConnectivityRequest) (err error) {
	defer wrap(&err, "revoke ports of endpoint", r.EndpointID)
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	_, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if errors.Is(err, model.ErrNotFound) || err == nil && len(e.Ports) == 0 {
		return nil
	} else if err != nil {
		return err
	}
	e.Ports = nil
	return d.remove(ctx, e.HostIface(), func(tx *store.Tx) error { return tx.PutEndpoint(e) })
}

// portRequests reads what is to be published, for which endpoint of which network.
func (d *Driver) portRequests(r *network.ProgramExternalConnectivityRequest) (n model.Network, e model.Endpoint, reqs []model.PortRequest, err error) {
	entries, err := parsePortMap(r.Options)
	if err != nil {
		return n, e, nil, err
	}
	if n, e, err = d.endpoint(r.NetworkID, r.EndpointID); err != nil {
		return n, e, nil, err
	}
	reqs, err = parsePorts(entries, n, e)
	return n, e, reqs, err
}

// parsePorts turns Docker's entries, which come in any order, into requests for the
// ports of endpoint e.
func parsePorts(entries []portEntry, n model.Network, e model.Endpoint) ([]model.PortRequest, error) {
	var reqs []model.PortRequest
	for _, entry := range entries {
		req, err := parsePort(entry, n.HostBinding, e)
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, req)
	}
	return reqs, nil
}

func parsePort(entry portEntry, hostIP netip.Addr, e model.Endpoint) (r model.PortRequest, err error) {
	r = model.PortRequest{Proto: model.Proto(entry.Proto), First: entry.HostPort, Last: entry.HostPortEnd}
	switch r.Proto {
	case model.TCP, model.UDP, model.SCTP:
	default:
		return r, invalid("%s has no ports that can be published: tcp, udp and sctp have", r.Proto)
	}
	if entry.Port == 0 {
		return r, invalid("the container's port is 0")
	}
	if r.Last == 0 {
		r.Last = r.First
	}
	if r.First > r.Last || r.First == 0 && r.Last != 0 {
		return r, invalid("%d-%d is not a range of host ports", r.First, r.Last)
	}
	if entry.HostIP != "" {
		if hostIP, err = parseHostIP(entry.HostIP); err != nil {
			return r, invalid("host address: %w", err)
		}
	}
	container := netip.AddrPortFrom(e.V4.Addr(), entry.Port)
	switch {
	case hostIP.IsValid() && hostIP.Is4():
		r.V4 = model.Way{Host: hostIP, Container: container}
	case hostIP.IsValid():
		r.V6 = model.Way{Host: hostIP, Container: container}
	default:
		r.V4 = model.Way{Host: netip.IPv4Unspecified(), Container: container}
		if r.Proto != model.SCTP {
			r.V6 = model.Way{Host: netip.IPv6Unspecified(), Container: container}
		}
	}
	return r, checkSCTP(r)
}

// checkSCTP refuses what only the process could carry, which carries TCP and UDP: SCTP
// goes where NAT leads it, within one family and not from a loopback address.
func checkSCTP(r model.PortRequest) error {
	if r.Proto != model.SCTP {
		return nil
	}
	for _, w := range []model.Way{r.V4, r.V6} {
		if w.Wanted() && (w.Host.IsLoopback() || w.Host.Is4() != w.Container.Addr().Is4()) {
			return invalid("host address: sctp can't be published at %s: it takes NAT, within one address family and not from a loopback address", w.Host)
		}
	}
	return nil
}

// reserve reserves host ports. If that fails because of endpoints that are dead, they
// are removed, and it is tried once more.
func (d *Driver) reserve(ctx context.Context, owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	if len(reqs) == 0 {
		return nil, func() {}, nil
	}
	bindings, release, err := d.ports.Reserve(owner, reqs)
	if err == nil {
		return bindings, release, nil
	}
	buried := false
	for _, id := range d.rivals(owner, reqs) {
		buried = d.bury(ctx, id, d.leftForGood) || buried
	}
	if !buried {
		return nil, nil, err
	}
	return d.ports.Reserve(owner, reqs)
}

// rivals returns the other endpoints that have published a port that reqs may need.
func (d *Driver) rivals(owner string, reqs []model.PortRequest) (ids []string) {
	err := d.store.View(func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if e.ID != owner && slices.ContainsFunc(e.Ports, func(b model.PortBinding) bool { return wanted(b, reqs) }) {
				ids = append(ids, e.ID)
			}
		}
		return nil
	})
	if err != nil {
		d.warn("look for endpoints that have the ports: %v", err)
	}
	return ids
}

// wanted reports whether a request may need a host port of b.
func wanted(b model.PortBinding, reqs []model.PortRequest) bool {
	return slices.ContainsFunc(reqs, func(r model.PortRequest) bool {
		return r.Proto == b.Proto && r.First <= b.Last() && b.Host.Port() <= r.Last
	})
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
