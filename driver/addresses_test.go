package driver

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Docker is right about whose an address is.
func TestAddressThatDockerGivesAway(t *testing.T) {
	leave := func(w *world) { must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1})) }
	for _, c := range []struct {
		name   string
		before func(w *world)
		given  []string // to ep2
		left   string   // addresses and ports of ep1 afterwards
	}{
		{"IPv6", func(*world) {}, []string{"10.1.0.3/24", "fd00:1::2/64"}, "10.1.0.2/24 [tcp 0.0.0.0:8080 -> 10.1.0.2:80]"},
		{"IPv4", func(*world) {}, []string{"10.1.0.2/24", "fd00:1::3/64"}, "fd00:1::2/64 [tcp [::]:8080 -> [fd00:1::2]:80]"},
		{"both of a container that is being started", func(w *world) { w.onHost(ep1) }, []string{"10.1.0.2/24", "fd00:1::2/64"}, ""},
		{"neither", func(*world) {}, []string{"10.1.0.3/24", "fd00:1::3/64"}, "10.1.0.2/24 fd00:1::2/64 [tcp 0.0.0.0:8080 -> 10.1.0.2:80 tcp [::]:8080 -> [fd00:1::2]:80]"},
		{"never joined", leave, []string{"10.1.0.2/24", "fd00:1::2/64"}, ""},
		{"interface gone", func(w *world) { w.host.gone = map[string]bool{"vethe1e1e1e1e1": true} }, []string{"10.1.0.2/24", "fd00:1::2/64"}, ""},
		{"a call is about it", func(w *world) { w.t.Cleanup(w.endpoints.lock(ep1)) }, []string{"10.1.0.3/24", "fd00:1::2/64"}, "10.1.0.2/24 [tcp 0.0.0.0:8080 -> 10.1.0.2:80]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.ports.hasIPv6 = true
			must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
			must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
			must(t, w.join(netA, ep1))
			must(t, w.pec(netA, ep1, port8080))
			c.before(w)
			must(t, w.dualEndpoint(netA, ep2, c.given...))
			must(t, w.join(netA, ep2))
			left := ""
			for _, e := range w.store.Snapshot().Endpoints {
				if e.ID == ep1 {
					for _, f := range model.Families() {
						if a := *e.Address(f); a.IsValid() {
							left += a.String() + " "
						}
					}
					left += fmtPorts(e.Ports)
				}
			}
			if left != c.left {
				t.Errorf("left are %q, want %q", left, c.left)
			}
			if warned := len(w.said) == 1; warned != (c.name != "neither") {
				t.Errorf("said %q", w.said)
			}
			checkRecords(t, w)
		})
	}
}

// The ports of an address that is given away go to another endpoint of the container that
// wants them.
func TestPortsOfAnAddressThatDockerGivesAway(t *testing.T) {
	w := newWorld(t)
	w.container(dual, four)
	must(t, w.publish(netB, ep2, port8080, false))
	must(t, w.publish(netA, ep1, port8080, false))
	w.wantPublished(ep1)
	must(t, w.dualEndpoint(netB, ep3, "10.2.0.2/24", "fd00:2::3/64"))
	w.wantPublished(ep1, "tcp 0.0.0.0:8080 -> 10.1.0.2:80")
	w.wantPublished(ep2, "tcp [::]:8080 -> [fd00:2::2]:80")
}

// A call that fails takes no address, and no port that leads there.
func TestAddressIsNotTakenByACallThatFails(t *testing.T) {
	broken := errors.New("iptables said no")
	for _, given := range [][]string{{"10.1.0.3/24", "fd00:1::2/64"}, {"10.1.0.2/24", "fd00:1::3/64"}} {
		for name, fail := range map[string]func(w *world) error{
			"the pass fails": func(w *world) error {
				base := w.sync.n
				w.sync.fail = func(n int) error {
					if n == base+1 {
						return broken
					}
					return nil
				}
				return broken
			},
			"its interface is it": func(w *world) error { return model.ErrConflict },
			"the client hangs up": func(w *world) error {
				hungUp, cancel := context.WithCancel(ctx)
				w.sync.fail = func(int) error { cancel(); return nil }
				withContext(t, hungUp)
				return context.Canceled
			},
		} {
			t.Run(given[0]+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.ports.hasIPv6 = true
				must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
				must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
				must(t, w.join(netA, ep1))
				must(t, w.pec(netA, ep1, port8080))
				id := ep2
				want := fail(w)
				if want == model.ErrConflict {
					id = ep1[:20] + "0" // an ID that begins alike
				}
				w.unchanged(func() {
					if err := w.dualEndpoint(netA, id, given...); !errors.Is(err, want) {
						t.Errorf("have error %v, want %v", err, want)
					}
				})
				if name == "the client hangs up" {
					ctx = context.Background()
				}
				if len(w.said) != 0 {
					t.Errorf("said %q", w.said)
				}
			})
		}
	}
}

// What a call has taken that Docker gave up is given back before the next call takes it.
func TestAddressOfACallThatIsReverted(t *testing.T) {
	w := newWorld(t)
	must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
	must(t, w.dualEndpoint(netA, ep1, "10.1.0.2/24", "fd00:1::2/64"))
	must(t, w.join(netA, ep1))
	g := newGate()
	w.Driver.sync = g
	hungUp, cancel := context.WithCancel(ctx)
	create := func(ctx context.Context, id, v4 string) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: id, Interface: &network.EndpointInterface{Address: v4, AddressIPv6: "fd00:1::2/64"}})
		return err
	}
	first := start(func() error { return create(hungUp, ep2, "10.1.0.3/24") })
	await(t, g.entered)
	cancel()
	second := start(func() error { return create(ctx, ep3, "10.1.0.4/24") })
	waiting(t, &w.sandboxes, ep2, 2)
	for range 3 { // either call, and the revert of the first one
		select {
		case g.open <- nil:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is reverted")
		}
	}
	if err := await(t, first); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, await(t, second))
	checkRecords(t, w)
	if e := w.endpointRecord(ep1); e.V6.IsValid() || !e.V4.IsValid() {
		t.Errorf("have %+v", e)
	}
	w.left(ep1, ep3)
}

// A container that runs is not cut off, whatever an IPAM driver gives away.
func TestOnlyAddressOfAContainerThatRuns(t *testing.T) {
	w := newWorld(t)
	w.running()
	text := "create endpoint e2e2e2e2e2e2: address 10.1.0.2 is that of endpoint e1e1e1e1e1e1"
	create := func() error {
		_, err := w.createEndpoint(netA, ep2, "10.1.0.2/24")
		return err
	}
	w.unchanged(func() { wantErr(t, create(), model.ErrConflict, text) })
	w.restart()
	w.clock.pass(time.Hour)
	w.unchanged(func() { wantErr(t, create(), model.ErrConflict, text) })
	w.onHost(ep1)
	must(t, create())
	w.left(ep2)
}
