package driver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestWrongPorts(t *testing.T) {
	w := newWorld(t)
	w.running()
	synced := w.sync.n
	const sctp = "it takes NAT, within one address family and not from a loopback address"
	for ports, text := range map[string]string{
		`"80"`:                               `option com.docker.network.portmap: have string, want an array of objects`,
		`{}`:                                 `option com.docker.network.portmap: have object, want an array of objects`,
		`[{"Proto":"tcp","Port":80}]`:        `option com.docker.network.portmap: Proto: have string, want a number from 0 to 255`,
		`[{"Proto":6,"Port":65536}]`:         `option com.docker.network.portmap: Port: have number 65536, want a number from 0 to 65535`,
		`[{"Proto":6,"Port":-1}]`:            `option com.docker.network.portmap: Port: have number -1, want a number from 0 to 65535`,
		`[{"Proto":6,"Port":8.5}]`:           `option com.docker.network.portmap: Port: have number 8.5, want a number from 0 to 65535`,
		`[{"Proto":6,"Port":80,"HostIP":1}]`: `option com.docker.network.portmap: HostIP: have number, want a string`,
		`[{"Proto":1,"Port":80}]`:            `protocol 1 has no ports that can be published: tcp, udp and sctp have`,
		`[{"Proto":6}]`:                      `the container's port is 0`,
		`[{"Proto":6,"Port":80,"HostPort":9,"HostPortEnd":8}]`: `9-8 is not a range of host ports`,
		`[{"Proto":6,"Port":80,"HostPort":0,"HostPortEnd":8}]`: `0-8 is not a range of host ports`,
		`[{"Proto":6,"Port":80,"HostIP":"localhost"}]`:         `host address: localhost (nil ip): want an IP address`,
		`[{"Proto":6,"Port":80,"HostIP":"fe80::1%eth0"}]`:      `host address: fe80::1%eth0 (nil ip): want an IP address`,
		`[{"Proto":132,"Port":80,"HostIP":"127.0.0.1"}]`:       `host address: sctp can't be published at 127.0.0.1: ` + sctp,
		`[{"Proto":132,"Port":80,"HostIP":"::"}]`:              `host address: sctp can't be published at ::: ` + sctp,
		`[{"Proto":6,"Port":80,"HostIP":"255.255.255.255"}]`:   `host address: 255.255.255.255 (invalid argument): want an address that a host can have`,
	} {
		w.unchanged(func() {
			wantErr(t, w.pec(netA, ep1, ports), model.ErrInvalid, "publish ports of endpoint e1e1e1e1e1e1: "+text)
		})
	}
	if w.sync.n != synced {
		t.Errorf("synced %d times", w.sync.n-synced)
	}
}

