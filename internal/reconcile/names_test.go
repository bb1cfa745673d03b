package reconcile

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// servedSnapshot has two networks, one of whose containers reach a host by its name.
func servedSnapshot() model.Snapshot {
	pre := netip.MustParsePrefix
	return model.Snapshot{
		Networks: []model.Network{
			{ID: "n1", Bridge: "br1", Owned: true, Egress: "192.0.2.1,example.com", V4: model.Subnet{Prefix: pre("10.1.0.0/24"), Address: pre("10.1.0.1/24")}, V6: model.Subnet{Prefix: pre("fd00:1::/64"), Address: pre("fd00:1::1/64")}},
			{ID: "n2", Bridge: "br2", Owned: true, V4: model.Subnet{Prefix: pre("10.2.0.0/24"), Address: pre("10.2.0.1/24")}},
		},
		Endpoints: []*model.Endpoint{
			{ID: "e1", NetworkID: "n1", V4: pre("10.1.0.2/24"), V6: pre("fd00:1::2/64")},
			{ID: "e2", NetworkID: "n1", V4: pre("10.1.0.3/24")},
			{ID: "e3", NetworkID: "n2", V4: pre("10.2.0.2/24")},
		},
		Lists: []model.List{{Name: "hosts", Egress: []string{"*.example.org:22"}}},
	}
}

// Whose lists have names, and which names, is rendered with the addresses by which they are known.
func TestRenderNames(t *testing.T) {
	addr, pre := netip.MustParseAddr, netip.MustParsePrefix
	e1 := byname.Client{Network: "n1", Endpoint: "e1", Bridge: "br1", Link: model.Endpoint{ID: "e1"}.HostIface(), V4: addr("10.1.0.2"), V6: addr("fd00:1::2"), Names: "example.com"}
	e2 := byname.Client{Network: "n1", Endpoint: "e2", Bridge: "br1", Link: model.Endpoint{ID: "e2"}.HostIface(), V4: addr("10.1.0.3"), Names: "example.com"}
	e3 := byname.Client{Network: "n2", Endpoint: "e3", Bridge: "br2", Link: model.Endpoint{ID: "e3"}.HostIface(), V4: addr("10.2.0.2"), Names: "*.example.org:22"}
	own := []netip.Prefix{pre("10.1.0.0/24"), pre("10.2.0.0/24"), pre("fd00:1::/64")}
	with := func(c byname.Client, change func(*byname.Client)) byname.Client { change(&c); return c }
	for name, c := range map[string]struct {
		change func(s *model.Snapshot)
		o      Options
		want   byname.Set
	}{
		"of a network": {func(*model.Snapshot) {}, Options{}, byname.Set{Listen: true, Clients: []byname.Client{e1, e2}, Own: own}},
		"no endpoints": {func(s *model.Snapshot) { s.Endpoints = nil }, Options{}, byname.Set{Listen: true, Own: own}},
		"no names":     {func(s *model.Snapshot) { s.Networks[0].EgressSet = "192.0.2.1" }, Options{}, byname.Set{}},
		"everything":   {func(s *model.Snapshot) { s.Networks[0].EgressSet = "all" }, Options{}, byname.Set{}},
		"of a list":    {func(s *model.Snapshot) { s.Networks[0].EgressSet, s.Endpoints[2].Egress = "none", "@hosts" }, Options{}, byname.Set{Listen: true, Clients: []byname.Client{e3}, Own: own}},
		"only watched": {func(s *model.Snapshot) { s.Networks[0].EgressModeSet = "audit" }, Options{}, byname.Set{}},
		"watched, and one enforced": {func(s *model.Snapshot) { s.Networks[0].EgressMode, s.Endpoints[1].EgressMode = "audit", "enforce" }, Options{},
			byname.Set{Listen: true, Clients: []byname.Client{e2}, Own: own}},
		"one watched":              {func(s *model.Snapshot) { s.Endpoints[1].EgressMode = "audit" }, Options{}, byname.Set{Listen: true, Clients: []byname.Client{e1}, Own: own}},
		"of one that is not there": {func(s *model.Snapshot) { s.Networks[0].EgressSet = "@gone" }, Options{}, byname.Set{}},
		"of an endpoint": {func(s *model.Snapshot) { s.Endpoints[0].EgressSet, s.Endpoints[1].Egress = "example.org", "all" }, Options{},
			byname.Set{Listen: true, Clients: []byname.Client{with(e1, func(c *byname.Client) { c.Names = "example.org" })}, Own: own}},
		"an address of another subnet": {func(s *model.Snapshot) { s.Endpoints[1].V4 = pre("10.2.0.9/24") }, Options{},
			byname.Set{Listen: true, Clients: []byname.Client{e1, with(e2, func(c *byname.Client) { c.V4 = netip.Addr{} })}, Own: own}},
		"without IPv6": {func(*model.Snapshot) {}, Options{NoIPv6: true},
			byname.Set{Listen: true, Clients: []byname.Client{with(e1, func(c *byname.Client) { c.V6 = netip.Addr{} }), e2}, Own: own[:2]}},
	} {
		t.Run(name, func(t *testing.T) {
			s := servedSnapshot()
			c.change(&s)
			if h := Render(s, c.o); !reflect.DeepEqual(h.Names, c.want) {
				t.Errorf("have %+v\nwant %+v", h.Names, c.want)
			}
		})
	}
}

// The process follows before the rules do, which lead where it listens; what it fails with concerns
// those whom it serves. Who only looks changes nothing.
func TestProcessFollowsBeforeTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		at, fails := byname.Ports{DNS: 1053, TCP: 1443}, errors.New("no port is free")
		var failing bool
		h.r.Config.Process = func(want byname.Set, decide bool) (byname.Ports, error) {
			switch {
			case !decide:
				h.note("looks")
			case len(want.Clients) > 0:
				h.note("process serves " + want.Clients[0].Endpoint)
			default:
				h.note("process serves nobody")
			}
			if failing {
				return byname.Ports{}, fails
			}
			return at, nil
		}
		h.run(t)
		<-h.r.Ready()
		h.took()
		h.set(servedSnapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.took(); !strings.HasPrefix(got, "process serves e1, firewalld delta, firewall delta") || h.firewall.last.Process != firewall.Process(at) {
			t.Errorf("%s; the rules lead to %+v", got, h.firewall.last.Process)
		}
		if diff, err := h.r.Diff(t.Context()); err != nil || len(diff) > 0 || !strings.HasPrefix(h.took(), "looks, ") {
			t.Errorf("a look: %+v, %v", diff, err)
		}
		failing = true
		if err := h.r.Sync(t.Context(), model.Endpoint{ID: "e1"}.HostIface()); !errors.Is(err, fails) || h.firewall.last.Process != (firewall.Process{}) {
			t.Errorf("it fails: %v, and the rules lead to %+v", err, h.firewall.last.Process)
		}
		if err := h.r.Sync(t.Context(), model.Endpoint{ID: "e3"}.HostIface()); err != nil {
			t.Errorf("another network is told: %v", err)
		}
		if diff, err := h.r.Diff(t.Context()); err != nil || len(diff) != 1 || diff[0].Aspect != FirewallAspect || !errors.Is(diff[0].Err, fails) {
			t.Errorf("a look while it fails: %+v, %v", diff, err)
		}
	})
}
