package driver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Subnets of class E are unicast to Linux.
func TestClassE(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "240.0.0.0/24", ""))
	must(t, w.createNetwork(netB, "250.5.0.0/16", ""))
	_, err := w.createEndpoint(netA, ep1, "240.0.0.2/24")
	must(t, err)
}

// A subnet needs an address for a container beside those that the gateway and reserved
// addresses take. Engine 28 takes none for the gateway of some internal networks.
func TestSubnetWithoutRoom(t *testing.T) {
	const (
		isolated = `{"com.docker.network.internal":true,"com.docker.network.generic":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"}}`
		inhibit  = `{"com.docker.network.internal":true,"com.docker.network.generic":{"com.docker.network.bridge.inhibit_ipv4":"true"}}`
		noRoom   = ", so that no container could join: give a wider one (--subnet)"
	)
	for _, c := range []struct{ options, ipv4, refused string }{
		{`{}`, `{"Pool":"10.2.0.7/32","Gateway":"10.2.0.7/32"}`, "subnet 10.2.0.7/32 has no address beside 10.2.0.7" + noRoom},
		{isolated, `{"Pool":"10.2.0.7/32","Gateway":"10.2.0.7/32"}`, "subnet 10.2.0.7/32 has no address beside 10.2.0.7" + noRoom}, // before 28
		{isolated, `{"Pool":"10.2.0.7/32"}`, ""},
		{inhibit, `{"Pool":"10.2.0.7/32"}`, ""},
		{isolated, `{"Pool":"10.2.0.6/31"}`, ""},
		{isolated, `{"Pool":"10.2.0.7/32","AuxAddresses":{"nas":"10.2.0.7/32"}}`, "subnet 10.2.0.7/32 has no address beside 10.2.0.7" + noRoom},
		{`{}`, `{"Pool":"10.2.0.6/31","Gateway":"10.2.0.6/31"}`, ""},
		{`{}`, `{"Pool":"10.2.0.6/31","Gateway":"10.2.0.6/31","AuxAddresses":{"nas":"10.2.0.7/31"}}`, "subnet 10.2.0.6/31 has no address beside 10.2.0.6, 10.2.0.7" + noRoom},
		{`{}`, `{"Pool":"10.2.0.4/30","Gateway":"10.2.0.5/30","AuxAddresses":{"DefaultGatewayIPv4":"10.2.0.6/30"}}`, "subnet 10.2.0.4/30 has no address beside 10.2.0.5, 10.2.0.6" + noRoom},
		{`{}`, `{"Pool":"10.2.0.4/30","Gateway":"10.2.0.5/30","AuxAddresses":{"nas":"10.2.0.5/30"}}`, ""},
	} {
		t.Run(c.options+c.ipv4, func(t *testing.T) {
			w := newWorld(t)
			err := w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, oneNetwork(netB, c.options, "["+c.ipv4+"]")))
			if c.refused == "" {
				must(t, err)
			} else {
				wantErr(t, err, model.ErrInvalid, "create network b2b2b2b2b2b2: "+c.refused)
			}
		})
	}
	w := newWorld(t)
	wantErr(t, w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, fmt.Sprintf(
		`{"NetworkID":%q,"Options":{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true},"IPv6Data":[{"Pool":"fd00:2::7/128","Gateway":"fd00:2::7/128"}]}`, netB))),
		model.ErrInvalid, "create network b2b2b2b2b2b2: subnet fd00:2::7/128 has no address beside fd00:2::7"+noRoom)
}

