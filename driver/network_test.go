package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// oneNetwork is a request with everything left to vary.
func oneNetwork(id, options, pool string) string {
	return fmt.Sprintf(`{"NetworkID":%q,"Options":%s,"IPv4Data":%s,"IPv6Data":[]}`, id, options, pool)
}

const pool2 = `[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24"}]`

func TestWrongNetworks(t *testing.T) {
	option := func(key, value string) string { return oneNetwork(netB, user(key, value), pool2) }
	pool := func(text string) string { return oneNetwork(netB, "{}", text) }
	pool6 := func(text string) string {
		return `{"NetworkID":"` + netB + `","Options":{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true},"IPv4Data":[],"IPv6Data":` + text + `}`
	}
	const internal = `{"com.docker.network.internal":true}`
	for _, c := range []struct{ request, text string }{
		// options
		{option("foo", "bar"), `option foo is not known`},
		{option("com.docker.network.bridge.nmae", "x"), `option com.docker.network.bridge.nmae is not known: is com.docker.network.bridge.name meant?`},
		{option("mybr.route", "x"), `option mybr.route is not known: is mybr.routes meant?`},
		{option(optMTU, "abc"), `failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax): want a number of bytes from 68 to 65535`},
		{option(optMTU, "a\nb"), `failed to parse com.docker.network.driver.mtu value: "a\nb" (strconv.Atoi: parsing "a\nb": invalid syntax): want a number of bytes from 68 to 65535`},
		{option(optMTU, "67"), `failed to parse com.docker.network.driver.mtu value: 67 (invalid argument): want a number of bytes from 68 to 65535`},
		{option(optMTU, "65536"), `failed to parse com.docker.network.driver.mtu value: 65536 (invalid argument): want a number of bytes from 68 to 65535`},
		{option(optMTU, "-1"), `failed to parse com.docker.network.driver.mtu value: -1 (invalid MTU number: -1): want a number of bytes from 68 to 65535`},
		{option(optICC, "maybe"), `failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax): want true or false`},
		{option(optMasquerade, ""), `failed to parse com.docker.network.bridge.enable_ip_masquerade value:  (strconv.ParseBool: parsing "": invalid syntax): want true or false`},
		{option(optInhibit, "yes"), `failed to parse com.docker.network.bridge.inhibit_ipv4 value: yes (strconv.ParseBool: parsing "yes": invalid syntax): want true or false`},
		{option(optHostBinding, "localhost"), `failed to parse com.docker.network.bridge.host_binding_ipv4 value: localhost (nil ip): want an IP address`},
		{option(optHostBinding, "224.0.0.1"), `failed to parse com.docker.network.bridge.host_binding_ipv4 value: 224.0.0.1 (invalid argument): want an address that a host can have`},
		{option(snatKey(model.IPv4), "::1"), `failed to parse com.docker.network.host_ipv4 value: ::1 (invalid argument): want an IPv4 address that can be a source address`},
		{option(snatKey(model.IPv4), "foo"), `failed to parse com.docker.network.host_ipv4 value: foo (nil ip): want an IPv4 address that can be a source address`},
		{option(snatKey(model.IPv6), "192.0.2.7"), `failed to parse com.docker.network.host_ipv6 value: 192.0.2.7 (invalid argument): want an IPv6 address that can be a source address`},
		{option(snatKey(model.IPv6), ""), `failed to parse com.docker.network.host_ipv6 value:  (nil ip): want an IPv6 address that can be a source address`},
		{option(modeKey(model.IPv4), "foo"), `failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: foo (unknown gateway mode foo): want nat, nat-unprotected, routed or isolated`},
		{option(modeKey(model.IPv6), ""), `failed to parse com.docker.network.bridge.gateway_mode_ipv6 value:  (unknown gateway mode ): want nat, nat-unprotected, routed or isolated`},
		{option(modeKey(model.IPv4), "isolated"), `option com.docker.network.bridge.gateway_mode_ipv4: gateway mode 'isolated' can only be used for an internal network`},
		{option(modeKey(model.IPv6), "isolated"), `option com.docker.network.bridge.gateway_mode_ipv6: gateway mode 'isolated' can only be used for an internal network`},
		{option(optTrusted, "eth0:a/b"), `failed to parse com.docker.network.bridge.trusted_host_interfaces value: eth0:a/b ("a/b" has other characters than letters, digits, _, . and (not at the beginning) -)`},
		{option(optTrusted, "eth+"), `failed to parse com.docker.network.bridge.trusted_host_interfaces value: eth+ ("eth+" has other characters than letters, digits, _, . and (not at the beginning) -)`},
		{option(optAdvertiseCount, "foo"), `value for option com.docker.network.advertise_addr_nmsgs "foo" must be an integer`},
		{option(optAdvertiseCount, "4"), `com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3: it is 4`},
		{option(optAdvertiseInterval, ""), `value for option com.docker.network.advertise_addr_ms "" must be integer milliseconds`},
		{option(optAdvertiseInterval, "99"), `com.docker.network.advertise_addr_ms must be in the range 100 to 2000: it is 99`},
		{option(optBridge, "a/b"), `failed to parse com.docker.network.bridge.name value: a/b ("a/b" has other characters than letters, digits, _, . and (not at the beginning) -)`},
		{option(optBridge, "br+"), `failed to parse com.docker.network.bridge.name value: br+ ("br+" has other characters than letters, digits, _, . and (not at the beginning) -)`},
		{option(optBridge, "-br"), `failed to parse com.docker.network.bridge.name value: -br ("-br" has other characters than letters, digits, _, . and (not at the beginning) -)`},
		{option(optBridge, "sixteen-bytes-ab"), `failed to parse com.docker.network.bridge.name value: sixteen-bytes-ab ("sixteen-bytes-ab" is not 1 to 15 bytes long)`},
		{option(optBridge, "all"), `failed to parse com.docker.network.bridge.name value: all (it can't be the name of a bridge)`},
		{option(optBridge, ".."), `failed to parse com.docker.network.bridge.name value: .. (it can't be the name of a bridge)`},
		{option(optIfacePrefix, "fourteen-bytes"), `failed to parse com.docker.network.container_iface_prefix value: fourteen-bytes ("fourteen-bytes" is not 1 to 13 bytes long)`},
		{option(optRoutes, "10.9.0.0"), `failed to parse mybr.routes value: 10.9.0.0 ("10.9.0.0" does not begin with a prefix such as 10.9.0.0/16 or fd00:9::/64)`},
		{option(optRoutes, "10.9.0.1/16"), `failed to parse mybr.routes value: 10.9.0.1/16 ("10.9.0.1/16" has bits behind the prefix length: did you mean 10.9.0.0/16?)`},
		{option(optRoutes, "10.9.0.0/16 dev eth0"), `failed to parse mybr.routes value: 10.9.0.0/16 dev eth0 ("10.9.0.0/16 dev eth0" is not of the form PREFIX or PREFIX via ADDRESS)`},
		{option(optRoutes, "10.9.0.0/16 via eth0"), `failed to parse mybr.routes value: 10.9.0.0/16 via eth0 ("10.9.0.0/16 via eth0" has no IPv4 address behind via)`},
		{option(optRoutes, "fd00:9::/64 via 10.2.0.9"), `failed to parse mybr.routes value: fd00:9::/64 via 10.2.0.9 ("fd00:9::/64 via 10.2.0.9" has no IPv6 address behind via)`},
		{option(optRoutes, "10.9.0.0/16 via 10.3.0.1"), `option mybr.routes: next hop 10.3.0.1 is not in subnet 10.2.0.0/24`},
		{option(optRoutes, "fd00:9::/64"), `option mybr.routes: fd00:9::/64 is an IPv6 prefix, but IPv6 is off`},
		{option(optRoutes, "10.9.0.0/16,10.9.0.0/16"), `failed to parse mybr.routes value: 10.9.0.0/16,10.9.0.0/16 (there are two routes to 10.9.0.0/16)`},
		{option(optRoutes, "10.2.0.0/24"), `option mybr.routes: 10.2.0.0/24 is the subnet of the network`},
		{option(optRoutes, "0.0.0.0/0 via 10.2.0.9"), `failed to parse mybr.routes value: 0.0.0.0/0 via 10.2.0.9 ("0.0.0.0/0 via 10.2.0.9" is a default route: give the gateway with --gateway or --aux-address DefaultGatewayIPv4=ADDRESS)`},
		{option(optRoutes, "::/0"), `failed to parse mybr.routes value: ::/0 ("::/0" is a default route: give the gateway with --gateway or --aux-address DefaultGatewayIPv6=ADDRESS)`},
		// JSON types
		{oneNetwork(netB, `{"com.docker.network.generic":{"com.docker.network.driver.mtu":1500}}`, pool2), `option com.docker.network.driver.mtu: have a number, want a string`},
		{oneNetwork(netB, `{"com.docker.network.generic":"x"}`, pool2), `option com.docker.network.generic: have a string, want an object`},
		{oneNetwork(netB, `{"com.docker.network.internal":"true"}`, pool2), `option com.docker.network.internal: have a string, want a boolean`},
		// families
		{oneNetwork(netB, `{"com.docker.network.enable_ipv4":false}`, `[]`), `IPv4 or IPv6 must be enabled`},
		{oneNetwork(netB, `{"com.docker.network.enable_ipv6":true}`, pool2), `ipv6 pool is empty: there is no IPv6 subnet`},
		{oneNetwork(netB, `{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true}`, pool2), `there is an IPv4 subnet, but IPv4 is off`},
		{strings.Replace(pool(pool2), `"IPv6Data":[]`, `"IPv6Data":[{"Pool":"fd00::/64"}]`, 1), `there is an IPv6 subnet, but IPv6 is off`},
		// subnets
		{pool(`[]`), `ipv4 pool is empty: there is no IPv4 subnet`},
		{pool(`[null]`), `ipv4 pool is empty: there is no IPv4 subnet`},
		{pool(`[{"Pool":"10.2.0.0/24"},{"Pool":"10.3.0.0/24"}]`), `there are 2 IPv4 subnets: bridge driver doesn't support multiple subnets`},
		{pool(`[{"Pool":"10.2.0/24"}]`), `"10.2.0/24" is not an IPv4 subnet`},
		{pool(`[{"Pool":"fd00::/64"}]`), `"fd00::/64" is not an IPv4 subnet`},
		{pool(`[{"AddressSpace":"null","Pool":"0.0.0.0/0"}]`), `ipv4 pool is empty: subnet 0.0.0.0/0 is none, and the IPAM driver null has no other`},
		{pool(`[{"Pool":"127.5.0.0/16","Gateway":"127.5.0.1/16"}]`), `subnet 127.5.0.0/16 overlaps 127.0.0.0/8 (loopback), which no host can have addresses of`},
		{pool(`[{"Pool":"10.2.0.0/24"}]`), `there is no IPv4 address for the bridge: name one with --gateway, or have a bridge without an address with -o com.docker.network.bridge.inhibit_ipv4=true or --internal -o com.docker.network.bridge.gateway_mode_ipv4=isolated`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.3.0.1/24"}]`), `gateway 10.3.0.1 is not in subnet 10.2.0.0/24`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.0/24"}]`), `gateway 10.2.0.0 is the address of subnet 10.2.0.0/24 itself`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.255/24"}]`), `gateway 10.2.0.255 is the broadcast address of subnet 10.2.0.0/24`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"first"}]`), `gateway "first" is not an IPv4 address with a prefix length`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24","AuxAddresses":{"DefaultGatewayIPv4":"10.3.0.9/24"}}]`), `auxiliary address DefaultGatewayIPv4 10.3.0.9 is not in subnet 10.2.0.0/24`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24","AuxAddresses":{"DefaultGatewayIPv4":"x"}}]`), `auxiliary address DefaultGatewayIPv4: "x" is not an IPv4 address`},
		{pool(`[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24","AuxAddresses":{"DefaultGatewayIPv4":9}}]`), `option DefaultGatewayIPv4: have a number, want a string`},
		{oneNetwork(netB, internal, `[{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24","AuxAddresses":{"DefaultGatewayIPv4":"10.2.0.9/24"}}]`), `auxiliary address DefaultGatewayIPv4: no gateway can be set on an internal bridge network`},
		{pool6(`[{"Pool":"fd00:2::/64"},{"Pool":"fd00:3::/64"}]`), `there are 2 IPv6 subnets: bridge driver doesn't support multiple subnets`},
		{pool6(`[{"AddressSpace":"null","Pool":"::/0"}]`), `ipv6 pool is empty: subnet ::/0 is none, and the IPAM driver null has no other`},
		{pool6(`[{"Pool":"10.2.0.0/24"}]`), `"10.2.0.0/24" is not an IPv6 subnet`},
		{pool6(`[{"Pool":"::ffff:10.2.0.0/120"}]`), `"::ffff:10.2.0.0/120" is not an IPv6 subnet`},
		{pool6(`[{"Pool":"ff02::/64","Gateway":"ff02::1/64"}]`), `multicast subnet 'ff02::1/64' is not allowed`},
		{pool6(`[{"Pool":"::/64","Gateway":"::1/64"}]`), `subnet ::/64 overlaps ::/128 (unspecified), which no host can have addresses of`},
		{pool6(`[{"Pool":"fe80::/63","Gateway":"fe80::1/63"}]`), `'fe80::1/63' clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
		{pool6(`[{"Pool":"fe80::/66","Gateway":"fe80::1/66"}]`), `'fe80::1/66' clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
		{pool6(`[{"Pool":"fe80::/10"}]`), `'fe80::/10' clashes with the Link-Local prefix 'fe80::/64': want exactly that or nothing of it`},
		{pool6(`[{"Pool":"fd00:2::/64"}]`), `there is no IPv6 address for the bridge: name one with --gateway, or have a bridge without an address with --internal -o com.docker.network.bridge.gateway_mode_ipv6=isolated`},
		{pool6(`[{"Pool":"fd00:2::/64","Gateway":"fd00:2::/64"}]`), `gateway fd00:2:: is the address of subnet fd00:2::/64 itself`},
		{pool6(`[{"Pool":"fd00:2::/64","Gateway":"fd00:3::1/64"}]`), `gateway fd00:3::1 is not in subnet fd00:2::/64`},
		{pool6(`[{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64","AuxAddresses":{"DefaultGatewayIPv6":"10.2.0.9"}}]`), `auxiliary address DefaultGatewayIPv6: "10.2.0.9" is not an IPv6 address`},
		{strings.Replace(pool6(`[{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64","AuxAddresses":{"DefaultGatewayIPv6":"fd00:2::9/64"}}]`), `{"com`, `{"com.docker.network.internal":true,"com`, 1), `auxiliary address DefaultGatewayIPv6: no gateway can be set on an internal bridge network`},
	} {
		w := newWorld(t)
		w.unchanged(func() {
			err := w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, c.request))
			wantErr(t, err, model.ErrInvalid, "create network b2b2b2b2b2b2: "+c.text)
		})
		if w.sync.n != 0 {
			t.Errorf("%s: synced", c.text)
		}
		w.store.Close()
	}
}

