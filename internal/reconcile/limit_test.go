package reconcile_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// limited is a network whose ports only some clients reach, and an endpoint that publishes some.
func limited(change func(*model.Network, *model.Endpoint)) model.Snapshot {
	pre, ap := netip.MustParsePrefix, netip.MustParseAddrPort
	n := model.Network{ID: "n", Bridge: "br0", Owned: true, ICC: true,
		V4:   model.Subnet{Prefix: pre("172.18.0.0/16"), Address: pre("172.18.0.1/16"), Gateway: netip.MustParseAddr("172.18.0.1"), Masquerade: true},
		From: []model.Limit{{From: []string{"10.0.0.0/8", "@office"}}}}
	e := model.Endpoint{ID: "e", NetworkID: "n", V4: pre("172.18.0.2/16"), Ports: []model.PortBinding{
		{Proto: model.TCP, Host: ap("0.0.0.0:8000"), Container: ap("172.18.0.2:80"), Count: 3},
		{Proto: model.TCP, Host: ap("[::]:8000"), Container: ap("172.18.0.2:80"), Count: 3},
	}}
	if change != nil {
		change(&n, &e)
	}
	return model.Snapshot{Networks: []model.Network{n}, Endpoints: []*model.Endpoint{&e},
		Lists: []model.List{{Name: "office", Prefixes: []netip.Prefix{pre("10.1.0.0/16"), pre("fd00::/8")}}}}
}

func TestLimits(t *testing.T) {
	both := model.Clients("10.0.0.0/8,fd00::/8")
	at := func(first, count uint16, from model.Clients) firewall.Limit {
		return firewall.Limit{Bridge: "br0", Link: model.Endpoint{ID: "e"}.HostIface(), Addr: netip.MustParseAddr("172.18.0.2"),
			PortSpan: model.PortSpan{Proto: model.TCP, First: first, Count: count}, From: from}
	}
	by := func(l firewall.Limit, via model.Interfaces) firewall.Limit { l.Via = via; return l }
	for name, c := range map[string]struct {
		change   func(*model.Network, *model.Endpoint)
		want     []firewall.Limit
		bindings int
		flows    int // less than there are limits
	}{
		"of the network": {nil, []firewall.Limit{at(80, 3, both)}, 2, 0},
		"by interface": {func(n *model.Network, _ *model.Endpoint) { n.From = []model.Limit{{Via: []string{"eth1"}}} },
			[]firewall.Limit{by(at(80, 3, ""), "eth1")}, 2, 1},
		"by interface, of one port": {func(n *model.Network, _ *model.Endpoint) {
			n.From = append(n.From, model.Limit{Port: 8001, Via: []string{"eth1"}})
		}, []firewall.Limit{at(80, 1, both), by(at(81, 1, both), "eth1"), at(82, 1, both)}, 6, 0},
		"of one port": {func(n *model.Network, _ *model.Endpoint) {
			n.From = append(n.From, model.Limit{Port: 8001, From: []string{"192.0.2.1/32"}})
		}, []firewall.Limit{at(80, 1, both), at(81, 1, "192.0.2.1/32"), at(82, 1, both)}, 6, 0},
		"of another protocol": {func(n *model.Network, _ *model.Endpoint) {
			n.From = append(n.From, model.Limit{Port: 8001, Proto: model.UDP})
		}, []firewall.Limit{at(80, 3, both)}, 2, 0},
		"of the endpoint": {func(_ *model.Network, e *model.Endpoint) { e.From = []model.Limit{{}} }, []firewall.Limit{at(80, 3, model.NewClients(nil))}, 2, 0},
		"set since": {func(n *model.Network, _ *model.Endpoint) {
			n.FromSet = []model.Limit{{From: []string{"0.0.0.0/0", "::/0"}}}
		}, nil, 2, 0},
		"all of one family": {func(n *model.Network, _ *model.Endpoint) { n.From[0].From = []string{"0.0.0.0/0"} }, nil, 2, 0},
		"a list that is not there": {func(n *model.Network, _ *model.Endpoint) { n.From[0].From = []string{"@other"} },
			[]firewall.Limit{at(80, 3, model.NewClients(nil))}, 2, 0},
		"published twice": {func(n *model.Network, e *model.Endpoint) {
			n.From = append(n.From, model.Limit{Port: 9000, From: []string{"10.7.0.0/16", "192.0.2.1/32"}})
			twice := e.Ports[0]
			twice.Host, twice.Count = netip.MustParseAddrPort("0.0.0.0:9000"), 1
			e.Ports = append(e.Ports, twice)
		}, []firewall.Limit{at(80, 1, "10.7.0.0/16"), at(81, 2, both)}, 5, 0},
		"internal": {func(n *model.Network, _ *model.Endpoint) { n.Internal = true }, nil, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := reconcile.Render(limited(c.change), reconcile.Options{})
			if !reflect.DeepEqual(h.Firewall.Limits, c.want) {
				t.Errorf("have %v\nwant %v", h.Firewall.Limits, c.want)
			}
			if err := h.Firewall.Validate(); err != nil {
				t.Error(err)
			}
			if len(h.Flows.Limits) != len(c.want)-c.flows || len(h.Ports.Bindings) != c.bindings {
				t.Errorf("%d limits of flows, %d bindings: %v", len(h.Flows.Limits), len(h.Ports.Bindings), h.Ports.Bindings)
			}
			ports := 0
			for _, b := range h.Ports.Bindings {
				ports += int(b.Count)
				if name == "of the network" && b.Limit != (hostport.Limit{Clients: both, Bridge: "br0", V4: netip.MustParsePrefix("172.18.0.0/16")}) {
					t.Errorf("%v is served for %+v", b.PortBinding, b.Limit)
				}
			}
			if ports < 6 {
				t.Errorf("of 6 ports %d are held", ports)
			}
		})
	}
}

// Where a list says what containers may begin to each other the process serves no neighbour, from
// whichever address: those from which some container may send, too, are on every port of the network.
func TestServedApart(t *testing.T) {
	list := "web>db:5432"
	s := limited(func(n *model.Network, _ *model.Endpoint) { n.ICCSet = list })
	other := model.Endpoint{ID: "o", NetworkID: "n", V4: netip.MustParsePrefix("172.18.0.3/16"), Spoof: model.Spoof{Addresses: "0.0.0.0/0,10.77.0.0/24,2001:db8:77::/64"}}
	s.Endpoints = append(s.Endpoints, &other)
	for _, c := range []struct {
		list    string
		apart   bool
		further model.Clients
	}{{list, true, "10.77.0.0/24,2001:db8:77::/64"}, {"all", false, ""}, {"none", false, ""}} {
		s.Networks[0].ICCSet = c.list
		bindings := reconcile.Render(s, reconcile.Options{}).Ports.Bindings
		if len(bindings) == 0 {
			t.Fatal("nothing is served")
		}
		for _, b := range bindings {
			if b.Limit.Apart != c.apart || b.Limit.Further != c.further {
				t.Errorf("with %s: %+v", c.list, b.Limit)
			}
		}
	}
}