// A network's subnet contains no address of another link, and is no part of the subnet of
// another bridge, whose containers may have addresses in it. Beside other links it may be a
// part of the subnet, as with proxy ARP and NDP, but that is worth a warning.
func TestSubnetsOfOtherLinks(t *testing.T) {
	links := []model.Link{
		{Name: "lo", Kind: "", Addresses: prefixes("127.0.0.1/8", "::1/128", "10.3.0.1/32", "fd00:3::1/128")},
		{Name: "eth0", Addresses: prefixes("192.0.2.7/24", "2001:db8::7/64", "fe80::1/64", "169.254.7.7/16")},
		{Name: "docker0", Kind: "bridge", Addresses: prefixes("172.17.0.1/16")},
		{Name: "tun0", Kind: "tun", Addresses: prefixes("10.4.0.1/32", "10.4.1.0/31", "10.5.0.1/0", "64.0.0.1/2", "2000::1/3")},
		{Name: "wg0", Kind: "wireguard", Addresses: prefixes("10.200.0.9/8")},
		{Name: "brx", Kind: "bridge", Addresses: prefixes("10.6.0.1/16", "10.7.0.1/24")},
	}
	part := func(subnet, of, link, address string) string {
		return "network b2b2b2b2b2b2: subnet " + subnet + " is a part of " + of + ", in which interface " + link + " has address " + address + ": the host sends packets for it to bridge brx, not to " + link
	}
	warnings := map[string]string{
		"192.0.2.128/25":      part("192.0.2.128/25", "192.0.2.0/24", "eth0", "192.0.2.7"),
		"2001:db8:0:0:8::/80": part("2001:db8:0:0:8::/80", "2001:db8::/64", "eth0", "2001:db8::7"),
	}
	for _, subnet := range []string{"10.3.0.128/25", "10.4.0.128/25", "10.9.0.0/24", "10.6.5.0/24", "10.7.0.0/24", "10.8.0.0/24"} {
		warnings[subnet] = part(subnet, "10.0.0.0/8", "wg0", "10.200.0.9")
	}
	for subnet, refused := range map[string]string{
		"172.17.5.0/24":       "subnet 172.17.5.0/24 overlaps 172.17.0.0/16, in which interface docker0 has address 172.17.0.1",
		"172.16.0.0/12":       "subnet 172.16.0.0/12 contains 172.17.0.1, an address of interface docker0",
		"172.17.0.0/24":       "subnet 172.17.0.0/24 contains 172.17.0.1, an address of interface docker0",
		"192.0.2.128/25":      "",
		"192.0.2.0/24":        "subnet 192.0.2.0/24 contains 192.0.2.7, an address of interface eth0",
		"192.0.0.0/16":        "subnet 192.0.0.0/16 contains 192.0.2.7, an address of interface eth0",
		"192.0.2.0/25":        "subnet 192.0.2.0/25 contains 192.0.2.7, an address of interface eth0",
		"2001:db8:0:0:8::/80": "",
		"2001:db8::/64":       "subnet 2001:db8::/64 contains 2001:db8::7, an address of interface eth0",
		"2001:db8::/80":       "subnet 2001:db8::/80 contains 2001:db8::7, an address of interface eth0",
		"10.3.0.0/24":         "subnet 10.3.0.0/24 contains 10.3.0.1, an address of interface lo",
		"10.3.0.128/25":       "",
		"fd00:3::/64":         "subnet fd00:3::/64 contains fd00:3::1, an address of interface lo",
		"fd00:3:0:0:8::/80":   "",
		"10.4.0.128/25":       "",
		"10.4.1.0/24":         "subnet 10.4.1.0/24 contains 10.4.1.0, an address of interface tun0",
		"10.5.0.0/24":         "subnet 10.5.0.0/24 contains 10.5.0.1, an address of interface tun0",
		"10.9.0.0/24":         "", // of all that tun0 leads to
		"65.0.0.0/24":         "",
		"2001:db8:1::/64":     "",
		"169.254.8.0/24":      "",
		"169.254.0.0/16":      "subnet 169.254.0.0/16 contains 169.254.7.7, an address of interface eth0",
		"fe80::/64":           "",
		"10.6.5.0/24":         "", // of the network's own bridge
		"10.7.0.0/24":         "",
		"10.8.0.0/24":         "",
	} {
		t.Run(subnet, func(t *testing.T) {
			w := newWorld(t)
			w.host.foreign = links
			w.unchangedIf(refused != "", func() {
				err := w.dualNetwork(netB, userOptions(optBridge, "brx"), subnet)
				if refused == "" {
					must(t, err)
				} else {
					wantErr(t, err, model.ErrConflict, "create network b2b2b2b2b2b2: "+refused)
				}
			})
			if warned := strings.Join(w.said, "\n"); warned != warnings[subnet] {
				t.Errorf("said %q, want %q", warned, warnings[subnet])
			}
		})
	}
}

// A bridge of a network that has no record any more is about to be removed, and so are its
// addresses.
func TestSubnetOfABridgeThatIsAboutToGo(t *testing.T) {
	gone := model.Network{ID: netA, Bridge: "br-a1a1a1a1a1a1"}
	for name, c := range map[string]struct{ alias, refused string }{
		"mybr's":     {gone.Alias(), ""},
		"another's":  {"", "create network b2b2b2b2b2b2: subnet 10.7.0.0/24 contains 10.7.0.1, an address of interface br-a1a1a1a1a1a1"},
		"a recorded": {model.Network{ID: netC}.Alias(), "create network b2b2b2b2b2b2: subnet 10.7.0.0/24 contains 10.7.0.1, an address of interface br-a1a1a1a1a1a1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			must(t, w.createNetwork(netC, "10.9.0.0/24", ""))
			w.host.foreign = []model.Link{{Name: gone.Bridge, Kind: "bridge", Alias: c.alias, Addresses: prefixes("10.7.0.1/24")}}
			err := w.createNetwork(netB, "10.7.0.0/24", "")
			if c.refused == "" {
				must(t, err)
			} else {
				wantErr(t, err, model.ErrConflict, c.refused)
			}
		})
	}
}

func (w *world) unchangedIf(refused bool, do func()) {
	if !refused {
		do()
		return
	}
	w.unchanged(do)
}