func TestWrongNetworkIDs(t *testing.T) {
	w := newWorld(t)
	for id, text := range map[string]string{
		"":                       `create network "": the network ID is missing`,
		"../../etc":              `create network "../../etc": the network ID "../../etc" has other characters than letters, digits, _ and -`,
		strings.Repeat("a", 129): `create network aaaaaaaaaaaa: the network ID is longer than 128 characters`,
	} {
		wantErr(t, w.createNetwork(id, "10.2.0.0/24", ""), model.ErrInvalid, text)
	}
}

func TestNetworkConflicts(t *testing.T) {
	w := newWorld(t)
	br0 := userOptions(optBridge, "br0")
	must(t, w.dualNetwork(netA, br0, "10.1.0.0/16", "fd00:1::/64"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.9/16", "fd00:1::9/64"))
	must(t, w.join(netA, ep1)) // so that it is in use
	w.host.foreign = []model.Link{
		{Name: "eth0", Addresses: prefixes("192.0.2.7/24", "2001:db8::7/64", "fe80::1/64")},
		{Name: "dummy0", Kind: "dummy", Addresses: prefixes("10.2.0.77/32")},
		{Name: "brx", Kind: "bridge", Addresses: prefixes("10.4.0.1/24", "10.4.0.2/24")},
	}
	clash := func(bridge, text string) string {
		return "cannot create network " + netB + " (" + bridge + "): conflicts with network " + netA + " (br0): " + text
	}
	for _, c := range []struct{ subnet, bridge, text string }{
		{"10.9.0.0/24", "br0", clash("br0", "networks have same bridge name")},
		{"10.1.7.0/24", "br1", clash("br1", "networks have overlapping IPv4: 10.1.7.0/24 and 10.1.0.0/16")},
		{"10.0.0.0/8", "br1", clash("br1", "networks have overlapping IPv4: 10.0.0.0/8 and 10.1.0.0/16")},
		{"fd00:1:0:0:1::/80", "br1", clash("br1", "networks have overlapping IPv6: fd00:1:0:0:1::/80 and fd00:1::/64")},
		{"10.2.0.0/16", "br1", "subnet 10.2.0.0/16 contains 10.2.0.77, an address of interface dummy0"},
		{"192.0.2.0/24", "br1", "subnet 192.0.2.0/24 contains 192.0.2.7, an address of interface eth0"},
		{"2001:db8::/32", "br1", "subnet 2001:db8::/32 contains 2001:db8::7, an address of interface eth0"},
		{"10.9.0.0/24", "eth0", "existing interface eth0 is not a bridge"},
		{"10.4.0.0/24", "br1", "subnet 10.4.0.0/24 contains 10.4.0.1, an address of interface brx"},
	} {
		w.unchanged(func() {
			wantErr(t, w.dualNetwork(netB, userOptions(optBridge, c.bridge), c.subnet), model.ErrConflict, "create network b2b2b2b2b2b2: "+c.text)
		})
	}
	w.unchanged(func() {
		err := w.dualNetwork(netA, userOptions(optBridge, "br0", optMTU, "1400"), "10.1.0.0/16", "fd00:1::/64")
		wantErr(t, err, model.ErrExists, "create network a1a1a1a1a1a1: there is a network of this ID with other settings")
		w.host.err = errors.New("netlink is tired")
		if err := w.createNetwork(netB, "10.9.0.0/24", ""); !errors.Is(err, w.host.err) {
			t.Errorf("have error %v", err)
		}
	})
}

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestBridgeThatIsThere(t *testing.T) {
	for _, c := range []struct {
		name        string
		link        model.Link
		owned, kept bool
	}{
		{"somebody's", model.Link{Name: "brx", Kind: "bridge"}, false, false},
		{"somebody's with the address", model.Link{Name: "brx", Kind: "bridge", Addresses: prefixes("10.2.0.1/24", "10.2.0.9/24")}, false, true},
		{"somebody's with the address in another subnet", model.Link{Name: "brx", Kind: "bridge", Addresses: prefixes("10.2.0.1/16")}, false, false},
		{"a leftover", model.Link{Name: "brx", Kind: "bridge", Alias: "mybr network " + netA, Addresses: prefixes("10.2.0.1/24")}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.host.foreign = []model.Link{c.link}
			must(t, w.createNetwork(netB, "10.2.0.0/24", user(optBridge, "brx")))
			n := w.networkRecord(netB)
			if n.Owned != c.owned || n.V4.AddressKept != c.kept || n.BridgeMAC.IsZero() == c.owned {
				t.Errorf("have owned %v, address kept %v, MAC %s", n.Owned, n.V4.AddressKept, n.BridgeMAC)
			}
			if !reflect.DeepEqual(w.sync.about, []string{"brx"}) {
				t.Errorf("synced about %v", w.sync.about)
			}
			w.unchanged(func() { must(t, w.createNetwork(netB, "10.2.0.0/24", user(optBridge, "brx"))) })
		})
	}
}

func TestGateways(t *testing.T) {
	const internal, inhibit = `"com.docker.network.internal":true`, `"com.docker.network.generic":{"com.docker.network.bridge.inhibit_ipv4":"true"}`
	for _, c := range []struct{ name, options, pool, address, gateway string }{
		{"plain", `{}`, pool2, "10.2.0.1/24", "10.2.0.1"},
		{"host bits in the pool", `{}`, `[{"Pool":"10.2.0.9/24","Gateway":"10.2.0.1/32"}]`, "10.2.0.1/24", "10.2.0.1"},
		{"internal", `{` + internal + `}`, pool2, "10.2.0.1/24", ""},
		{"inhibited", `{` + inhibit + `}`, pool2, "", "10.2.0.1"},
		{"inhibited without gateway", `{` + inhibit + `}`, `[{"Pool":"10.2.0.0/24"}]`, "", ""},
		{"inhibited, auxiliary", `{` + inhibit + `}`, `[{"Pool":"10.2.0.0/24","AuxAddresses":{"DefaultGatewayIPv4":"10.2.0.9/24"}}]`, "", "10.2.0.9"},
		{"internal and inhibited", `{` + internal + `,` + inhibit + `}`, pool2, "", ""},
		{"/31", `{}`, `[{"Pool":"10.2.0.0/31","Gateway":"10.2.0.0/31"}]`, "10.2.0.0/31", "10.2.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			must(t, w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, oneNetwork(netB, c.options, c.pool))))
			v4 := w.networkRecord(netB).V4
			if text(v4.Address) != c.address || text(v4.Gateway) != c.gateway {
				t.Errorf("have address %s, gateway %s", v4.Address, v4.Gateway)
			}
			if v4.Prefix.Bits() == 31 {
				return
			}
			_, err := w.createEndpoint(netB, ep1, "10.2.0.2/24")
			must(t, err)
			res, err := w.Join(ctx, &network.JoinRequest{NetworkID: netB, EndpointID: ep1, SandboxKey: sandbox})
			must(t, err)
			if res.Gateway != c.gateway || res.DisableGatewayService != (c.gateway == "") {
				t.Errorf("joined with %+v", res)
			}
		})
	}
}

