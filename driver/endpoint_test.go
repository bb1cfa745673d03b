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
		{address("10.1.0.2/24"), model.ErrConflict, "address 10.1.0.2 is that of endpoint e1e1e1e1e1e1"},
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

func TestEndpointThatIsMadeAgainIsNoOrphan(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	create := func(id string) error { _, err := w.createEndpoint(netA, id, "10.1.0.2/24"); return err }
	must(t, create(ep1))
	w.restart()
	must(t, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1}))
	must(t, create(ep1))
	w.unchanged(func() {
		wantErr(t, create(ep2), model.ErrConflict, "create endpoint e2e2e2e2e2e2: address 10.1.0.2 is that of endpoint e1e1e1e1e1e1")
	})
}

func TestAddressOfADeadEndpoint(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(w *world)
		taken  bool
	}{
		{"alive", func(*world) {}, false},
		{"veth gone", func(w *world) { w.host.gone = map[string]bool{"vethe1e1e1e1e1": true} }, true},
		{"never joined", func(w *world) {
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
		}, false},
		{"never joined, of another process", func(w *world) {
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
			w.restart()
		}, true},
		{"joined since the process began", func(w *world) {
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
			w.restart()
			must(t, w.join(netA, ep1))
		}, false},
		{"a call is about it", func(w *world) {
			w.host.gone = map[string]bool{"vethe1e1e1e1e1": true}
			unlock := w.endpoints.lock(ep1)
			w.t.Cleanup(unlock)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			c.before(w)
			_, err := w.createEndpoint(netA, ep2, "10.1.0.2/24")
			if !c.taken {
				wantErr(t, err, model.ErrConflict, "create endpoint e2e2e2e2e2e2: address 10.1.0.2 is that of endpoint e1e1e1e1e1e1")
				w.endpointRecord(ep1)
				return
			}
			must(t, err)
			if s := w.store.Snapshot(); len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 {
				t.Errorf("endpoints are %+v", s.Endpoints)
			}
		})
	}
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
