package driver

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

func TestWrongPorts(t *testing.T) {
	w := newWorld(t)
	w.running()
	synced := w.sync.n
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
		`[{"Proto":6,"Port":80,"HostIP":"localhost"}]`:         `host address: "localhost" is not an IP address`,
		`[{"Proto":6,"Port":80,"HostIP":"fe80::1%eth0"}]`:      `host address: "fe80::1%eth0" is not an IP address`,
		`[{"Proto":132,"Port":80,"HostIP":"127.0.0.1"}]`:       `host address: sctp can't be published at 127.0.0.1: it takes NAT, from an IPv4 address that is no loopback address`,
		`[{"Proto":132,"Port":80,"HostIP":"::"}]`:              `host address: sctp can't be published at ::: it takes NAT, from an IPv4 address that is no loopback address`,
		`[{"Proto":6,"Port":80,"HostIP":"255.255.255.255"}]`:   `host address: "255.255.255.255" is not an address that a host can have`,
	} {
		w.unchanged(func() {
			wantErr(t, w.pec(netA, ep1, ports), model.ErrInvalid, "publish ports of endpoint e1e1e1e1e1e1: "+text)
		})
	}
	if w.sync.n != synced {
		t.Errorf("synced %d times", w.sync.n-synced)
	}
}

func TestPortRequests(t *testing.T) {
	c := netip.MustParseAddr("10.1.0.2")
	lo, any4, def := netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified(), netip.MustParseAddr("192.0.2.7")
	req := func(proto model.Proto, ip netip.Addr, first, last, port uint16) model.PortRequest {
		return model.PortRequest{Proto: proto, HostIP: ip, First: first, Last: last, Container: netip.AddrPortFrom(c, port)}
	}
	const ports = `[{"Proto":6,"Port":82},
		{"Proto":6,"Port":90,"HostPort":9000,"HostPortEnd":9010},
		{"Proto":132,"Port":85,"HostIP":"0.0.0.0","HostPort":8085},
		{"Proto":132,"Port":86,"HostPort":8086},
		{"Proto":17,"Port":80,"HostIP":"127.0.0.1","HostPort":8080,"HostPortEnd":8080},
		{"Proto":6,"Port":80,"HostPort":9000,"HostPortEnd":9000}]`
	for _, c := range []struct {
		name, options string
		standard      netip.Addr
	}{
		{"no default", "", netip.Addr{}},
		{"default", user(optHostBinding, "192.0.2.7"), def},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			must(t, w.createNetwork(netA, "10.1.0.0/24", c.options))
			_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
			must(t, err)
			must(t, w.pec(netA, ep1, ports))
			sctp := any4 // NAT alone carries it
			if c.standard.IsValid() {
				sctp = c.standard
			}
			if want := []model.PortRequest{
				req(model.TCP, c.standard, 0, 0, 82), req(model.TCP, c.standard, 9000, 9010, 90),
				req(model.SCTP, any4, 8085, 8085, 85), req(model.SCTP, sctp, 8086, 8086, 86), req(model.UDP, lo, 8080, 8080, 80),
				req(model.TCP, c.standard, 9000, 9000, 80),
			}; !reflect.DeepEqual(w.ports.reqs, want) {
				t.Errorf("have %+v\nwant %+v", w.ports.reqs, want)
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
			w.ports.owner[9000] = "the web server"
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