// text is "" for the zero value of an address or a prefix.
func text(v interface{ MarshalText() ([]byte, error) }) string {
	b, _ := v.MarshalText()
	return string(b)
}

func TestGwAllocCheck(t *testing.T) {
	w := newWorld(t)
	const internal = `"com.docker.network.internal":true,`
	for _, c := range []struct {
		internal string
		user     []string
		v4, v6   bool
	}{
		{"", nil, false, false},
		{internal, nil, false, false},
		{"", []string{optInhibit, "1"}, false, false},
		{internal, []string{optInhibit, "1"}, true, false},
		{internal, []string{modeKey(model.IPv4), "isolated"}, true, false},
		{internal, []string{modeKey(model.IPv6), "isolated"}, false, true},
		{internal, []string{modeKey(model.IPv4), "isolated", modeKey(model.IPv6), "isolated"}, true, true},
		{internal, []string{modeKey(model.IPv4), "routed", modeKey(model.IPv6), "nat-unprotected"}, false, false},
	} {
		generic, _ := json.Marshal(userOptions(c.user...))
		options := fmt.Sprintf(`{%s"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true,"com.docker.network.generic":%s}`, c.internal, generic)
		res, err := w.GwAllocCheck(ctx, decode[GwAllocCheckRequest](t, `{"Options":`+options+`}`))
		must(t, err)
		if res.SkipIPv4 != c.v4 || res.SkipIPv6 != c.v6 {
			t.Errorf("%s: have %+v", options, *res)
		}
	}
	_, err := w.GwAllocCheck(ctx, decode[GwAllocCheckRequest](t, `{"Options":`+user("foo", "")+`}`))
	wantErr(t, err, model.ErrInvalid, "create network: option foo is not known")
}

