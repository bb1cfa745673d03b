package model_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/model"
)

var longID = strings.Repeat("0123456789abcdef", 4)

// What fits into an alias is read back as it was recorded, and whose it is stays plain.
func TestNetworkAliasIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
		n := model.Network{ID: longID, Internal: flag("internal"), ICC: flag("icc"), NoAnnounce: flag("quiet"),
			MTU: rapid.SampledFrom([]int{0, 1400, 9000}).Draw(t, "mtu"), IfacePrefix: rapid.SampledFrom([]string{"", "eth", "a b=+%,"}).Draw(t, "iface")}
		if flag("host") {
			n.HostBinding = netip.MustParseAddr("192.0.2.1")
		}
		if flag("trusted") {
			n.Trusted = []string{"eth0", "wg 0,"}
		}
		if flag("limits") {
			n.From = []model.Limit{{From: []string{"10.0.0.0/8", "@office"}}, {Port: 53, Proto: model.UDP}, {Port: 8080, From: []string{"0.0.0.0/0", "::/0"}},
				{Via: []string{"br-lan", "eth0.10"}}, {Proto: model.UDP, Port: 53, Via: []string{"*"}}}
		}
		n.Policy = rapid.SampledFrom([]string{"", model.PublishOpen, model.PublishHost}).Draw(t, "policy")
		n.Spoof.Mode = rapid.SampledFrom([]string{"", model.SpoofRefuse, model.SpoofAudit, model.SpoofAllow}).Draw(t, "spoof")
		n.EgressMode = rapid.SampledFrom([]string{"", "audit"}).Draw(t, "egress mode")
		n.Egress = rapid.SampledFrom([]string{"", "none", "10.0.0.0/8:443/tcp,@apis"}).Draw(t, "egress")
		if n.ICC {
			n.ICCList = rapid.SampledFrom([]string{"", "*>dns:53/udp,web>db:5432"}).Draw(t, "iccList")
		}
		if flag("routes") {
			n.Routes = []model.Route{{Destination: netip.MustParsePrefix("10.9.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}, {Destination: netip.MustParsePrefix("10.8.0.0/16")}}
		}
		for _, f := range model.Families() {
			prefix := map[model.Family]string{model.IPv4: "10.0.0.0/24", model.IPv6: "fd00:1::/64"}[f]
			if flag(f.String()) {
				*n.Subnet(f) = drawSubnet(t, netip.MustParsePrefix(prefix))
			}
		}
		alias := n.Alias(model.IPv6)
		if len(alias) > 255 || model.AliasOwner(alias) != model.AliasNetwork+longID {
			t.Fatalf("%d bytes: %q", len(alias), alias)
		}
		have, complete, ok := model.ParseNetworkAlias(alias)
		if !ok || complete != !strings.HasSuffix(alias, " +") {
			t.Fatalf("%q: ok %t, complete %t", alias, ok, complete)
		}
		if complete && (!reflect.DeepEqual(have, n) || !slices.Equal(model.AliasForwarding(alias), []model.Family{model.IPv6})) {
			t.Fatalf("%q\nhave %+v\nwant %+v", alias, have, n)
		}
		if closed := []model.Limit{{}}; !reflect.DeepEqual(have.From, n.From) && !reflect.DeepEqual(have.From, closed) {
			t.Fatalf("%q: limits are %v, were %v", alias, have.From, n.From)
		}
		if have.Spoof != n.Spoof || have.Policy != n.Policy {
			t.Fatalf("%q: %+v, policy %q", alias, have.Spoof, have.Policy)
		}
		if have.EgressMode != n.EgressMode {
			t.Fatalf("%q: egress mode is %q, was %q", alias, have.EgressMode, n.EgressMode)
		}
		if have.Egress != n.Egress && (have.Egress != "none" || n.Egress == "") {
			t.Fatalf("%q: egress list is %q, was %q", alias, have.Egress, n.Egress)
		}
		if have.ICCInForce() != n.ICCInForce() && (have.ICCInForce() != model.ICCNone || !n.ICCListed()) {
			t.Fatalf("%q: containers may begin %q, was %q", alias, have.ICCInForce(), n.ICCInForce())
		}
		if have.Internal != n.Internal || have.ICC != n.ICC || have.V4.Prefix != n.V4.Prefix || have.V6 != n.V6 && complete {
			t.Fatalf("%q: the most important facts are %+v", alias, have)
		}
	})
}

