package reconcile

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
)

var (
	tcp6   = binding(model.TCP, "[::]:8080", "[fd00:18::2]:80", 1)
	across = binding(model.TCP, "[::]:9090", "172.18.0.2:90", 1)
)

// dual is snapshot with IPv6: a port published in it, and one that leads from it to the
// container's IPv4 address.
func dual() model.Snapshot {
	s := snapshot()
	s.Networks[0].V6 = model.Subnet{
		Prefix:     netip.MustParsePrefix("fd00:18::/64"),
		Gateway:    netip.MustParseAddr("fd00:18::1"),
		Address:    netip.MustParsePrefix("fd00:18::1/64"),
		Masquerade: true,
		SNAT:       netip.MustParseAddr("2001:db8::9"),
	}
	e := s.Endpoints[0]
	e.V6 = netip.MustParsePrefix("fd00:18::2/64")
	e.Ports = append(e.Ports, tcp6, across)
	e.OpenV4 = []model.PortSpan{{Proto: model.TCP, First: 80, Count: 1}, {Proto: model.UDP, First: 53, Count: 10}}
	e.OpenV6 = e.OpenV4
	return s
}

func TestRenderBothFamilies(t *testing.T) {
	want := Render(snapshot(), Options{})
	n := &want.Firewall.Networks[0]
	n.V6 = firewall.Family{Prefix: netip.MustParsePrefix("fd00:18::/64"), Masquerade: true, SNAT: netip.MustParseAddr("2001:db8::9"), Hairpin: true}
	want.Firewall.Ports = []firewall.Port{
		{Bridge: n.Bridge, ICC: true, Link: "veth0123456789", PortBinding: tcp},
		{Bridge: n.Bridge, ICC: true, Link: "veth0123456789", PortBinding: tcp6},
		{Bridge: n.Bridge, ICC: true, Link: "veth0123456789", PortBinding: udp},
	}
	want.Links.Bridges[0].V6 = netip.MustParsePrefix("fd00:18::1/64")
	want.Links.Veths[0].V6 = netip.MustParseAddr("fd00:18::2")
	want.Links.Bridges[0].DisableIPv6 = "0"
	sayRecorded(&want, dual())
	for _, path := range []string{"all/forwarding", "default/forwarding"} {
		want.Sysctls["net/ipv6/conf/"+path] = "1"
	}
	want.Ports.Bindings = nil
	want.Flows.Bindings = []model.PortBinding{tcp, tcp6, across, udp}
	want.Flows.Subnets = append(want.Flows.Subnets, conntrack.Subnet{Prefix: n.V6.Prefix, Masquerade: true, Closed: true})
	want.Flows.Endpoints[0].V6 = netip.MustParseAddr("fd00:18::2")
	for _, b := range want.Flows.Bindings {
		want.Ports.Bindings = append(want.Ports.Bindings, hostport.Binding{Owner: dual().Endpoints[0].PortOwner(), Link: dual().Endpoints[0].HostIface(), PortBinding: b})
	}
	if got := Render(dual(), Options{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// sayRecorded has the links' aliases say what is recorded, of which the host may not have all.
func sayRecorded(h *Host, s model.Snapshot) {
	h.Links.Bridges[0].Alias, h.Links.Veths[0].Alias = s.Networks[0].Alias(), s.Endpoints[0].Alias(s.Networks[0])
}

// A host without IPv6, or without anything to filter it, loses IPv6 and nothing else: what
// the containers still have of it leads nowhere.
func TestRenderWithoutIPv6(t *testing.T) {
	want := Render(snapshot(), Options{})
	want.Links.Bridges[0].DisableIPv6 = "1"
	s := dual()
	sayRecorded(&want, s)
	if got := Render(s, Options{NoIPv6: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !reflect.DeepEqual(s, dual()) {
		t.Error("the records have changed")
	}
	if got, want := Render(snapshot(), Options{NoIPv6: true}), Render(snapshot(), Options{}); !reflect.DeepEqual(got, want) {
		t.Errorf("a network without IPv6: got %+v\nwant %+v", got, want)
	}
	s.Networks[0].V4, s.Endpoints[0].V4 = model.Subnet{}, netip.Prefix{}
	s.Networks[0].V6.Mode = model.ModeRouted
	h := Render(s, Options{NoIPv6: true, DirectRouting: true})
	if len(h.Firewall.Openings) > 0 || h.Firewall.Networks[0].V6 != (firewall.Family{}) {
		t.Errorf("a network of IPv6 alone: %+v", h)
	}
}

// What each mode is to the packet filter, in either family.
func TestRenderModes(t *testing.T) {
	for _, c := range []struct {
		mode model.Mode
		want firewall.Family // without prefix and addresses
	}{
		{model.ModeNAT, firewall.Family{Masquerade: true, Hairpin: true}},
		{model.ModeNATUnprotected, firewall.Family{Masquerade: true, Hairpin: true, Direct: firewall.DirectAll}},
		{model.ModeRouted, firewall.Family{Direct: firewall.DirectRouted}},
	} {
		for _, is6 := range []bool{false, true} {
			s := dual()
			subnet := &s.Networks[0].V4
			if is6 {
				subnet = &s.Networks[0].V6
			}
			subnet.Mode, subnet.SNAT = c.mode, netip.Addr{}
			n := Render(s, Options{}).Firewall.Networks[0]
			got, other := n.V4, n.V6
			if is6 {
				got, other = n.V6, n.V4
			}
			c.want.Prefix = subnet.Prefix
			if got != c.want || other.Direct != firewall.DirectNone || !other.Masquerade {
				t.Errorf("%q, IPv6 %v: got %+v, want %+v; the other %+v", c.mode, is6, got, c.want, other)
			}
			s.Networks[0].Internal = true
			if h := Render(s, Options{}); h.Firewall.Networks[0].V4 != (firewall.Family{Prefix: s.Networks[0].V4.Prefix}) || h.Firewall.Networks[0].V6 != (firewall.Family{Prefix: s.Networks[0].V6.Prefix}) {
				t.Errorf("%q, internal: %+v", c.mode, h.Firewall.Networks[0])
			}
		}
	}
}

func TestRenderOpenings(t *testing.T) {
	const every = "172.18.0.2 tcp 80+1; 172.18.0.2 tcp 90+1; 172.18.0.2 udp 53+10; fd00:18::2 tcp 80+1"
	for _, c := range []struct {
		name    string
		v4, v6  model.Mode
		trusted string
		options Options
		change  func(*model.Snapshot)
		want    string
	}{
		{name: "nat"},
		{name: "routed: what was published at Join, ranges too", v6: model.ModeRouted, want: "fd00:18::2 tcp 80+1; fd00:18::2 udp 53+10"},
		{name: "routed IPv4", v4: model.ModeRouted, want: "172.18.0.2 tcp 80+1; 172.18.0.2 udp 53+10"},
		{name: "routed, trusted or not", v4: model.ModeRouted, trusted: "eth1", want: "172.18.0.2 tcp 80+1; 172.18.0.2 udp 53+10; fd00:18::2 tcp 80+1 from eth1"},
		{name: "unprotected needs none", v4: model.ModeNATUnprotected, v6: model.ModeNATUnprotected, trusted: "eth1", options: Options{DirectRouting: true}},
		{name: "direct routing: what is published now, carried or not", options: Options{DirectRouting: true}, want: every},
		{name: "trusted interfaces", trusted: "eth2 eth1", change: func(s *model.Snapshot) { s.Endpoints[0].Ports = []model.PortBinding{tcp, tcp6} },
			want: "172.18.0.2 tcp 80+1 from eth1; 172.18.0.2 tcp 80+1 from eth2; fd00:18::2 tcp 80+1 from eth1; fd00:18::2 tcp 80+1 from eth2"},
		{name: "published twice, opened once", options: Options{DirectRouting: true},
			change: func(s *model.Snapshot) {
				s.Endpoints[0].Ports = []model.PortBinding{tcp, binding(model.TCP, "127.0.0.1:8081", "172.18.0.2:80", 1)}
			}, want: "172.18.0.2 tcp 80+1"},
		{name: "internal", options: Options{DirectRouting: true}, v6: model.ModeRouted, trusted: "eth1", change: func(s *model.Snapshot) { s.Networks[0].Internal = true }},
		{name: "a container without IPv6", v6: model.ModeRouted, change: func(s *model.Snapshot) { s.Endpoints[0].V6 = netip.Prefix{} }},
		{name: "no host IPv6", v4: model.ModeRouted, v6: model.ModeRouted, options: Options{NoIPv6: true}, want: "172.18.0.2 tcp 80+1; 172.18.0.2 udp 53+10"},
	} {
		s := dual()
		s.Networks[0].V4.Mode, s.Networks[0].V6.Mode, s.Networks[0].Trusted = c.v4, c.v6, strings.Fields(c.trusted)
		if c.change != nil {
			c.change(&s)
		}
		var got []string
		for _, o := range Render(s, c.options).Firewall.Openings {
			if o.Bridge != "br-4f2a1b3c4d5e" {
				t.Errorf("%s: bridge %s", c.name, o.Bridge)
			}
			text := fmt.Sprintf("%s %s %d+%d", o.Addr, o.Proto, o.First, o.Count)
			if o.From != "" {
				text += " from " + o.From
			}
			got = append(got, text)
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s:\nhave %s\nwant %s", c.name, strings.Join(got, "; "), c.want)
		}
	}
}

// What a bridge does with IPv6.
func TestRenderBridgeSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*model.Network)
		want   string // of disable_ipv6, then of accept_ra
	}{
		{"both families", func(n *model.Network) {}, "0 0"},
		{"IPv4 alone", func(n *model.Network) { n.V6 = model.Subnet{} }, " 0"},
		{"internal, both", func(n *model.Network) { n.Internal = true }, "0 0"},
		{"internal, IPv4 alone", func(n *model.Network) { n.Internal, n.V6 = true, model.Subnet{} }, "1 0"},
		{"isolated", func(n *model.Network) {
			n.Internal, n.V6.Mode, n.V6.Address = true, model.ModeIsolated, netip.Prefix{}
		}, "1 0"},
		{"IPv4 isolated", func(n *model.Network) {
			n.Internal, n.V4.Mode, n.V4.Address = true, model.ModeIsolated, netip.Prefix{}
		}, "0 0"},
		{"somebody else's", func(n *model.Network) { n.Owned = false }, "0 "},
		{"somebody else's, isolated", func(n *model.Network) {
			n.Owned, n.Internal, n.V6.Mode, n.V6.Address = false, true, model.ModeIsolated, netip.Prefix{}
		}, " "},
		{"somebody else's, with its address", func(n *model.Network) { n.Owned, n.V6.AddressKept = false, true }, " "},
	} {
		s := dual()
		c.change(&s.Networks[0])
		b := Render(s, Options{}).Links.Bridges[0]
		if got := b.DisableIPv6 + " " + b.AcceptRA; got != c.want {
			t.Errorf("%s: have %q, want %q", c.name, got, c.want)
		}
	}
}

// Forwarding is turned on in a family when a container has an address in it, and a way out.
func TestRenderForwarding(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*model.Snapshot)
		v4, v6 string
	}{
		{"both", func(*model.Snapshot) {}, "1", "1"},
		{"IPv4", func(s *model.Snapshot) { s.Endpoints[0].V6 = netip.Prefix{} }, "1", ""},
		{"IPv6", func(s *model.Snapshot) { s.Endpoints[0].V4 = netip.Prefix{} }, "", "1"},
		{"internal", func(s *model.Snapshot) { s.Networks[0].Internal = true }, "", ""},
		{"no container", func(s *model.Snapshot) { s.Endpoints = nil }, "", ""},
	} {
		s := dual()
		c.change(&s)
		set := Render(s, Options{}).Sysctls
		v4, all, default6 := set["net/ipv4/ip_forward"], set["net/ipv6/conf/all/forwarding"], set["net/ipv6/conf/default/forwarding"]
		if v4 != c.v4 || all != c.v6 || default6 != c.v6 {
			t.Errorf("%s: have %q, %q, %q", c.name, v4, all, default6)
		}
	}
}

// The process carries for everybody but the containers of internal networks.
func TestRenderShunsInternalNetworks(t *testing.T) {
	s := dual()
	for _, bridge := range []string{"zz0", "aa0", "mm0"} {
		s.Networks = append(s.Networks, model.Network{ID: bridge, Bridge: bridge, Internal: bridge != "mm0"})
	}
	if got := fmt.Sprint(Render(s, Options{}).Ports.Blocked); got != "[aa0 zz0]" {
		t.Error(got)
	}
}