// A host without IPv6 has all of IPv4, and says why it has no more.
func TestHostWithoutIPv6(t *testing.T) {
	w := newWorld(t)
	w.noIPv6 = errors.New("ip6tables is missing")
	w.restart()
	const text = "IPv6 can't be had on this host: ip6tables is missing"
	w.unchanged(func() {
		wantErr(t, w.dualNetwork(netB, nil, "10.2.0.0/24", "fd00:2::/64"), model.ErrInvalid, "create network b2b2b2b2b2b2: "+text)
		_, err := w.GwAllocCheck(ctx, decode[GwAllocCheckRequest](t, `{"Options":{"com.docker.network.enable_ipv6":true}}`))
		wantErr(t, err, model.ErrInvalid, "create network: "+text)
	})
	must(t, w.dualNetwork(netB, userOptions(modeKey(model.IPv6), "routed"), "10.2.0.0/24"))
}

// What each option makes of the record.
func TestOptionsInTheRecord(t *testing.T) {
	type change = func(n *model.Network)
	both := func(how func(s *model.Subnet)) change { return func(n *model.Network) { how(&n.V4); how(&n.V6) } }
	for _, c := range []struct {
		user []string
		want change
	}{
		{nil, func(*model.Network) {}},
		{[]string{optBridge, ""}, func(*model.Network) {}},
		{[]string{optBridge, "lab0"}, func(n *model.Network) { n.Bridge = "lab0" }},
		{[]string{optMTU, "0"}, func(*model.Network) {}},
		{[]string{optMTU, "9000"}, func(n *model.Network) { n.MTU = 9000 }},
		{[]string{optICC, "false"}, func(n *model.Network) { n.ICC = false }},
		{[]string{optMasquerade, "F"}, both(func(s *model.Subnet) { s.Masquerade = false })},
		{[]string{optInhibit, "true"}, func(n *model.Network) { n.V4.Address = netip.Prefix{} }},
		{[]string{optIfacePrefix, ""}, func(*model.Network) {}},
		{[]string{optIfacePrefix, "net"}, func(n *model.Network) { n.IfacePrefix = "net" }},
		{[]string{optHostBinding, "::1"}, func(n *model.Network) { n.HostBinding = netip.MustParseAddr("::1") }},
		{[]string{snatKey(model.IPv4), "192.0.2.7"}, func(n *model.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.7") }},
		{[]string{snatKey(model.IPv6), "2001:db8::7"}, func(n *model.Network) { n.V6.SNAT = netip.MustParseAddr("2001:db8::7") }},
		{[]string{modeKey(model.IPv4), "nat"}, func(*model.Network) {}},
		{[]string{modeKey(model.IPv4), "nat-unprotected"}, func(n *model.Network) { n.V4.Mode = model.ModeNATUnprotected }},
		{[]string{modeKey(model.IPv6), "routed"}, func(n *model.Network) { n.V6.Mode = model.ModeRouted }},
		{[]string{optTrusted, ""}, func(*model.Network) {}},
		{[]string{optTrusted, "wg0:eth1:wg0"}, func(n *model.Network) { n.Trusted = []string{"eth1", "wg0"} }},
		{[]string{optAdvertiseCount, "0", optAdvertiseInterval, "2000"}, func(n *model.Network) { n.NoAnnounce = true }},
		{[]string{optRoutes, "fd00:9::/64 via fd00:2::7,10.9.0.0/16"}, func(n *model.Network) {
			n.Routes = []model.Route{
				{Destination: netip.MustParsePrefix("fd00:9::/64"), NextHop: netip.MustParseAddr("fd00:2::7")},
				{Destination: netip.MustParsePrefix("10.9.0.0/16")},
			}
		}},
	} {
		w := newWorld(t)
		must(t, w.dualNetwork(netB, userOptions(c.user...), "10.2.0.0/24", "fd00:2::/64"))
		have := w.networkRecord(netB)
		have.BridgeMAC = model.MAC{}
		want := model.Network{
			ID: netB, Bridge: "br-b2b2b2b2b2b2", Owned: true, ICC: true, IfacePrefix: "eth",
			V4: model.Subnet{
				Prefix: netip.MustParsePrefix("10.2.0.0/24"), Gateway: netip.MustParseAddr("10.2.0.1"),
				Address: netip.MustParsePrefix("10.2.0.1/24"), Masquerade: true, Space: "LocalDefault",
			},
			V6: model.Subnet{
				Prefix: netip.MustParsePrefix("fd00:2::/64"), Gateway: netip.MustParseAddr("fd00:2::1"),
				Address: netip.MustParsePrefix("fd00:2::1/64"), Masquerade: true, Space: "LocalDefault",
			},
		}
		c.want(&want)
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%q: have %+v\nwant %+v", c.user, have, want)
		}
		w.store.Close()
	}
}

// Each family of a network has addresses of its own: as Docker sends them, what is on the
// bridge, and the default route of the containers.
func TestFamiliesOfANetwork(t *testing.T) {
	for _, c := range []struct {
		name, options, ipv4, ipv6              string
		address4, gateway4, address6, gateway6 string
	}{
		{"both", `{}`, `{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24"}`, `{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64"}`,
			"10.2.0.1/24", "10.2.0.1", "fd00:2::1/64", "fd00:2::1"},
		{"IPv6 alone", `{}`, ``, `{"Pool":"2001:db8:2::/126","Gateway":"2001:db8:2::1/126"}`, "", "", "2001:db8:2::1/126", "2001:db8:2::1"},
		{"/127", `{}`, ``, `{"Pool":"fd00:2::/127","Gateway":"fd00:2::/127"}`, "", "", "fd00:2::/127", "fd00:2::"},
		{"link-local", `{}`, ``, `{"Pool":"fe80::/64","Gateway":"fe80::1/64"}`, "", "", "fe80::1/64", "fe80::1"},
		{"auxiliary", `{}`, `{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24"}`,
			`{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64","AuxAddresses":{"DefaultGatewayIPv6":"fd00:2::9/64"}}`,
			"10.2.0.1/24", "10.2.0.1", "fd00:2::1/64", "fd00:2::9"},
		{"internal", `{"com.docker.network.internal":true}`, `{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24"}`,
			`{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64"}`, "10.2.0.1/24", "", "fd00:2::1/64", ""},
		{"isolated, with no gateway from 28 on", isolatedBoth, `{"Pool":"10.2.0.0/31"}`, `{"Pool":"fd00:2::/64"}`, "", "", "", ""},
		{"isolated, with the gateway of 20.10", isolatedBoth, `{"Pool":"10.2.0.0/24","Gateway":"10.2.0.1/24"}`,
			`{"Pool":"fd00:2::/64","Gateway":"fd00:2::1/64"}`, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := decode[network.CreateNetworkRequest](t, fmt.Sprintf(`{"NetworkID":%q,"Options":%s,"IPv4Data":[%s],"IPv6Data":[%s]}`, netB, c.options, c.ipv4, c.ipv6))
			r.Options[enableKey(model.IPv4)], r.Options[enableKey(model.IPv6)] = c.ipv4 != "", true
			w.host.foreign = []model.Link{{Name: "eth0", Addresses: prefixes("fe80::1/64")}}
			must(t, w.CreateNetwork(ctx, r))
			n := w.networkRecord(netB)
			if have, want := []string{text(n.V4.Address), text(n.V4.Gateway), text(n.V6.Address), text(n.V6.Gateway)},
				[]string{c.address4, c.gateway4, c.address6, c.gateway6}; !reflect.DeepEqual(have, want) {
				t.Errorf("have %q, want %q", have, want)
			}
			w.unchanged(func() { must(t, w.CreateNetwork(ctx, r)) })
		})
	}
}

const isolatedBoth = `{"com.docker.network.internal":true,"com.docker.network.generic":{` +
	`"com.docker.network.bridge.gateway_mode_ipv4":"isolated","com.docker.network.bridge.gateway_mode_ipv6":"isolated"}}`

// An address that a bridge had before stays, in either family.
func TestAddressesThatWereThere(t *testing.T) {
	w := newWorld(t)
	w.host.foreign = []model.Link{{Name: "brx", Kind: "bridge", Addresses: prefixes("10.2.0.9/24", "fe80::77/64", "fd00:2::1/64")}}
	must(t, w.dualNetwork(netB, userOptions(optBridge, "brx"), "10.2.0.0/24", "fd00:2::/64"))
	if n := w.networkRecord(netB); n.Owned || n.V4.AddressKept || !n.V6.AddressKept {
		t.Errorf("have %+v", n)
	}
}

func TestDeleteNetworkTakesItsEndpoints(t *testing.T) {
	w := newWorld(t)
	w.running()
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
	must(t, err)
	must(t, w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA}))
	s := w.store.Snapshot()
	if len(s.Networks) != 1 || s.Networks[0].ID != netB || len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 {
		t.Errorf("left: %+v", s)
	}
}
