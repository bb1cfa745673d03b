package driver

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

func TestWrongEndpoints(t *testing.T) {
	w := newWorld(t)
	w.running()
	must(t, w.createNetwork(netB, "10.2.0.0/24", `{"com.docker.network.generic":{"com.docker.network.bridge.inhibit_ipv4":"true"}}`))
	synced := w.sync.n
	request := func(netID, id, iface, options string) string {
		return fmt.Sprintf(`{"NetworkID":%q,"EndpointID":%q,"Interface":%s,"Options":%s}`, netID, id, iface, options)
	}
	iface := func(text string) string { return request(netA, ep2, text, "{}") }
	address := func(a string) string { return iface(`{"Address":"` + a + `"}`) }
	alike := ep1[:10] + strings.Repeat("0", 54)
	for _, c := range []struct {
		request string
		kind    error
		text    string
	}{
		{request(ep3, ep2, `{"Address":"10.1.0.9/24"}`, "{}"), model.ErrNotFound, "network e3e3e3e3e3e3 is not known to mybr: if Docker has it, remove it and create it again"},
		{iface(`null`), model.ErrInvalid, "there is no IPv4 address for it: mybr needs an IPAM driver that gives one"},
		{address(""), model.ErrInvalid, "there is no IPv4 address for it: mybr needs an IPAM driver that gives one"},
		{address("10.1.0.9"), model.ErrInvalid, `"10.1.0.9" is not an IPv4 address with a prefix length`},
		{address("fd00::9/64"), model.ErrInvalid, `"fd00::9/64" is not an IPv4 address with a prefix length`},
		{address("10.2.0.9/24"), model.ErrInvalid, "address 10.2.0.9 is not in subnet 10.1.0.0/24"},
		{address("10.1.0.0/24"), model.ErrInvalid, "address 10.1.0.0 is the address of subnet 10.1.0.0/24 itself"},
		{address("10.1.0.255/24"), model.ErrInvalid, "address 10.1.0.255 is the broadcast address of subnet 10.1.0.0/24"},
		{address("10.1.0.1/24"), model.ErrConflict, "address 10.1.0.1 is that of bridge br-a1a1a1a1a1a1"},
		{request(netB, ep2, `{"Address":"10.2.0.1/24"}`, "{}"), model.ErrConflict, "address 10.2.0.1 is that of the default gateway of network b2b2b2b2b2b2"},
		{iface(`{"Address":"10.1.0.9/24","AddressIPv6":"fd00::9/64"}`), model.ErrInvalid, "address fd00::9/64: network a1a1a1a1a1a1 has no IPv6"},
		{iface(`{"Address":"10.1.0.9/24","MacAddress":"02:42"}`), model.ErrInvalid, `"02:42" is not the MAC address of an interface`},
		{iface(`{"Address":"10.1.0.9/24","MacAddress":"03:42:00:00:00:01"}`), model.ErrInvalid, `"03:42:00:00:00:01" is not the MAC address of an interface`},
		{iface(`{"Address":"10.1.0.9/24","MacAddress":"00:00:00:00:00:00"}`), model.ErrInvalid, `"00:00:00:00:00:00" is not the MAC address of an interface`},
		{request(netA, ep2, `{"Address":"10.1.0.9/24"}`, `{"speed":"fast"}`), model.ErrInvalid, "option speed is not known"},
		{request(netA, alike, `{"Address":"10.1.0.9/24"}`, "{}"), model.ErrConflict, "interface vethe1e1e1e1e1 is that of endpoint e1e1e1e1e1e1, whose ID begins alike"},
		{request(netA, ep1, `{"Address":"10.1.0.9/24"}`, "{}"), model.ErrExists, "there is an endpoint of this ID with other settings"},
		{request(netA, ep1, `{"Address":"10.1.0.2/24","MacAddress":"02:00:00:00:00:01"}`, "{}"), model.ErrExists, "there is an endpoint of this ID with other settings"},
		{request(netB, ep1, `{"Address":"10.2.0.2/24"}`, "{}"), model.ErrExists, "there is an endpoint of this ID with other settings"},
		{request(netA, "", `{"Address":"10.1.0.9/24"}`, "{}"), model.ErrInvalid, "the endpoint ID is missing"},
		{request(netA, "a/b", `{"Address":"10.1.0.9/24"}`, "{}"), model.ErrInvalid, `the endpoint ID "a/b" has other characters than letters, digits, _ and -`},
	} {
		w.unchanged(func() {
			r := decode[network.CreateEndpointRequest](t, c.request)
			_, err := w.CreateEndpoint(ctx, r)
			wantErr(t, err, c.kind, "create endpoint "+short(r.EndpointID)+": "+c.text)
		})
	}
	if w.sync.n != synced {
		t.Errorf("synced %d times", w.sync.n-synced)
	}
}