func drawSubnet(t *rapid.T, p netip.Prefix) model.Subnet {
	flag := func(name string) bool { return rapid.Bool().Draw(t, p.String()+" "+name) }
	s := model.Subnet{Prefix: p, Masquerade: flag("masquerade"), AddressKept: flag("kept"),
		Space: rapid.SampledFrom([]string{"", "LocalDefault", "mybr-local"}).Draw(t, "space"),
		Mode:  rapid.SampledFrom([]model.Mode{model.ModeNAT, model.ModeNATUnprotected, model.ModeRouted, model.ModeIsolated}).Draw(t, "mode")}
	if flag("gateway") {
		s.Gateway = p.Addr().Next()
	}
	switch {
	case flag("address") && s.Gateway.IsValid():
		s.Address = netip.PrefixFrom(s.Gateway, p.Bits())
	case flag("other address"):
		s.Address = netip.PrefixFrom(p.Addr().Next().Next(), p.Bits())
	}
	if flag("snat") {
		s.SNAT = netip.MustParseAddr("192.0.2.7")
	}
	return s
}

func TestEndpointAliasIsReadBack(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00:1::2/64")
	binding := func(host string, first uint16, container netip.Addr, to, count uint16) model.PortBinding {
		return model.PortBinding{Proto: model.TCP, Host: netip.AddrPortFrom(netip.MustParseAddr(host), first), Container: netip.AddrPortFrom(container, to), Count: count}
	}
	mac := model.MAC{2, 0x42, 0, 0, 0, 9}
	for name, c := range map[string]struct {
		e        model.Endpoint
		n        model.Network
		complete bool
	}{
		"plain":           {model.Endpoint{MAC: mac, V4: v4}, model.Network{Owned: true}, true},
		"of both":         {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, V6: v6}, model.Network{Owned: true}, true},
		"foreign bridge":  {model.Endpoint{MAC: mac, V4: v4, NetworkID: longID}, model.Network{ICC: true, V4: model.Subnet{Masquerade: true}}, true},
		"published":       {model.Endpoint{MAC: mac, V4: v4, V6: v6, Ports: []model.PortBinding{binding("0.0.0.0", 80, v4.Addr(), 8080, 1), binding("::", 80, v6.Addr(), 8080, 1)}}, model.Network{Owned: true}, true},
		"relayed":         {model.Endpoint{MAC: mac, V4: v4, Ports: []model.PortBinding{binding("0.0.0.0", 80, v4.Addr(), 8080, 3), binding("::", 80, v4.Addr(), 8080, 3)}}, model.Network{Owned: true}, true},
		"other addresses": {model.Endpoint{MAC: mac, V4: v4, V6: v6, Ports: []model.PortBinding{binding("127.0.0.1", 80, v4.Addr(), 8080, 1), binding("192.0.2.1", 81, v6.Addr(), 1, 65535)}}, model.Network{Owned: true}, false},
		"limited":         {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, From: []model.Limit{{}, {Port: 53, Proto: model.UDP, From: []string{"fd00::/8"}}}}, model.Network{Owned: true}, true},
		"checked":         {model.Endpoint{MAC: mac, V4: v4, Spoof: model.Spoof{Mode: model.SpoofRefuse, Addresses: "10.1.0.0/16,fd00::/8", MACs: "00:00:5e:00:01:33", Trusted: "dhcp,ra"}}, model.Network{Owned: true}, true},
		"audited":         {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, Spoof: model.Spoof{Mode: model.SpoofAudit}}, model.Network{Owned: true}, true},
		"not checked":     {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, Spoof: model.Spoof{Mode: model.SpoofAllow}}, model.Network{Owned: true}, true},
		"by host":         {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, Policy: "host", From: []model.Limit{{}}, Spoof: model.Spoof{Mode: "refuse"}, Egress: "none"}, model.Network{Owned: true}, true},
		"not by host":     {model.Endpoint{MAC: mac, V4: v4, Policy: "open"}, model.Network{Owned: true}, true},
		"listed":          {model.Endpoint{MAC: mac, V4: v4, Egress: "[fd00::/8]:443,host:53"}, model.Network{Owned: true}, true},
		"watched":         {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, Egress: "none", EgressMode: "audit", Spoof: model.Spoof{Mode: "refuse"}}, model.Network{Owned: true}, true},
		"enforced":        {model.Endpoint{MAC: mac, V4: v4, EgressMode: "enforce"}, model.Network{Owned: true}, true},
		"listed, limited": {model.Endpoint{MAC: mac, MACGiven: true, V4: v4, Egress: "none", From: []model.Limit{{}}}, model.Network{Owned: true}, true},
		"grouped":         {model.Endpoint{MAC: mac, V4: v4, Group: "db,web"}, model.Network{Owned: true}, true},
		"open":            {model.Endpoint{MAC: mac, V4: v4, V6: v6, OpenV4: []model.PortSpan{{Proto: model.UDP, First: 53, Count: 1}}, OpenV6: []model.PortSpan{{Proto: model.SCTP, First: 53, Count: 2}}}, model.Network{Owned: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.e.ID = longID
			alias := c.e.Alias(c.n)
			have, complete, ok := model.ParseEndpointAlias(alias)
			if len(alias) > 255 || model.AliasOwner(alias) != model.AliasEndpoint+longID || !ok {
				t.Fatalf("%d bytes, ok %t: %q", len(alias), ok, alias)
			}
			if c.complete && (!complete || !reflect.DeepEqual(have, c.e)) {
				t.Errorf("%q\nhave %+v, complete %t\nwant %+v", alias, have, complete, c.e)
			}
			n, ok := model.ParseForeignNetwork(alias)
			if ok == c.n.Owned || ok && (n.ID != c.e.NetworkID || n.ICC != c.n.ICC || n.V4.Masquerade != c.n.V4.Masquerade || n.Internal) {
				t.Errorf("%q: foreign network %+v, %t", alias, n, ok)
			}
		})
	}
}