// requestTexts writes requests as `tcp 8080-8081 0.0.0.0→10.1.0.2:80 ::→[fd00:1::2]:80`.
func requestTexts(reqs []model.PortRequest) (texts []string) {
	for _, r := range reqs {
		text := r.Proto.String() + fmt.Sprintf(" %d", r.First)
		if r.Last != r.First {
			text += fmt.Sprintf("-%d", r.Last)
		}
		for _, w := range []model.Target{r.V4, r.V6} {
			if w.Wanted() {
				text += fmt.Sprintf(" %s→%s", w.Host, w.Container)
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// What a container publishes, by the families and modes of its network and the address of
// the host that was asked for.
func TestPortRequests(t *testing.T) {
	const (
		v4, v6, both = "v4", "v6", "both"
		routed       = "routed"
	)
	tcp := func(hostIP string) string { return `[{"Proto":6,"Port":80,"HostPort":8080,"HostIP":"` + hostIP + `"}]` }
	const c4, c6 = "10.1.0.2:80", "[fd00:1::2]:80"
	for _, c := range []struct {
		name, on, mode4, mode6, binding, ports string
		only4                                  bool
		want                                   []string
	}{
		{name: "IPv4", on: v4, ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4 + " ::→" + c4}},
		{name: "IPv4, and another network for IPv6", on: v4, only4: true, ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4}},
		{name: "IPv6", on: v6, ports: tcp(""), want: []string{"tcp 8080 ::→" + c6}},
		{name: "both", on: both, ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4 + " ::→" + c6}},
		{name: "both, and another network for IPv6", on: both, only4: true, ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4 + " ::→" + c6}},
		{name: "unprotected", on: both, mode4: "nat-unprotected", mode6: "nat-unprotected", ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4 + " ::→" + c6}},
		{name: "IPv4 routed", on: v4, mode4: routed, ports: tcp("")},
		{name: "IPv6 routed", on: v6, mode6: routed, ports: tcp("")},
		{name: "IPv4 of both routed", on: both, mode4: routed, ports: tcp(""), want: []string{"tcp 8080 ::→" + c6}},
		{name: "IPv6 of both routed", on: both, mode6: routed, ports: tcp(""), want: []string{"tcp 8080 0.0.0.0→" + c4}},
		{name: "both routed", on: both, mode4: routed, mode6: routed, ports: tcp("")},

		{name: "0.0.0.0", on: both, ports: tcp("0.0.0.0"), want: []string{"tcp 8080 0.0.0.0→" + c4}},
		{name: "0.0.0.0 to IPv6", on: v6, ports: tcp("0.0.0.0"), want: []string{"tcp 8080 0.0.0.0→" + c6}},
		{name: "an IPv4 address to IPv6", on: v6, ports: tcp("192.0.2.7"), want: []string{"tcp 8080 192.0.2.7→" + c6}},
		{name: "an IPv4 address, routed", on: both, mode4: routed, ports: tcp("192.0.2.7")},
		{name: "an IPv4 address to IPv6 routed", on: v6, mode6: routed, ports: tcp("192.0.2.7")},
		{name: "::", on: both, ports: tcp("::"), want: []string{"tcp 8080 ::→" + c6}},
		{name: ":: to IPv4", on: v4, ports: tcp("::"), want: []string{"tcp 8080 ::→" + c4}},
		{name: ":: to IPv4, and another network for IPv6", on: v4, only4: true, ports: tcp("::")},
		{name: "an IPv6 address, routed", on: both, mode6: routed, ports: tcp("2001:db8::7")},
		{name: "an IPv4 address in an IPv6 one", on: both, ports: tcp("::ffff:192.0.2.7"), want: []string{"tcp 8080 192.0.2.7→" + c4}},

		{name: "default", on: both, binding: "192.0.2.7", ports: tcp(""), want: []string{"tcp 8080 192.0.2.7→" + c4}},
		{name: "IPv6 default", on: both, binding: "::1", ports: tcp(""), want: []string{"tcp 8080 ::1→" + c6}},
		{name: "default that is overruled", on: both, binding: "::1", ports: tcp("127.0.0.1"), want: []string{"tcp 8080 127.0.0.1→" + c4}},

		{name: "sctp by IPv4", on: v4, ports: `[{"Proto":132,"Port":80,"HostPort":8080}]`, want: []string{"sctp 8080 0.0.0.0→" + c4}},
		{name: "sctp by both", on: both, ports: `[{"Proto":132,"Port":80,"HostPort":8080}]`, want: []string{"sctp 8080 0.0.0.0→" + c4 + " ::→" + c6}},
		{name: "sctp by IPv6", on: v6, ports: `[{"Proto":132,"Port":80,"HostPort":8080}]`, want: []string{"sctp 8080 ::→" + c6}},
		{name: "any order", on: v6, ports: `[{"Proto":6,"Port":82},{"Proto":6,"Port":90,"HostPort":9000,"HostPortEnd":9010},
			{"Proto":17,"Port":80,"HostPort":8080,"HostPortEnd":8080},{"Proto":6,"Port":80,"HostPort":9000,"HostPortEnd":9000}]`,
			want: []string{"tcp 9000 ::→" + c6, "udp 8080 ::→" + c6, "tcp 9000-9010 ::→[fd00:1::2]:90", "tcp 0 ::→[fd00:1::2]:82"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			opts := []string{modeKey(model.IPv4), cmp.Or(c.mode4, "nat"), modeKey(model.IPv6), cmp.Or(c.mode6, "nat")}
			if c.binding != "" {
				opts = append(opts, optHostBinding, c.binding)
			}
			var subnets, addresses []string
			if c.on != v6 {
				subnets, addresses = append(subnets, "10.1.0.0/24"), append(addresses, "10.1.0.2/24")
			}
			if c.on != v4 {
				subnets, addresses = append(subnets, "fd00:1::/64"), append(addresses, "fd00:1::2/64")
			}
			must(t, w.dualNetwork(netA, userOptions(opts...), subnets...))
			must(t, w.dualEndpoint(netA, ep1, addresses...))
			must(t, w.publish(netA, ep1, c.ports, c.only4))
			if have := requestTexts(w.ports.reqs); !slices.Equal(have, c.want) {
				t.Errorf("have %q\nwant %q", have, c.want)
			}
		})
	}
}