func TestMACIsReturnedIfChosen(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	first, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	mac := w.endpointRecord(ep1).MAC
	checkRandomMAC(t, mac)
	if want := (network.EndpointInterface{MacAddress: mac.String()}); *first.Interface != want {
		t.Errorf("have %+v, want %+v", *first.Interface, want)
	}
	if !reflect.DeepEqual(w.sync.about, []string{"vethe1e1e1e1e1"}) {
		t.Errorf("synced about %v", w.sync.about)
	}
	again, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	if *again.Interface != *first.Interface {
		t.Errorf("have %+v, want %+v again", *again.Interface, *first.Interface)
	}
}

func TestMACThatWasGiven(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	create := func(mac string) error {
		res, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1,
			Interface: &network.EndpointInterface{Address: "10.1.0.2/24", MacAddress: mac}})
		if err == nil && res.Interface != nil {
			t.Errorf("answered %+v: it may say only what was left open", *res.Interface)
		}
		return err
	}
	must(t, create("02:00:00:00:00:01"))
	must(t, create("02-00-00-00-00-01"))
	w.unchanged(func() {
		for _, mac := range []string{"", "02:00:00:00:00:02"} {
			wantErr(t, create(mac), model.ErrExists, "create endpoint e1e1e1e1e1e1: there is an endpoint of this ID with other settings")
		}
	})
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", user(optIfacePrefix, "net", optRoutes, "10.9.0.0/16 via 10.1.0.7, 192.0.2.0/24")))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	join := func(key string) (*network.JoinResponse, error) {
		return w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: key})
	}
	_, err = join("")
	wantErr(t, err, model.ErrInvalid, "join endpoint e1e1e1e1e1e1: the sandbox key is missing")
	res, err := join(sandbox)
	must(t, err)
	have, _ := json.Marshal(res)
	if want := `{"InterfaceName":{"SrcName":"vethe1e1e1e1e1c","DstPrefix":"net"},"Gateway":"10.1.0.1","GatewayIPv6":"",` +
		`"StaticRoutes":[{"Destination":"10.9.0.0/16","RouteType":0,"NextHop":"10.1.0.7"},{"Destination":"192.0.2.0/24","RouteType":1,"NextHop":""}],` +
		`"DisableGatewayService":false}`; string(have) != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	w.unchanged(func() {
		_, err := join("/other")
		wantErr(t, err, model.ErrConflict, "join endpoint e1e1e1e1e1e1: it has joined sandbox "+sandbox+" already")
	})
	// The interface is on the host again.
	w.host.foreign = []model.Link{{Name: "vethe1e1e1e1e1c", Kind: "veth"}}
	_, err = join("/other")
	must(t, err)
	if s := w.endpointRecord(ep1).Sandbox; s != "/other" {
		t.Errorf("sandbox is %s", s)
	}
	_, err = w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep2, SandboxKey: sandbox})
	wantErr(t, err, model.ErrNotFound, "join endpoint e2e2e2e2e2e2: the endpoint is not known to mybr on network a1a1a1a1a1a1")
}

