package reconcile

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/sysctl"
)

var (
	tcp = binding(model.TCP, "0.0.0.0:8080", "172.18.0.2:80", 1)
	udp = binding(model.UDP, "0.0.0.0:5353", "172.18.0.2:53", 10)
)

func binding(p model.Proto, host, container string, n uint16) model.PortBinding {
	return model.PortBinding{Proto: p, Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container), Count: n}
}

// snapshot is one network with one endpoint and two published ports, made anew for
// each call.
func snapshot() model.Snapshot {
	return model.Snapshot{
		Networks: []model.Network{{
			ID: "4f2a1b3c4d5e6f708192a3b4c5d6e7f8", Bridge: "br-4f2a1b3c4d5e", Owned: true,
			BridgeMAC: model.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400, ICC: true, IfacePrefix: "eth",
			V4: model.Subnet{
				Prefix:     netip.MustParsePrefix("172.18.0.0/16"),
				Gateway:    netip.MustParseAddr("172.18.0.1"),
				Address:    netip.MustParsePrefix("172.18.0.1/16"),
				Masquerade: true,
			},
		}},
		Endpoints: []*model.Endpoint{{
			ID: "0123456789abcdef0123456789abcdef", NetworkID: "4f2a1b3c4d5e6f708192a3b4c5d6e7f8",
			MAC: model.MAC{2, 0, 0, 0, 0, 2}, V4: netip.MustParsePrefix("172.18.0.2/16"),
			Sandbox: "/var/run/docker/netns/5f4f711ce5c2",
			Ports:   []model.PortBinding{tcp, udp},
		}},
	}
}

func TestRender(t *testing.T) {
	want := Host{
		Firewalld: firewalld.Set{Interfaces: []string{"br-4f2a1b3c4d5e"}},
		Firewall: firewall.Policy{
			Networks: []firewall.Network{{
				ID: "4f2a1b3c4d5e6f708192a3b4c5d6e7f8", Bridge: "br-4f2a1b3c4d5e", ICC: true,
				V4: firewall.Family{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Masquerade: true, Hairpin: true},
			}},
			Ports: []firewall.Port{
				{Bridge: "br-4f2a1b3c4d5e", ICC: true, Link: "veth0123456789", PortBinding: tcp},
				{Bridge: "br-4f2a1b3c4d5e", ICC: true, Link: "veth0123456789", PortBinding: udp},
			},
		},
		Links: link.Set{
			Bridges: []link.Bridge{{
				Name: "br-4f2a1b3c4d5e", Owned: true, Alias: "mybr network 4f2a1b3c4d5e6f708192a3b4c5d6e7f8 o=c- 4=172.18.0.0/16,172.18.0.1,=,m mtu=1400 if=eth",
				MAC: model.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400, V4: netip.MustParsePrefix("172.18.0.1/16"), AcceptRA: "0",
			}},
			Veths: []*link.Veth{{
				Host: "veth0123456789", Peer: "veth0123456789c", Bridge: "br-4f2a1b3c4d5e",
				Alias: "mybr endpoint 0123456789abcdef0123456789abcdef m=020000000002 4=172.18.0.2/16 p=t8080>80,u5353+9>53",
				MAC:   model.MAC{2, 0, 0, 0, 0, 2}, V4: netip.MustParseAddr("172.18.0.2"), MTU: 1400, Hairpin: true, Joined: true,
				Announce: true, DisableIPv6: "1",
			}},
		},
		Sysctls: sysctl.Set{"net/ipv4/ip_forward": "1"},
		Flows: conntrack.Set{
			Bindings:  []model.PortBinding{tcp, udp},
			Endpoints: []conntrack.Endpoint{{ID: "0123456789abcdef0123456789abcdef", V4: netip.MustParseAddr("172.18.0.2")}},
			Subnets:   []conntrack.Subnet{{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Masquerade: true, Closed: true}},
		},
		Ports: hostport.Set{Bindings: []hostport.Binding{
			{Owner: "/var/run/docker/netns/5f4f711ce5c2", Link: "veth0123456789", PortBinding: tcp},
			{Owner: "/var/run/docker/netns/5f4f711ce5c2", Link: "veth0123456789", PortBinding: udp},
		}},
	}
	if got := Render(snapshot(), Options{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRenderVariants(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*model.Network)
		check  func(Host) bool
	}{
		{"internal networks leave nothing to translate, masquerade or forward",
			func(n *model.Network) { n.Internal = true },
			func(h Host) bool {
				n := h.Firewall.Networks[0]
				_, forward := h.Sysctls["net/ipv4/ip_forward"]
				return n.Internal && !n.V4.Masquerade && !n.V4.Hairpin && len(h.Firewall.Ports) == 0 && !forward
			}},
		{"internal networks have no way out by IPv6",
			func(n *model.Network) { n.Internal = true },
			func(h Host) bool { return h.Links.Bridges[0].DisableIPv6 == "1" }},
		{"other networks have, to ports that the process relays",
			func(n *model.Network) {},
			func(h Host) bool { return h.Links.Bridges[0].DisableIPv6 == "" }},
		{"without icc neighbours are relayed",
			func(n *model.Network) { n.ICC = false },
			func(h Host) bool {
				return len(h.Flows.Relayed) == 1 && h.Flows.Relayed[0].String() == "172.18.0.0/16" &&
					h.Ports.Bindings[0].Neighbours == h.Flows.Relayed[0]
			}},
		{"without icc the ports are isolated and nothing turns back by NAT",
			func(n *model.Network) { n.ICC = false },
			func(h Host) bool {
				v := h.Links.Veths[0]
				return v.Isolated && !v.Hairpin && !h.Firewall.Networks[0].V4.Hairpin && !h.Firewall.Ports[0].ICC
			}},
		{"a bridge without an address can't masquerade what turns back",
			func(n *model.Network) { n.V4.Address = netip.Prefix{} },
			func(h Host) bool { return !h.Firewall.Networks[0].V4.Hairpin && !h.Links.Bridges[0].V4.IsValid() }},
		{"a bridge that was there keeps its MAC, MTU, alias and accept_ra",
			func(n *model.Network) { n.Owned = false },
			func(h Host) bool {
				b := h.Links.Bridges[0]
				return !b.Owned && b.Alias == "" && b.MAC.IsZero() && b.MTU == 0 && b.V4.IsValid() && b.AcceptRA == ""
			}},
		{"a network that says so has its new addresses not announced",
			func(n *model.Network) { n.NoAnnounce = true },
			func(h Host) bool { return !h.Links.Veths[0].Announce }},
		{"an address that was there is nobody's to remove",
			func(n *model.Network) { n.Owned, n.V4.AddressKept = false, true },
			func(h Host) bool { return !h.Links.Bridges[0].V4.IsValid() && h.Firewall.Networks[0].V4.Hairpin }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := snapshot()
			c.change(&s.Networks[0])
			if h := Render(s, Options{}); !c.check(h) {
				t.Errorf("got %+v", h)
			}
		})
	}
}

