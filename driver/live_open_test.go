package driver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// What is added is published and opened as it would have been at the start of the container, whatever
// its network is like. Only what would do nothing is refused.
func TestAddPortsAsAtTheStart(t *testing.T) {
	modes := []string{"nat", "routed", "nat-unprotected"}
	for _, on := range []string{"4", "6", "46"} {
		for _, mode4 := range modes {
			for _, mode6 := range modes {
				for _, binding := range []string{"", "127.0.0.1", "::1"} {
					asAtTheStart(t, on, mode4, mode6, binding, "")
				}
				asAtTheStart(t, on, mode4, mode6, "", "127.0.0.1")
			}
		}
	}
}

func asAtTheStart(t *testing.T, on, mode4, mode6, binding, atHost string) {
	world := func() live {
		w := live{newWorld(t)}
		w.ports.hasIPv6 = true
		if atHost != "" {
			w.atHost = netip.MustParseAddr(atHost)
		}
		opts := []string{modeKey(model.IPv4), mode4, modeKey(model.IPv6), mode6}
		if binding != "" {
			opts = append(opts, optHostBinding, binding)
		}
		var subnets, addresses []string
		if strings.Contains(on, "4") {
			subnets, addresses = append(subnets, "10.1.0.0/24"), append(addresses, "10.1.0.2/24")
		}
		if strings.Contains(on, "6") {
			subnets, addresses = append(subnets, "fd00:1::/64"), append(addresses, "fd00:1::2/64")
		}
		must(t, w.dualNetwork(netA, userOptions(opts...), subnets...))
		must(t, w.dualEndpoint(netA, ep1, addresses...))
		return w
	}
	begin := func(w live, ports string) {
		_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: sandbox, Options: decode[network.JoinRequest](t,
			`{"Options":{"com.docker.network.portmap":`+ports+`}}`).Options})
		must(t, err)
		must(t, w.pec(netA, ep1, ports))
	}
	have := func(w live) string {
		e := w.endpointRecord(ep1)
		return fmt.Sprint(fmtPorts(e.Ports), e.OpenV4, e.OpenV6)
	}
	started, added := world(), world()
	begin(added, "[]")
	const nothing = "[][] []"
	for _, host := range []string{"", "0.0.0.0", "::", "192.0.2.1", "2001:db8::1"} {
		begin(started, fmt.Sprintf(`[{"Proto":6,"Port":80,"HostIP":%q,"HostPort":8080,"HostPortEnd":8080}]`, host))
		spec := "8080:80"
		if host != "" {
			spec = host + ":" + spec
		}
		err := added.add(ep1, spec)
		if have, want := have(added), have(started); have != want || (err != nil) != (want == nothing) || err != nil && !errors.Is(err, model.ErrInvalid) {
			t.Errorf("on %s, %s, %s, bound to %q or %q, at %q: added %s, %v, started with %s", on, mode4, mode6, binding, atHost, host, have, err, want)
		}
		if err == nil {
			must(t, added.remove(ep1, "80"))
			if have := have(added); have != nothing {
				t.Errorf("on %s, %s, %s: what is removed is left: %s", on, mode4, mode6, have)
			}
		}
	}
}

// A routed family opens what is added, and closes what is removed.
func TestChangedPortsOfARoutedNetwork(t *testing.T) {
	w := live{newWorld(t)}
	w.ports.hasIPv6 = true
	must(t, w.dualNetwork(netA, userOptions(modeKey(model.IPv6), "routed"), "10.1.0.0/24", "fd00:1::/64"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
	join := func() {
		t.Helper()
		_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep1, SandboxKey: sandbox, Options: decode[network.JoinRequest](t,
			`{"Options":{"com.docker.network.portmap":`+port8080+`}}`).Options})
		must(t, err)
	}
	join()
	must(t, w.pec(netA, ep1, port8080))
	open := func(want string) {
		t.Helper()
		if have := fmt.Sprint(w.endpointRecord(ep1).OpenV6); have != want {
			t.Errorf("open is %s, want %s", have, want)
		}
	}
	open("[{tcp 80 1}]")
	added, err := w.AddPorts(ctx, netA, ep1, []string{"8081:81", "[2001:db8::7]:8083:83"})
	must(t, err)
	const opened = "tcp [fd00:1::2]:81 tcp [fd00:1::2]:83"
	if have := fmtPorts(added); have != "[tcp 0.0.0.0:8081 -> 10.1.0.2:81 "+opened+"]" {
		t.Errorf("it added %s", have)
	}
	open("[{tcp 80 2} {tcp 83 1}]")
	w.unchanged(func() {
		wantErr(t, w.add(ep1, "[2001:db8::7]:9000:80"), model.ErrConflict, "publish ports of endpoint e1e1e1e1e1e1: port [2001:db8::7]:9000:80/tcp is open at the container's own address already")
	})
	must(t, w.add(ep1, "8082:80")) // a second port of the host
	must(t, w.remove(ep1, "8080:80 8081:81"))
	open("[{tcp 80 1} {tcp 83 1}]") // 8082 still leads to 80
	must(t, w.remove(ep1, "80"))
	open("[{tcp 83 1}]")
	for range 2 {
		join()
		must(t, w.pec(netA, ep1, port8080))
		open("[{tcp 83 1}]")
		w.want(ep1, "", "tcp [fd00:1::2]:83", "tcp [fd00:1::2]:80 "+twin8080)
		w.restart()
	}
	must(t, w.remove(ep1, "83"))
	open("[]")
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	if e := w.endpointRecord(ep1); len(e.Added)+len(e.Removed) > 0 {
		t.Errorf("left with %+v", e)
	}
}