// The addresses of an endpoint, by family.
func TestEndpointsOfBothFamilies(t *testing.T) {
	w := newWorld(t)
	must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
	must(t, w.dualNetwork(netB, nil, "fd00:2::/64"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
	must(t, w.dualEndpoint(netB, ep3, "fd00:2::ffff:ffff:ffff:ffff/64")) // no broadcast address
	if e := w.endpointRecord(ep1); text(e.V4) != "10.1.0.2/24" || text(e.V6) != "fd00:1::2/64" {
		t.Errorf("have %+v", e)
	}
	w.unchanged(func() { must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64")) })
	for _, c := range []struct {
		net, ep   string
		addresses []string
		kind      error
		text      string
	}{
		{netA, ep1, []string{"10.1.0.2/24", "fd00:1::3/64"}, model.ErrExists, "there is an endpoint of this ID with other settings"},
		{netA, ep2, []string{"10.1.0.3/24", "fd00:1::1/64"}, model.ErrConflict, "address fd00:1::1 is that of bridge br-a1a1a1a1a1a1"},
		{netA, ep2, []string{"10.1.0.3/24", "fd00:1::/64"}, model.ErrInvalid, "address fd00:1:: is the address of subnet fd00:1::/64 itself"},
		{netA, ep2, []string{"10.1.0.3/24", "fd00:9::2/64"}, model.ErrInvalid, "address fd00:9::2 is not in subnet fd00:1::/64"},
		{netA, ep2, []string{"fd00:1::3/64"}, model.ErrInvalid, "there is no IPv4 address for it: mybr needs an IPAM driver that gives one"},
		{netB, ep2, nil, model.ErrInvalid, "there is no IPv6 address for it: mybr needs an IPAM driver that gives one"},
		{netB, ep2, []string{"10.1.0.3/24", "fd00:2::2/64"}, model.ErrInvalid, "address 10.1.0.3/24: network b2b2b2b2b2b2 has no IPv4"},
	} {
		w.unchanged(func() {
			wantErr(t, w.dualEndpoint(c.net, c.ep, c.addresses...), c.kind, "create endpoint "+short(c.ep)+": "+c.text)
		})
	}
	// A container that has IPv6 switched off gets none.
	must(t, w.dualEndpoint(netA, ep2, "10.1.0.4/24"))
	if e := w.endpointRecord(ep2); text(e.V4) != "10.1.0.4/24" || e.V6.IsValid() {
		t.Errorf("have %+v", e)
	}
	must(t, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep2}))
	// A dead endpoint gives its address up in either family.
	w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
	must(t, w.dualEndpoint(netA, ep2, "10.1.0.3/24", "fd00:1::2/64"))
}

// Each family has the gateway of its subnet; where there is none at all, Docker must not
// look for another.
func TestJoinByFamily(t *testing.T) {
	const internal = "com.docker.network.internal"
	for _, c := range []struct {
		name               string
		subnets, addresses []string
		user               map[string]string
		options            map[string]any
		gateway4, gateway6 string
	}{
		{"both", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"10.1.0.2/24", "fd00:1::2/64"}, nil, nil, "10.1.0.1", "fd00:1::1"},
		{"IPv4", []string{"10.1.0.0/24"}, []string{"10.1.0.2/24"}, nil, nil, "10.1.0.1", ""},
		{"IPv6", []string{"fd00:1::/64"}, []string{"fd00:1::2/64"}, nil, nil, "", "fd00:1::1"},
		{"routed", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"10.1.0.2/24", "fd00:1::2/64"},
			userOptions(modeKey(model.IPv4), "routed", modeKey(model.IPv6), "routed"), nil, "10.1.0.1", "fd00:1::1"},
		{"inhibited", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"10.1.0.2/24", "fd00:1::2/64"}, userOptions(optInhibit, "true"), nil, "10.1.0.1", "fd00:1::1"},
		{"internal", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"10.1.0.2/24", "fd00:1::2/64"}, nil, map[string]any{internal: true}, "", ""},
		{"isolated", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"10.1.0.1/24", "fd00:1::1/64"},
			userOptions(modeKey(model.IPv4), "isolated", modeKey(model.IPv6), "isolated"), map[string]any{internal: true}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.options = c.options
			must(t, w.dualNetwork(netA, c.user, c.subnets...))
			must(t, w.dualEndpoint(netA, ep1, c.addresses...))
			res, err := w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: sandbox})
			must(t, err)
			if res.Gateway != c.gateway4 || res.GatewayIPv6 != c.gateway6 || res.DisableGatewayService != (c.gateway4+c.gateway6 == "") {
				t.Errorf("have %+v", *res)
			}
		})
	}
}

