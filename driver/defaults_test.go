package driver

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Values that ask for nothing, or for what is so already, are accepted, from engines before
// 28 (which don't send enable_ipv4) and from 28 on; what can't be honoured is refused, with
// what to write instead. refused28 is "" where both accept; same: as on the older ones.
func TestValuesThatAskForNothing(t *testing.T) {
	const (
		same    = "the same"
		address = `{"AddressSpace":"LocalDefault","Gateway":"10.2.0.1/24","Pool":"10.2.0.0/24"}`
		six     = `{"AddressSpace":"LocalDefault","Gateway":"fd00:2::1/64","Pool":"fd00:2::/64"}`
	)
	enable4, enable6 := enableKey(model.IPv4), enableKey(model.IPv6)
	only := "option com.docker.network.advertise_addr_"
	for _, c := range []struct {
		key, value string
		flags      string // "internal" or "ipv6"
		refused    string
		refused28  string
	}{
		{enable4, "true", "", "", same},
		{enable4, "false", "", "option com.docker.network.enable_ipv4: false: Docker Engine can't create a network without IPv4 before version 28", ""},
		{enable4, "", "", `failed to parse com.docker.network.enable_ipv4 value:  (strconv.ParseBool: parsing "": invalid syntax): want true or false`, same},
		{enable6, "false", "", "", same},
		{enable6, "0", "ipv6", "", same},
		{enable6, "true", "ipv6", "", same},
		{enable6, "true", "", "option com.docker.network.enable_ipv6: true: this Docker Engine does not look at it: create the network with --ipv6", ""},
		{enable6, "maybe", "", `failed to parse com.docker.network.enable_ipv6 value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax): want true or false`, same},
		{optInternal, "false", "", "", same},
		{optInternal, "false", "internal", "", same},
		{optInternal, "true", "internal", "", same},
		{optInternal, "true", "", "option com.docker.network.internal: true: Docker Engine does not look at it: create the network with --internal", same},
		{optInternal, "x", "", `failed to parse com.docker.network.internal value: x (strconv.ParseBool: parsing "x": invalid syntax): want true or false`, same},
		{optDefaultBridge, "false", "", "", same},
		{optDefaultBridge, "F", "", "", same},
		{optDefaultBridge, "true", "", "option com.docker.network.bridge.default_bridge: true: only docker0 is Docker's default bridge, which a plugin can't provide: leave it out", same},
		{optDefaultBridge, "x", "", `failed to parse com.docker.network.bridge.default_bridge value: x (strconv.ParseBool: parsing "x": invalid syntax): want true or false`, same},
		{optTrusted, "", "", "", same},
		{optTrusted, ":", "", "", same},
		{optTrusted, "eth0::eth1:", "", "", same},
		{optAdvertiseCount, "0", "", "", same},
		{optAdvertiseCount, "1", "", "", same},
		{optAdvertiseCount, "3", "", "", same},
		{optAdvertiseCount, "2", "", only + "nmsgs: 2: addresses are announced once before Docker Engine 28: want 0 or 1", ""},
		{optAdvertiseInterval, "1000", "", "", same},
		{optAdvertiseInterval, "2000", "", only + "ms: 2000: addresses are announced once before Docker Engine 28: leave it out", ""},
	} {
		for _, engine := range []string{"before 28", "28"} {
			t.Run(fmt.Sprintf("%s=%s %s on %s", c.key, c.value, c.flags, engine), func(t *testing.T) {
				v6 := ""
				if c.flags == "ipv6" {
					v6 = six
				}
				opts := map[string]any{enable6: c.flags == "ipv6", optGeneric: map[string]string{c.key: c.value}}
				if engine == "28" {
					opts[enable4] = true
				}
				if c.flags == "internal" {
					opts[optInternal] = true
				}
				text, err := json.Marshal(opts)
				must(t, err)
				refused := c.refused
				if engine == "28" && c.refused28 != same {
					refused = c.refused28
				}
				w := newWorld(t)
				err = w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, fmt.Sprintf(
					`{"NetworkID":%q,"Options":%s,"IPv4Data":[%s],"IPv6Data":[%s]}`, netB, text, address, v6)))
				if refused != "" {
					wantErr(t, err, model.ErrInvalid, "create network b2b2b2b2b2b2: "+refused)
					return
				}
				must(t, err)
				if n := w.networkRecord(netB); n.Internal != (c.flags == "internal") || n.V6.Prefix.IsValid() != (v6 != "") || !n.V4.Prefix.IsValid() ||
					n.NoAnnounce != (c.key == optAdvertiseCount && c.value == "0") {
					t.Errorf("have %+v", n)
				}
			})
		}
	}
}

// A default of dockerd's (--default-network-opt) that a flag of the command line overrules:
// from 28 on the engine has looked at both.
func TestOverruledDefaultOfTheEngine(t *testing.T) {
	w := newWorld(t)
	must(t, w.dualNetwork(netA, userOptions(enableKey(model.IPv6), "true"), "10.1.0.0/24"))
	must(t, w.dualNetwork(netB, userOptions(enableKey(model.IPv4), "false"), "10.2.0.0/24", "fd00:2::/64"))
}

// An interface's exact name is refused, save the empty one, which asks for nothing.
func TestInterfaceName(t *testing.T) {
	must(t, endpointOptionsError(map[string]any{optIfname: ""}))
	must(t, endpointOptionsError(map[string]any{optIfname: nil}))
	for _, name := range []any{"eth0", 7.0} {
		wantErr(t, endpointOptionsError(map[string]any{optIfname: name}), model.ErrInvalid,
			"option com.docker.network.endpoint.ifname: Docker does not let a plugin name the interface; "+
				"set the beginning of its name for the network, with -o com.docker.network.container_iface_prefix")
	}
}