// Of more ports than fit, the first ones are there, and the alias says that there are more.
func TestAliasOfManyPorts(t *testing.T) {
	e := model.Endpoint{ID: longID, MAC: model.MAC{2}, V4: netip.MustParsePrefix("10.0.0.2/24")}
	for i := range uint16(40) {
		e.Ports = append(e.Ports, model.PortBinding{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), 10000+2*i), Container: netip.AddrPortFrom(e.V4.Addr(), 80), Count: 1})
	}
	have, complete, ok := model.ParseEndpointAlias(e.Alias(model.Network{Owned: true}))
	if n := len(have.Ports); !ok || complete || n < 10 || !reflect.DeepEqual(have.Ports, e.Ports[:n]) {
		t.Errorf("ok %t, complete %t, %v", ok, complete, have.Ports)
	}
}

// What is set of a network is what its alias says: without a list containers reach each other or not.
func TestAliasOfWhatIsSet(t *testing.T) {
	for _, c := range []struct {
		icc        bool
		given, set string
		want       string
	}{
		{true, "", "none", "none"}, {false, "none", "all", "all"}, {false, "", "", "none"}, {true, "a>b", "", "a>b"}, {true, "a>b", "all", "all"}, {false, "none", "a>b", "a>b"},
		{true, strings.Repeat("a", 60) + ">" + strings.Repeat("b", 60) + "," + strings.Repeat("c", 60) + ">" + strings.Repeat("d", 60), "", "none"},
	} {
		n := model.Network{ID: longID, ICC: c.icc, ICCList: c.given, ICCSet: c.set}
		if have, _, ok := model.ParseNetworkAlias(n.Alias()); !ok || have.ICCInForce() != c.want {
			t.Errorf("%+v: %q", c, have.ICCInForce())
		}
	}
	e := model.Endpoint{ID: longID, Group: "a", GroupSet: "none"}
	if have, _, ok := model.ParseEndpointAlias(e.Alias(model.Network{Owned: true})); !ok || have.Groups() != "" {
		t.Errorf("groups %q", have.Groups())
	}
}