func TestNothingToPublish(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", `{"com.docker.network.internal":true}`))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	_, err = w.createEndpoint(netB, ep2, "10.2.0.2/24")
	must(t, err)
	w.unchanged(func() {
		must(t, w.pec(netA, ep1, port8080)) // internal
		must(t, w.pec(netB, ep2, `[]`))
		must(t, w.pec(netB, ep2, `null`))
	})
	if w.ports.reqs != nil {
		t.Errorf("reserved %v", w.ports.reqs)
	}
	// What is published no longer goes.
	must(t, w.pec(netB, ep2, port8080))
	must(t, w.pec(netB, ep2, `[]`))
	if p := w.endpointRecord(ep2).Ports; len(p) != 0 {
		t.Errorf("it has ports %v", p)
	}
}

func TestReservationIsReleasedWhenItFails(t *testing.T) {
	w := newWorld(t)
	w.running()
	w.ports.released = 0 // what was published well is released too, to no effect
	base, broken := w.sync.n, errors.New("iptables said no")
	w.sync.fail = func(n int) error {
		if n == base+1 {
			return broken
		}
		return nil
	}
	w.unchanged(func() {
		wantErr(t, w.pec(netA, ep1, `[{"Proto":6,"Port":80,"HostPort":9000}]`), broken, "publish ports of endpoint e1e1e1e1e1e1: iptables said no")
	})
	if w.ports.released != 1 {
		t.Errorf("released %d times", w.ports.released)
	}
}

func TestPortOfADeadEndpoint(t *testing.T) {
	const bind = "Bind for 0.0.0.0:8080 failed: port is already allocated"
	for _, c := range []struct {
		name   string
		ports  string // what ep2 wants
		before func(w *world)
		err    string
	}{
		{"alive", port8080, func(*world) {}, bind},
		{"gone", port8080, func(w *world) { w.host.gone = map[string]bool{"vethe1e1e1e1e1": true} }, ""},
		{"gone, but a call is about it", port8080, func(w *world) {
			w.host.gone = map[string]bool{"vethe1e1e1e1e1": true}
			w.t.Cleanup(w.endpoints.lock(ep1))
		}, bind},
		{"gone, but the port is somebody else's", `[{"Proto":6,"Port":80,"HostPort":9000}]`, func(w *world) {
			w.host.gone = map[string]bool{"vethe1e1e1e1e1": true}
			w.ports.owner[9000] = webServer
		}, "Bind for 0.0.0.0:9000 failed: port is already allocated"},
		{"gone, but it has the port of another protocol", `[{"Proto":17,"Port":80,"HostPort":8080}]`, func(w *world) {
			w.host.gone = map[string]bool{"vethe1e1e1e1e1": true}
		}, bind},
		{"links are unknown", port8080, func(w *world) { w.host.err = errors.New("netlink is tired") }, bind},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			_, err := w.createEndpoint(netA, ep2, "10.1.0.3/24")
			must(t, err)
			must(t, w.join(netA, ep2))
			w.Driver.sync = portsFollow{w.sync, w.ports}
			c.before(w)
			err = w.pec(netA, ep2, c.ports)
			if c.err != "" {
				wantErr(t, err, model.ErrConflict, c.err)
				w.endpointRecord(ep1)
				return
			}
			must(t, err)
			if s := w.store.Snapshot(); len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 || len(s.Endpoints[0].Ports) != 1 {
				t.Errorf("endpoints are %+v", s.Endpoints)
			}
		})
	}
}