// dockerd must be the one who turns forwarding on, unless there are containers already.
func TestRenderForwardsForEndpointsOnly(t *testing.T) {
	s := snapshot()
	s.Endpoints = nil
	if h := Render(s, Options{}); h.Sysctls["net/ipv4/ip_forward"] != "" {
		t.Errorf("without endpoints: %v", h.Sysctls)
	}
}

func TestRenderTranslatesOnlyWhatNATCanCarry(t *testing.T) {
	for host, want := range map[string]int{
		"0.0.0.0:80": 1, "192.0.2.2:80": 1, "127.0.0.1:80": 0, "127.9.9.9:80": 0, "[::]:80": 0, "[::1]:80": 0, "[2001:db8::1]:80": 0,
	} {
		s := snapshot()
		s.Endpoints[0].Ports = []model.PortBinding{binding(model.TCP, host, "172.18.0.2:80", 1)}
		h := Render(s, Options{})
		if len(h.Firewall.Ports) != want || len(h.Ports.Bindings) != 1 {
			t.Errorf("%s: %d translated, %d held; want %d and 1", host, len(h.Firewall.Ports), len(h.Ports.Bindings), want)
		}
	}
}

func TestRenderDoesNotDependOnOrder(t *testing.T) {
	s := snapshot()
	n, e := s.Networks[0], *s.Endpoints[0]
	n.ID, n.Bridge = "aa"+n.ID[2:], "zz0"
	e.ID, e.NetworkID = "ff"+e.ID[2:], n.ID
	e.Ports = []model.PortBinding{binding(model.TCP, "0.0.0.0:81", "172.19.0.2:81", 1), binding(model.TCP, "0.0.0.0:7", "172.19.0.2:7", 1)}
	s.Networks, s.Endpoints = append(s.Networks, n), append(s.Endpoints, &e)
	want := Render(s, Options{})
	slices.Reverse(s.Networks)
	slices.Reverse(s.Endpoints)
	slices.Reverse(s.Endpoints[0].Ports)
	if got := Render(s, Options{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRenderLeavesOutOrphans(t *testing.T) {
	s := snapshot()
	s.Networks = nil
	if h := Render(s, Options{}); len(h.Links.Veths)+len(h.Ports.Bindings)+len(h.Firewall.Ports) != 0 {
		t.Errorf("an endpoint without its network got %+v", h)
	}
}

// Where settings of links can't be written, rules keep from the host what the settings
// would: router advertisements, and all IPv6 of a network that has none. Nothing is asked
// of settings but IPv6 where the network has it.
func TestRenderWithFixedSettings(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*model.Network)
		settings string // disable_ipv6 and accept_ra
		input    firewall.Input
	}{
		{"IPv4", func(n *model.Network) { n.V6 = model.Subnet{} }, " ", firewall.InputNoAdvertisements},
		{"both families", func(*model.Network) {}, "0 ", firewall.InputNoAdvertisements},
		{"internal without IPv6", func(n *model.Network) { n.Internal, n.V6 = true, model.Subnet{} }, " ", firewall.InputNone},
		{"somebody's bridge", func(n *model.Network) { n.Owned, n.V6 = false, model.Subnet{} }, " ", firewall.InputAll},
	} {
		s := dual()
		c.change(&s.Networks[0])
		h := Render(s, Options{FixedSettings: true})
		b := h.Links.Bridges[0]
		if got := b.DisableIPv6 + " " + b.AcceptRA; got != c.settings || h.Firewall.Networks[0].V6.Input != c.input {
			t.Errorf("%s: settings %q, input %q", c.name, got, h.Firewall.Networks[0].V6.Input)
		}
		if err := h.Firewall.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
