package rebuild

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

var (
	netA = strings.Repeat("a1b2c3d4", 8)
	netB = strings.Repeat("b1b2c3d4", 8)
	epA  = strings.Repeat("e1b2c3d4", 8)
	epB  = strings.Repeat("f1b2c3d4", 8)
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// records are a network of each kind of bridge, with an endpoint in a container each.
func records() model.Snapshot {
	v4 := func(p string, owned bool) model.Subnet {
		a := prefix(p)
		return model.Subnet{Prefix: a.Masked(), Gateway: a.Addr(), Address: a, Masquerade: true, AddressKept: !owned}
	}
	s := model.Snapshot{
		Networks: []model.Network{
			{ID: netA, Bridge: "br-a", Owned: true, BridgeMAC: model.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400, ICC: true, IfacePrefix: "eth", V4: v4("10.1.0.1/24", true)},
			{ID: netB, Bridge: "lan0", MTU: 1400, ICC: true, IfacePrefix: "eth", V4: v4("10.2.0.1/24", false)},
		},
		Endpoints: []*model.Endpoint{
			{ID: epA, NetworkID: netA, MAC: model.MAC{2, 0, 0, 0, 1, 1}, V4: prefix("10.1.0.2/24")},
			{ID: epB, NetworkID: netB, MAC: model.MAC{2, 0, 0, 0, 1, 2}, MACGiven: true, V4: prefix("10.2.0.2/24")},
		},
	}
	for _, e := range s.Endpoints {
		e.Sandbox = SandboxPrefix + e.ID
		e.Ports = []model.PortBinding{{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: netip.AddrPortFrom(e.V4.Addr(), 80), Count: 1}}
	}
	return s
}

// values are records without the pointers that a snapshot shares them by.
func values(shared []*model.Endpoint) (all []model.Endpoint) {
	for _, e := range shared {
		all = append(all, *e)
	}
	return all
}

// links are what the kernel shows of records.
func links(s model.Snapshot) (all []model.Link) {
	bridges := map[string]model.Network{}
	for _, n := range s.Networks {
		l := model.Link{Name: n.Bridge, Kind: "bridge", MAC: n.BridgeMAC, MTU: 1400, Addresses: []netip.Prefix{n.V4.Address, prefix("fe80::1/64")}}
		if n.Owned {
			l.Alias = n.Alias(model.IPv4)
		}
		bridges[n.ID] = n
		all = append(all, l)
	}
	for _, e := range s.Endpoints {
		n := bridges[e.NetworkID]
		all = append(all, model.Link{Name: e.HostIface(), Kind: "veth", Alias: e.Alias(n, model.IPv4), MTU: 1400, Master: n.Bridge})
	}
	return all
}

// All that was recorded is found again, once, and what has a record is left as it is.
func TestFindIsTheInverse(t *testing.T) {
	want := records()
	found := Find(links(want), model.Snapshot{})
	if !reflect.DeepEqual(found.Networks, want.Networks) || !reflect.DeepEqual(found.Endpoints, values(want.Endpoints)) {
		t.Errorf("have %+v\n%+v\nwant %+v", found.Networks, found.Endpoints, want)
	}
	if !reflect.DeepEqual(found.Forwarding, []model.Family{model.IPv4}) {
		t.Errorf("forwarding was turned on in %v", found.Forwarding)
	}
	text := strings.Join(found.Notes, "\n")
	for _, line := range []string{
		"network a1b2c3d4a1b2: rebuilt from bridge br-a (10.1.0.0/24)",
		"network b1b2c3d4b1b2: rebuilt from its endpoints and bridge lan0, which mybr did not make (10.2.0.0/24)",
		"endpoint e1b2c3d4e1b2: rebuilt from vethe1b2c3d4e1, network a1b2c3d4a1b2, addresses 10.1.0.2, publishes tcp 0.0.0.0:8080 -> 10.1.0.2:80",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no note %q in\n%s", line, text)
		}
	}
	again := Find(links(want), want)
	if len(again.Networks)+len(again.Endpoints)+len(again.Notes) > 0 {
		t.Errorf("recorded, and found: %+v", again)
	}
	if len(again.Forwarding) != 1 { // else the host would forward for everybody, as if it always had
		t.Errorf("of a network that has a record: forwarding was turned on in %v", again.Forwarding)
	}
	if foreign := Find(links(model.Snapshot{Networks: want.Networks[1:], Endpoints: want.Endpoints[1:]}), model.Snapshot{}); len(foreign.Forwarding) != 1 {
		t.Errorf("of a bridge that mybr did not make: forwarding was turned on in %v", foreign.Forwarding)
	}
	part := model.Snapshot{Networks: want.Networks, Endpoints: want.Endpoints[:1]}
	if rest := Find(links(want), part); len(rest.Networks) > 0 || !reflect.DeepEqual(rest.Endpoints, values(want.Endpoints[1:])) {
		t.Errorf("have %+v, want the endpoint that has no record", rest)
	}
}