// The ports that a routed family opens when a container joins, whether or not it will be
// asked to publish them.
func TestOpenedAtJoin(t *testing.T) {
	const ports = `[{"Proto":6,"Port":82,"HostPort":9000},{"Proto":17,"Port":81},{"Proto":6,"Port":81},{"Proto":6,"Port":80,"HostIP":"127.0.0.1"},
		{"Proto":6,"Port":80,"HostPort":8080},{"Proto":6,"Port":90},{"Proto":6,"Port":91,"HostIP":"0.0.0.0"},{"Proto":6,"Port":95,"HostIP":"::1"}]`
	span := func(proto model.Proto, first, count uint16) model.PortSpan {
		return model.PortSpan{Proto: proto, First: first, Count: count}
	}
	want4 := []model.PortSpan{span(model.TCP, 80, 3), span(model.TCP, 90, 2), span(model.UDP, 81, 1)}
	want6 := []model.PortSpan{span(model.TCP, 80, 3), span(model.TCP, 90, 1), span(model.TCP, 95, 1), span(model.UDP, 81, 1)}
	for _, c := range []struct {
		name, mode4, mode6 string
		options            map[string]any
		want4, want6       []model.PortSpan
	}{
		{"nat", "nat", "nat-unprotected", nil, nil, nil},
		{"IPv4", "routed", "nat", nil, want4, nil},
		{"IPv6", "nat", "routed", nil, nil, want6},
		{"both", "routed", "routed", nil, want4, want6},
		{"internal", "routed", "routed", map[string]any{optInternal: true}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.options = c.options
			must(t, w.dualNetwork(netA, userOptions(modeKey(model.IPv4), c.mode4, modeKey(model.IPv6), c.mode6), "10.1.0.0/24", "fd00:1::/64"))
			must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
			join := func(ports string) error {
				_, err := w.Join(ctx, decode[network.JoinRequest](t, fmt.Sprintf(
					`{"NetworkID":%q,"EndpointID":%q,"SandboxKey":%q,"Options":{"com.docker.network.portmap":%s}}`, netA, ep1, sandbox, ports)))
				return err
			}
			w.unchanged(func() {
				wantErr(t, join(`[{"Proto":6}]`), model.ErrInvalid, "join endpoint e1e1e1e1e1e1: the container's port is 0")
			})
			must(t, join(ports))
			w.unchanged(func() { must(t, join(ports)) })
			if e := w.endpointRecord(ep1); !reflect.DeepEqual(e.OpenV4, c.want4) || !reflect.DeepEqual(e.OpenV6, c.want6) {
				t.Errorf("have %v and %v, want %v and %v", e.OpenV4, e.OpenV6, c.want4, c.want6)
			}
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
			if e := w.endpointRecord(ep1); e.OpenV4 != nil || e.OpenV6 != nil {
				t.Errorf("after Leave %v and %v are open", e.OpenV4, e.OpenV6)
			}
		})
	}
}

func TestPortMapOfAnEndpoint(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	w.unchanged(func() {
		_, err := w.CreateEndpoint(ctx, decode[network.CreateEndpointRequest](t, fmt.Sprintf(
			`{"NetworkID":%q,"EndpointID":%q,"Interface":{"Address":"10.1.0.2/24"},"Options":{"com.docker.network.portmap":[{"Proto":1,"Port":80}]}}`, netA, ep1)))
		wantErr(t, err, model.ErrInvalid, "create endpoint e1e1e1e1e1e1: protocol 1 has no ports that can be published: tcp, udp and sctp have")
	})
}

// A host address means nothing where no host port is taken, and that is said.
func TestHostAddressOfARoutedFamily(t *testing.T) {
	w := newWorld(t)
	must(t, w.dualNetwork(netA, userOptions(modeKey(model.IPv4), "routed"), "10.1.0.0/24"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24"))
	w.unchanged(func() { must(t, w.pec(netA, ep1, `[{"Proto":6,"Port":80,"HostIP":"192.0.2.7","HostPort":8080}]`)) })
	if want := []string{"endpoint e1e1e1e1e1e1: host address 192.0.2.7 of its port 80/tcp does not matter: IPv4 of its network is routed"}; !reflect.DeepEqual(w.said, want) {
		t.Errorf("said %q", w.said)
	}
}
