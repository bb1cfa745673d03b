package reconcile_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

func TestEgress(t *testing.T) {
	pre, none := netip.MustParsePrefix, egress.Nothing
	of := func(addr string, id string, to egress.Allowed) firewall.Egress {
		e := firewall.Egress{Bridge: "br0", Link: "br0", To: to}
		if addr != "" {
			e.Addr, e.Link = netip.MustParseAddr(addr), model.Endpoint{ID: id}.HostIface()
		}
		return e
	}
	for name, c := range map[string]struct {
		change func(n *model.Network, a, b *model.Endpoint)
		want   []firewall.Egress
		flows  int
	}{
		"none at all":          {func(*model.Network, *model.Endpoint, *model.Endpoint) {}, nil, 0},
		"everything":           {func(n *model.Network, a, _ *model.Endpoint) { n.Egress, a.Egress = "all", "all" }, nil, 0},
		"of the network":       {func(n *model.Network, _, _ *model.Endpoint) { n.Egress = "192.0.2.1:443" }, []firewall.Egress{of("", "", "192.0.2.1:443")}, 3},
		"set since":            {func(n *model.Network, _, _ *model.Endpoint) { n.Egress, n.EgressSet = "192.0.2.1:443", "none" }, []firewall.Egress{of("", "", none)}, 3},
		"taken off":            {func(n *model.Network, _, _ *model.Endpoint) { n.Egress, n.EgressSet = "192.0.2.1:443", "all" }, nil, 0},
		"of a list":            {func(n *model.Network, _, _ *model.Endpoint) { n.Egress = "@apis,192.0.2.9" }, []firewall.Egress{of("", "", "10.1.0.0/16,192.0.2.9,host:53/udp")}, 3},
		"of none that is here": {func(n *model.Network, _, _ *model.Endpoint) { n.Egress = "@gone" }, []firewall.Egress{of("", "", none)}, 3},
		"of one endpoint": {func(_ *model.Network, a, _ *model.Endpoint) { a.Egress = "none" },
			[]firewall.Egress{of("", "", none), of("172.18.0.2", "a", none), of("172.18.0.3", "b", ""), of("fd00:18::2", "a", none)}, 2},
		"of one, set since": {func(n *model.Network, a, _ *model.Endpoint) {
			n.Egress, a.Egress, a.EgressSet = "192.0.2.1", "none", "all"
		}, []firewall.Egress{of("", "", none), of("172.18.0.2", "a", ""), of("172.18.0.3", "b", "192.0.2.1"), of("fd00:18::2", "a", "")}, 1},
		"watched": {func(n *model.Network, _, _ *model.Endpoint) { n.Egress, n.EgressMode = "192.0.2.1:443", "audit" },
			[]firewall.Egress{of("", "", egress.Allowed("192.0.2.1:443").Audited())}, 0},
		"watched, with names": {func(n *model.Network, _, _ *model.Endpoint) {
			n.Egress, n.EgressMode = "192.0.2.1:443,example.com", "audit"
		}, []firewall.Egress{of("", "", egress.Allowed("192.0.2.1:443").Audited())}, 0},
		"watched since": {func(n *model.Network, _, _ *model.Endpoint) {
			n.Egress, n.EgressMode, n.EgressModeSet = "none", "enforce", "audit"
		}, []firewall.Egress{of("", "", none.Audited())}, 0},
		"enforced since": {func(n *model.Network, _, _ *model.Endpoint) {
			n.Egress, n.EgressMode, n.EgressModeSet = "none", "audit", "enforce"
		}, []firewall.Egress{of("", "", none)}, 3},
		"one watched": {func(n *model.Network, a, _ *model.Endpoint) { n.Egress, a.EgressMode = "none", "audit" },
			[]firewall.Egress{of("", "", none), of("172.18.0.2", "a", none.Audited()), of("172.18.0.3", "b", none), of("fd00:18::2", "a", none.Audited())}, 1},
		"one enforced": {func(n *model.Network, a, _ *model.Endpoint) {
			n.Egress, n.EgressMode, a.EgressMode = "none", "audit", "enforce"
		}, []firewall.Egress{of("", "", none), of("172.18.0.2", "a", none), of("172.18.0.3", "b", none.Audited()), of("fd00:18::2", "a", none)}, 2},
		"one with a list, watched": {func(_ *model.Network, a, _ *model.Endpoint) { a.Egress, a.EgressMode = "none", "audit" },
			[]firewall.Egress{of("", "", none.Audited()), of("172.18.0.2", "a", none.Audited()), of("172.18.0.3", "b", ""), of("fd00:18::2", "a", none.Audited())}, 0},
		"the same mode as the network's": {func(n *model.Network, a, _ *model.Endpoint) {
			n.Egress, n.EgressMode, a.EgressMode = "none", "audit", "audit"
		}, []firewall.Egress{of("", "", none.Audited())}, 0},
		"internal": {func(n *model.Network, _, _ *model.Endpoint) { n.Internal, n.Egress = true, "host:53" }, []firewall.Egress{of("", "", "host:53")}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := model.Network{ID: "n", Bridge: "br0", Owned: true, ICC: true,
				V4: model.Subnet{Prefix: pre("172.18.0.0/16"), Masquerade: true}, V6: model.Subnet{Prefix: pre("fd00:18::/64"), Masquerade: true}}
			a := model.Endpoint{ID: "a", NetworkID: "n", V4: pre("172.18.0.2/16"), V6: pre("fd00:18::2/64")}
			b := model.Endpoint{ID: "b", NetworkID: "n", V4: pre("172.18.0.3/16")}
			c.change(&n, &a, &b)
			s := model.Snapshot{Networks: []model.Network{n}, Endpoints: []*model.Endpoint{&a, &b},
				Lists: []model.List{{Name: "apis", Prefixes: []netip.Prefix{pre("10.1.0.0/16")}, Egress: []string{"host:53/udp"}}}}
			h := reconcile.Render(s, reconcile.Options{})
			if !reflect.DeepEqual(h.Firewall.Egress, c.want) || h.Firewall.Networks[0].Listed != (len(c.want) > 0) {
				t.Errorf("have %v\nwant %v", h.Firewall.Egress, c.want)
			}
			if len(h.Flows.Egress) != c.flows {
				t.Errorf("%d flows' lists: %v", len(h.Flows.Egress), h.Flows.Egress)
			}
			if err := h.Firewall.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A list is read once for all containers that name it.
func TestSharedListsAreReadOnce(t *testing.T) {
	cost := func(containers, entries int) float64 {
		list := model.List{Name: "apis"}
		for i := range entries {
			list.Prefixes = append(list.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32))
		}
		s := model.Snapshot{Lists: []model.List{list}, Networks: []model.Network{{ID: "n", Bridge: "br0", Owned: true, ICC: true,
			V4: model.Subnet{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Masquerade: true}}}}
		for i := range containers {
			s.Endpoints = append(s.Endpoints, &model.Endpoint{ID: fmt.Sprint(i), NetworkID: "n", Egress: "@apis",
				V4: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 18, 1, byte(i)}), 16)})
		}
		s.Endpoints[0].Egress = "none"
		return testing.AllocsPerRun(1, func() {
			if h := reconcile.Render(s, reconcile.Options{}); len(h.Firewall.Egress) != containers+1 {
				t.Fatal(h.Firewall.Egress)
			}
		})
	}
	long, short := cost(200, 1000)-cost(100, 1000), cost(200, 2)-cost(100, 2)
	if long > 2*short {
		t.Errorf("100 containers more cost %.0f allocations with a list of 1000 entries, and %.0f with one of 2", long, short)
	}
}

// Who sends is checked for a list that is enforced, and not for one that is watched.
func TestWatchedListsCheckNoSenders(t *testing.T) {
	pre := netip.MustParsePrefix
	for mode, want := range map[string]int{"": 1, "enforce": 1, "audit": 0} {
		s := model.Snapshot{Networks: []model.Network{{ID: "n", Bridge: "br0", Owned: true, Egress: "none", EgressMode: mode, V4: model.Subnet{Prefix: pre("172.18.0.0/16")}}},
			Endpoints: []*model.Endpoint{{ID: "a", NetworkID: "n", V4: pre("172.18.0.2/16")}}}
		if h := reconcile.Render(s, reconcile.Options{}); len(h.Spoof.Ports) != want {
			t.Errorf("%q: %v", mode, h.Spoof.Ports)
		}
	}
}