// An alias of an older mybr says whose the link is and nothing else: what can't be told is
// closed.
func TestFindWithoutFacts(t *testing.T) {
	s := records()
	all := links(s)
	for i := range all {
		all[i].Alias = model.AliasOwner(all[i].Alias)
	}
	found := Find(all, model.Snapshot{})
	if len(found.Networks) != 1 || len(found.Endpoints) != 1 {
		t.Fatalf("have %+v", found)
	}
	n, want := found.Networks[0], s.Networks[0]
	want.Internal, want.V4.Masquerade = true, false
	if !reflect.DeepEqual(n, want) {
		t.Errorf("have %+v\nwant %+v", n, want)
	}
	if e := found.Endpoints[0]; e.ID != epA || e.NetworkID != netA || e.Sandbox == "" || e.V4.IsValid() {
		t.Errorf("have %+v", e)
	}
	if text := strings.Join(found.Notes, "\n"); !strings.Contains(text, "whether it was internal is not known, so it is now") || !strings.Contains(text, "f1b2c3d4f1b2: its pair vethf1b2c3d4f1 is a port of no network") {
		t.Errorf("notes:\n%s", text)
	}
	all[2].Isolated = true
	if found := Find(all, model.Snapshot{}); found.Networks[0].ICC {
		t.Error("a network with an isolated port has ICC")
	}
}

// A bridge that mybr did not make can have addresses of other subnets, or none at all.
func TestFindOnABridgeOfOthers(t *testing.T) {
	s := records()
	for name, addresses := range map[string][]netip.Prefix{
		"several": {prefix("192.168.0.5/16"), prefix("fd00::1/64"), s.Networks[1].V4.Address}, "none": nil,
	} {
		all := links(s)
		all[1].Addresses = addresses
		found := Find(all, model.Snapshot{})
		if len(found.Networks) != 2 {
			t.Fatalf("%s: have %+v", name, found)
		}
		want := s.Networks[1]
		if addresses == nil {
			want.V4.Gateway, want.V4.Address, want.V4.AddressKept = netip.Addr{}, netip.Prefix{}, false
		}
		if n := found.Networks[1]; !reflect.DeepEqual(n, want) {
			t.Errorf("%s:\nhave %+v\nwant %+v", name, n, want)
		}
	}
}

// Of an alias that had no room for all, what is missing is read from the bridge, or is as a
// network has it that was given nothing.
func TestFindWithoutAllFacts(t *testing.T) {
	s := records()
	all := links(s)
	all[0].Alias = model.AliasOwner(all[0].Alias) + " o=c- +"
	if n := Find(all, model.Snapshot{}).Networks[0]; !reflect.DeepEqual(n, s.Networks[0]) {
		t.Errorf("have %+v\nwant %+v", n, s.Networks[0])
	}
}

// An endpoint whose interface is on the host is in no sandbox, and links of others are not
// taken.
func TestFindLooksAtMoreThanAliases(t *testing.T) {
	s := records()
	all := append(links(s), model.Link{Name: s.Endpoints[0].PeerIface(), Kind: "veth"},
		model.Link{Name: "dummy0", Kind: "dummy", Alias: s.Networks[0].Alias()},
		model.Link{Name: "veth0", Kind: "veth", Alias: s.Endpoints[0].Alias(s.Networks[0])})
	all = append(all, model.Link{Name: "veth9999999999c", Kind: "veth", Alias: s.Endpoints[1].Alias(s.Networks[1], model.IPv6)})
	found := Find(all, model.Snapshot{})
	if slices.Contains(found.Forwarding, model.IPv6) {
		t.Error("forwarding is taken from the end of a pair that was a container's")
	}
	if len(found.Networks) != 2 || len(found.Endpoints) != 2 || found.Endpoints[0].Sandbox != "" || found.Endpoints[1].Sandbox == "" {
		t.Errorf("have %+v", found)
	}
}
