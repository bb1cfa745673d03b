package reconcile_test

import (
	"net/netip"
	"testing"

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
			h.Flows.Limits[0].Addr == netip.MustParseAddr("172.18.0.2"); forgets != c.byHost {
			t.Errorf("%+v: limits of flows: %+v", c.state, h.Flows.Limits)
		}
	}
}
