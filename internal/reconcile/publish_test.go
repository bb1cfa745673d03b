package reconcile_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// Ports of which the host's firewall decides are led nowhere past it, and the process carries all of
// what comes there; flows that were led past it are forgotten.
func TestPublishByHost(t *testing.T) {
	type state struct {
		network, endpoint string
		byDefault         bool
		mode              model.Mode
	}
	for _, c := range []struct {
		state
		byHost bool
	}{
		{state{}, false},
		{state{network: "host"}, true},
		{state{endpoint: "host"}, true},
		{state{network: "host", endpoint: "open"}, false},
		{state{network: "open", endpoint: "host"}, true},
		{state{byDefault: true}, true},
		{state{byDefault: true, network: "open"}, false},
		{state{byDefault: true, endpoint: "open"}, false},
		{state{byDefault: true, mode: model.ModeNATUnprotected}, true},
		{state{byDefault: true, mode: model.ModeRouted}, true}, // it has none at the host's addresses, but for those of this test
	} {
		s := limited(func(n *model.Network, e *model.Endpoint) {
			n.From, n.PolicySet, e.PolicySet, n.V4.Mode = nil, c.network, c.endpoint, c.mode
			e.Ports = e.Ports[:1]
		})
		h := reconcile.Render(s, reconcile.Options{PublishByHost: c.byDefault, DirectRouting: true})
		if err := h.Firewall.Validate(); err != nil {
			t.Errorf("%+v: %v", c.state, err)
		}
		past, carried := len(h.Firewall.Ports) > 0 && len(h.Flows.Bindings) > 0, len(h.Ports.Bindings) == 1 && h.Ports.Bindings[0].Limit.Carried
		direct := len(h.Firewall.Openings) > 0
		if past == c.byHost || carried != c.byHost || c.mode == model.ModeNAT && direct == c.byHost {
			t.Errorf("%+v: translated %t, carried %t, at the container's address %t", c.state, past, carried, direct)
		}
		if forgets := len(h.Flows.Limits) == 1 && h.Flows.Limits[0].From == model.NewClients(nil) && h.Flows.Limits[0].Count == 3 &&
			h.Flows.Limits[0].Addr == netip.MustParseAddr("172.18.0.2") && h.Flows.Limits[0].Translated == (c.mode != model.ModeNAT); forgets != c.byHost {
			t.Errorf("%+v: limits of flows: %+v", c.state, h.Flows.Limits)
		}
	}
}

// Where the process carries all that comes from outside, no server begins anything by TCP from its
// published port: that would go on with a connection which was translated before. What UDP servers
// send, and networks that are reached at the containers' own addresses, stay as they are.
func TestPublishByHostClosed(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*model.Network, *model.Endpoint)
		options reconcile.Options
		closed  bool
	}{
		"open":                           {func(*model.Network, *model.Endpoint) {}, reconcile.Options{}, false},
		"of the network":                 {func(n *model.Network, _ *model.Endpoint) { n.Policy = "host" }, reconcile.Options{}, true},
		"of the endpoint":                {func(_ *model.Network, e *model.Endpoint) { e.PolicySet = "host" }, reconcile.Options{}, true},
		"by default":                     {func(*model.Network, *model.Endpoint) {}, reconcile.Options{PublishByHost: true}, true},
		"an open endpoint":               {func(n *model.Network, e *model.Endpoint) { n.Policy, e.Policy = "host", "open" }, reconcile.Options{}, false},
		"trusted interfaces, by default": {func(n *model.Network, _ *model.Endpoint) { n.Trusted = []string{"eth1"} }, reconcile.Options{PublishByHost: true}, false},
		"for clients": {func(n *model.Network, _ *model.Endpoint) {
			n.Policy, n.From = "host", []model.Limit{{From: []string{"10.0.0.0/8"}}}
		}, reconcile.Options{}, true},
	} {
		s := limited(func(n *model.Network, e *model.Endpoint) {
			n.From, e.Ports = nil, e.Ports[:1]
			udp := e.Ports[0]
			udp.Proto = model.UDP
			e.Ports = append(e.Ports, udp)
			c.change(n, e)
		})
		h := reconcile.Render(s, c.options)
		if err := h.Firewall.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var tcp, udp []firewall.Limit
		for _, l := range h.Firewall.Limits {
			if l.From == model.NewClients(nil) && l.Proto == model.TCP {
				tcp = append(tcp, l)
			} else if l.From == model.NewClients(nil) {
				udp = append(udp, l)
			}
		}
		if closed := len(tcp) == 1 && tcp[0].First == 80 && tcp[0].Count == 3; closed != c.closed || len(udp) > 0 {
			t.Errorf("%s: limits %+v", name, h.Firewall.Limits)
		}
		for _, b := range h.Ports.Bindings {
			if b.Limit.Clients == model.NewClients(nil) {
				t.Errorf("%s: the process serves nobody: %+v", name, b)
			}
		}
	}
}

// What a server of UDP began from a port that has clients of its own ends with those that are none of
// them, at a start too. That the port gets clients, or has none any more, is no other limit for what
// came in by the process: flows that may go on do.
func TestPublishByHostClientsOfUDP(t *testing.T) {
	render := func(from ...string) (carried, clients []conntrack.Limit) {
		s := limited(func(n *model.Network, e *model.Endpoint) {
			n.From, n.Policy, e.Ports = nil, "host", e.Ports[:1]
			e.Ports[0].Proto = model.UDP
			if len(from) > 0 {
				n.From = []model.Limit{{From: from}}
			}
		})
		for _, l := range reconcile.Render(s, reconcile.Options{}).Flows.Limits {
			if l.From == model.NewClients(nil) {
				carried = append(carried, l)
			} else {
				clients = append(clients, l)
			}
		}
		return carried, clients
	}
	everybody, none := render()
	if len(everybody) != 1 || !everybody[0].Asks || len(none) > 0 {
		t.Fatalf("without clients: %+v, %+v", everybody, none)
	}
	limited, clients := render("10.0.0.0/8")
	if !reflect.DeepEqual(limited, everybody) {
		t.Errorf("with clients: %+v, without: %+v", limited, everybody)
	}
	if len(clients) != 1 || clients[0].From != model.Clients("10.0.0.0/8") || clients[0].Asks || clients[0].PortSpan != everybody[0].PortSpan {
		t.Errorf("of clients: %+v", clients)
	}
}

// Where ports are reached at the containers' own addresses, too, flows to these with who is none of a
// port's clients are forgotten, whatever carries what comes to the host's.
func TestPublishByHostClientsDirectly(t *testing.T) {
	for _, proto := range []model.Proto{model.TCP, model.UDP} {
		s := limited(func(n *model.Network, e *model.Endpoint) {
			n.V4.Mode, n.From, e.Ports = model.ModeRouted, []model.Limit{{From: []string{"10.0.0.0/8"}}}, e.Ports[:1]
			e.Ports[0].Proto = proto
		})
		h := reconcile.Render(s, reconcile.Options{PublishByHost: true})
		if !slices.ContainsFunc(h.Flows.Limits, func(l conntrack.Limit) bool {
			return l.From == "10.0.0.0/8" && l.Proto == proto && !l.Translated && !l.Asks
		}) {
			t.Errorf("%s: limits of flows: %+v", proto, h.Flows.Limits)
		}
	}
}