// No alias is more than it says.
func TestOtherAliases(t *testing.T) {
	for _, alias := range []string{"", "lan", "mybr", "mybr network", "mybr network ", "mybr endpoint ", `mybr network a"b`, "mybr endpoint a/b m=020000000001"} {
		if n, complete, ok := model.ParseNetworkAlias(alias); ok || complete {
			t.Errorf("%q: %+v", alias, n)
		}
		if e, complete, ok := model.ParseEndpointAlias(alias); ok || complete {
			t.Errorf("%q: %+v", alias, e)
		}
	}
	for _, alias := range []string{"mybr network a", "mybr network a o=c- 4=10.0.0.0/24 ", "mybr network a o=c- mtu=x", "mybr network a o=c- 4=1,2,3,4"} {
		if n, complete, ok := model.ParseNetworkAlias(alias); !ok || complete || n.ID != "a" {
			t.Errorf("%q: %+v, complete %t, ok %t", alias, n, complete, ok)
		}
	}
	for _, alias := range []string{"mybr endpoint a", "mybr endpoint a m=02", "mybr endpoint a m=020000000001 p=t80", "mybr endpoint a m=020000000001 p=x80>80", "mybr endpoint a m=020000000001 p=t65535+1>1", "mybr endpoint a m=020000000001 +",
		"mybr endpoint a m=020000000001 4=10.0.0.2/24 p=t1+65535>1", "mybr endpoint a m=020000000001 4=10.0.0.2/24 p=t0>1", "mybr endpoint a m=020000000001 4=10.0.0.2/24 p=t80+10>65530",
		"mybr endpoint a m=020000000001 p=t80>80", "mybr endpoint a m=020000000001 4=10.0.0.2/24 p=t80>6/80", "mybr endpoint a m=020000000001 open4=t1+65535", "mybr endpoint a m=020000000001 open4=t"} {
		if e, complete, ok := model.ParseEndpointAlias(alias); !ok || complete || e.ID != "a" || len(e.Ports)+len(e.OpenV4) > 0 {
			t.Errorf("%q: %+v, complete %t, ok %t", alias, e, complete, ok)
		}
	}
}

// Nor is a network what can't be the ID of one.
func TestAliasOfNoNetwork(t *testing.T) {
	if n, ok := model.ParseForeignNetwork(`mybr endpoint a m=020000000001 n=b"c o=c-`); ok {
		t.Errorf("have %+v", n)
	}
}

func FuzzAlias(f *testing.F) {
	f.Add("mybr endpoint a m=020000000001 4=10.0.0.2/24 p=*t80>80,u::1/53+2>6/53")
	f.Add("mybr network a o=c- 4=10.0.0.0/24,10.0.0.1,=,m")
	f.Fuzz(func(t *testing.T, alias string) {
		model.ParseNetworkAlias(alias)
		model.ParseForeignNetwork(alias)
		e, _, _ := model.ParseEndpointAlias(alias)
		for _, b := range e.Ports {
			if b.Count == 0 || int(b.Host.Port())+int(b.Count)-1 > 65535 || int(b.Container.Port())+int(b.Count)-1 > 65535 || !b.Container.Addr().IsValid() {
				t.Errorf("%q: %+v", alias, b)
			}
		}
	})
}
