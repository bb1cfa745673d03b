package driver

import (
	"context"
	"errors"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// Types of static routes in Join's answer (libnetwork's types package).
const (
	routeNextHop   = 0
	routeConnected = 1
)

// Join records the sandbox of an endpoint and tells Docker which interface to move
// there and what routes to give it.
//
// An endpoint that has joined a sandbox can join another one only while its interface
// is on the host, where Docker has put it back or from where it never took it.
func (d *Driver) Join(ctx context.Context, r *network.JoinRequest) (res *network.JoinResponse, err error) {
	defer wrap(&err, "join endpoint", r.EndpointID)
	if r.SandboxKey == "" {
		return nil, model.Invalid("the sandbox key is missing")
	}
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	n, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if err != nil {
		return nil, err
	}
	if e.Sandbox != "" && e.Sandbox != r.SandboxKey {
		if links, err := d.linkNames(); err != nil {
			return nil, err
		} else if !links[e.PeerIface()] {
			return nil, model.Conflict("it has joined sandbox %s already", e.Sandbox)
		}
	}
	open, err := openAtJoin(n, e, r.Options)
	if err != nil {
		return nil, err
	}
	defer d.sandboxes.lock(r.SandboxKey)()
	err = d.commit(ctx, e.HostIface(), func(tx *store.Tx) error {
		return change(tx, e.ID, func(e *model.Endpoint) {
			if e.Sandbox != "" && e.Sandbox != r.SandboxKey {
				e.Ports, e.Wanted = nil, nil
			}
			e.Sandbox, e.OpenV4, e.OpenV6 = r.SandboxKey, open[model.IPv4], open[model.IPv6]
		})
	})
	if err != nil {
		return nil, err
	}
	d.orphans.forget(e.ID)
	d.joins.note(e.ID)
	return joinResponse(n, e), nil
}

// openAtJoin lists the ports that each routed family opens. Docker sends them to each
// endpoint of a container; it asks only those that are the way out to publish them. Of a
// host address nothing counts but its family.
func openAtJoin(n model.Network, e model.Endpoint, opts map[string]any) (map[model.Family][]model.PortSpan, error) {
	entries, err := parsePortMap(opts)
	if err != nil || n.Internal {
		return nil, err
	}
	open := map[model.Family][]model.PortSpan{}
	for _, f := range model.Families() {
		if !e.Address(f).IsValid() || n.Subnet(f).Mode != model.ModeRouted {
			continue
		}
		var of []portEntry
		for _, entry := range entries {
			host, err := entry.hostOn(n)
			if err != nil {
				return nil, err
			}
			if !host.IsValid() || model.FamilyOf(host) == f {
				of = append(of, entry)
			}
		}
		open[f] = opened(of)
	}
	return open, nil
}

// joinResponse says how the endpoint looks from inside the sandbox. Where there is no
// default gateway, Docker is told not to look for one: it would attach the container
// to a network of its own, and publish its ports there.
func joinResponse(n model.Network, e model.Endpoint) *network.JoinResponse {
	res := &network.JoinResponse{
		InterfaceName: network.InterfaceName{SrcName: e.PeerIface(), DstPrefix: n.IfacePrefix},
	}
	for f, gateway := range map[model.Family]*string{model.IPv4: &res.Gateway, model.IPv6: &res.GatewayIPv6} {
		if a := n.Subnet(f).Gateway; a.IsValid() && !n.Internal && e.Address(f).IsValid() {
			*gateway = a.String()
		}
	}
	res.DisableGatewayService = res.Gateway == "" && res.GatewayIPv6 == ""
	for _, r := range n.Routes {
		route := &network.StaticRoute{Destination: r.Destination.String(), RouteType: routeConnected}
		if r.NextHop.IsValid() {
			route.RouteType, route.NextHop = routeNextHop, r.NextHop.String()
		}
		res.StaticRoutes = append(res.StaticRoutes, route)
	}
	return res
}

// Leave forgets the sandbox of an endpoint, and its ports, published and opened: Docker does not always
// revoke them.
func (d *Driver) Leave(ctx context.Context, r *network.LeaveRequest) (err error) {
	defer wrap(&err, "leave endpoint", r.EndpointID)
	ctx, end := d.beginEndpoint(ctx, r.NetworkID, r.EndpointID)
	defer end()
	_, e, err := d.endpoint(r.NetworkID, r.EndpointID)
	if errors.Is(err, model.ErrNotFound) || err == nil && e.Sandbox == "" && len(e.Ports) == 0 && len(e.Wanted) == 0 {
		return nil
	} else if err != nil {
		return err
	}
	defer d.sandboxes.lock(e.PortOwner())()
	return d.withdraw(ctx, e, func(tx *store.Tx) error {
		return change(tx, e.ID, func(e *model.Endpoint) { e.Sandbox, e.Ports, e.Wanted, e.OpenV4, e.OpenV6 = "", nil, nil, nil, nil })
	})
}
