package driver

import (
	"context"
	"errors"
	"slices"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Types of static routes in Join's answer (libnetwork's types package).
const (
	routeNextHop   = 0
	routeConnected = 1
)

// Join records the sandbox of an endpoint and tells Docker which interface to move
// there and what routes to give it. There is a pass only if that changes anything on the
// host: for ports that a routed network opens, for those that the endpoint had, and where it is
// checked who sends, for addresses that the sandbox has already.
//
// An endpoint that has joined a sandbox can join another one only while its interface
// is on the host, where Docker has put it back or from where it never took it. Its ports
// stay with the sandbox that it leaves.
func (d *Driver) Join(ctx context.Context, r *network.JoinRequest) (res *network.JoinResponse, err error) {
	defer wrap(&err, "join endpoint", r.EndpointID)
	if err := checkText("sandbox key", r.SandboxKey, maxSandbox); err != nil {
		return nil, err
	} else if r.SandboxKey == "" {
		return nil, model.Invalid("the sandbox key is missing")
	}
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	n, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID, r.SandboxKey)
	defer unlock()
	if err != nil {
		return nil, err
	}
	moves := e.Sandbox != "" && e.Sandbox != r.SandboxKey
	if moves {
		if links, err := d.hostLinks(); err != nil {
			return nil, err
		} else if d.kindOf(n.ID).place(e, links.names) != placeHost {
			return nil, model.Conflict("it has joined sandbox %s already", e.Sandbox)
		}
	}
	open, err := openAtJoin(n, e, r.Options)
	if err == nil {
		err = hungUp(ctx)
	}
	if err != nil {
		return nil, err
	}
	if !moves {
		for f := range open {
			open[f] = changedOpen(open[f], f, e)
		}
	}
	s := &shares{}
	if moves {
		if s, err = d.reshare(e.PortOwner(), e.ID, left); err != nil {
			return nil, err
		}
		defer s.release()
	}
	record := func(tx Tx) error {
		return errors.Join(s.put(tx), changeEndpoint(tx, e.ID, func(e *model.Endpoint) {
			e.Sandbox, e.OpenV4, e.OpenV6 = r.SandboxKey, open[model.IPv4], open[model.IPv6]
		}))
	}
	shares := false
	if err := d.store.View(func(tx Tx) error { shares = d.shares(tx, e, r.SandboxKey); return nil }); err != nil {
		return nil, err
	}
	if shares || s.published() || e.Sandbox == "" && len(e.Ports) > 0 || !slices.Equal(e.OpenV4, open[model.IPv4]) || !slices.Equal(e.OpenV6, open[model.IPv6]) {
		err = d.commit(ctx, d.kindOf(n.ID).subject(e), record)
	} else {
		_, err = d.store.Update(record)
	}
	if err != nil {
		return nil, err
	}
	d.ages.note(e.ID)
	return joinResponse(n, e, d.kindOf(n.ID).source(e)), nil
}

// openAtJoin lists the ports that each routed family opens. Docker sends them to each
// endpoint of a container; it asks only those that are a default route to publish them. Of a
// host address nothing counts but its family.
func openAtJoin(n model.Network, e model.Endpoint, opts map[string]any) (map[model.Family][]model.PortSpan, error) {
	entries, err := parsePortMap(opts)
	if err != nil || n.Internal {
		return nil, err
	}
	return openedBy(entries, n, e)
}

// openedBy lists the ports that entries open in each routed family of an endpoint.
func openedBy(entries []portEntry, n model.Network, e model.Endpoint) (map[model.Family][]model.PortSpan, error) {
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
func joinResponse(n model.Network, e model.Endpoint, source string) *network.JoinResponse {
	res := &network.JoinResponse{
		InterfaceName: network.InterfaceName{SrcName: source, DstPrefix: n.IfacePrefix},
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

// Leave takes an endpoint out of its sandbox, and its ports, published and opened: Docker
// does not always revoke them.
func (d *Driver) Leave(ctx context.Context, r *network.LeaveRequest) (err error) {
	defer wrap(&err, "leave endpoint", r.EndpointID)
	defer d.beginEndpoint(r.NetworkID, r.EndpointID)()
	n, e, unlock, err := d.lockedEndpoint(r.NetworkID, r.EndpointID)
	defer unlock()
	if errors.Is(err, model.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if e.Sandbox != "" {
		d.ages.note(e.ID)
	}
	return d.withdraw(ctx, n, e, true)
}
