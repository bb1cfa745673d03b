package driver

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"
)

// withContext runs a test's calls with another context.
func withContext(t *testing.T, other context.Context) {
	before := ctx
	ctx = other
	t.Cleanup(func() { ctx = before })
}

// The client hangs up while the host is made to match: what takes away is carried through,
// and what makes something is reverted, for Docker gives it up.
func TestClientHangsUpAtEachCall(t *testing.T) {
	for _, c := range calls() {
		if c.silent || c.recorded {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			c.prepare(w)
			before := w.store.Snapshot()
			hungUp, cancel := context.WithCancel(ctx)
			w.sync.fail = func(int) error { cancel(); return nil }
			withContext(t, hungUp)
			if c.removing {
				_, err := c.do(w)
				must(t, err)
				if reflect.DeepEqual(before, w.store.Snapshot()) {
					t.Error("nothing was removed")
				}
				return
			}
			w.unchanged(func() {
				if _, err := c.do(w); !errors.Is(err, context.Canceled) {
					t.Errorf("have error %v, want %v", err, context.Canceled)
				}
			})
			if len(w.said) != 0 {
				t.Errorf("said %q", w.said)
			}
		})
	}
}

// The client has hung up before its turn came: nothing is made, and what takes away is
// carried through.
func TestClientHasHungUpBefore(t *testing.T) {
	for _, c := range calls() {
		if c.silent {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			c.prepare(w)
			before, synced := w.store.Snapshot(), w.sync.n
			hungUp, cancel := context.WithCancel(ctx)
			cancel()
			withContext(t, hungUp)
			_, err := c.do(w)
			if c.removing {
				must(t, err)
				if reflect.DeepEqual(before, w.store.Snapshot()) || w.sync.n == synced {
					t.Error("nothing was removed")
				}
				return
			}
			if !errors.Is(err, context.Canceled) || !reflect.DeepEqual(before, w.store.Snapshot()) || w.sync.n != synced {
				t.Errorf("have error %v, synced %d times, from\n%+v to\n%+v", err, w.sync.n-synced, before, w.store.Snapshot())
			}
		})
	}
}

// A call that is repeated keeps what the first one was answered, if the client hangs up.
func TestClientHangsUpAtARepetition(t *testing.T) {
	w := newWorld(t)
	w.running()
	hungUp, cancel := context.WithCancel(ctx)
	w.sync.fail = func(int) error { cancel(); return nil }
	withContext(t, hungUp)
	w.unchanged(func() {
		if err := w.createNetwork(netA, "10.1.0.0/24", ""); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := w.createEndpoint(netA, ep1, "10.1.0.2/24"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Docker gives up on a call that takes long, and gives the address to the next endpoint
// while the call is still at it.
func TestAddressOfACallThatDockerGaveUp(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	g := newGate()
	w.Driver.sync = g
	hungUp, cancel := context.WithCancel(ctx)
	create := func(ctx context.Context, id string) error {
		_, err := w.CreateEndpoint(ctx, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: id, Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}})
		return err
	}
	first := start(func() error { return create(hungUp, ep1) })
	await(t, g.entered)
	cancel()
	second := start(func() error { return create(ctx, ep2) })
	await(t, g.entered)
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
	if s := w.store.Snapshot(); len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 {
		t.Errorf("have %+v", s.Endpoints)
	}
}

// An endpoint that joins no sandbox for some minutes, or none again, is removed.
func TestEndpointThatNobodyJoins(t *testing.T) {
	w := newWorld(t)
	w.running()
	_, err := w.createEndpoint(netA, ep2, "10.1.0.3/24")
	must(t, err)
	has := func(id string, want bool) {
		t.Helper()
		must(t, w.RemoveStale(ctx))
		have := false
		for _, e := range w.store.Snapshot().Endpoints {
			have = have || e.ID == id
		}
		if have != want {
			t.Errorf("endpoint %s is there: %v, want %v", short(id), have, want)
		}
	}
	w.clock.pass(4 * time.Minute)
	has(ep2, true)
	w.clock.pass(2 * time.Minute)
	has(ep2, false)
	has(ep1, true)

	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	w.clock.pass(4 * time.Minute)
	has(ep1, true)
	must(t, w.join(netA, ep1))
	w.clock.pass(2 * time.Minute)
	has(ep1, true)
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	w.restart()
	w.clock.pass(4 * time.Minute)
	has(ep1, true)
	w.clock.pass(2 * time.Minute)
	has(ep1, false)
	if n := len(w.ages.of); n != 0 {
		t.Errorf("%d ages are left", n)
	}
}

// A check that began before an endpoint was recorded does not make it old.
func TestAgeOfAnEndpointThatIsBeingMade(t *testing.T) {
	w := newWorld(t)
	w.running()
	w.clock.pass(time.Hour)
	w.ages.note(ep2)
	must(t, w.RemoveStale(ctx))
	_, err := w.createEndpoint(netA, ep2, "10.1.0.3/24")
	must(t, err)
	w.ages.keep(map[string]bool{ep1: true})
	must(t, w.RemoveStale(ctx))
	w.endpointRecord(ep2)
}

// Join and Leave change nothing on the host where no port is opened or published, so they
// ask for no pass, and no failing pass fails them.
func TestJoinAndLeaveWithoutAPass(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	synced := w.sync.n
	w.sync.fail = func(int) error { return errors.New("iptables said no") }
	must(t, w.join(netA, ep1))
	if e := w.endpointRecord(ep1); e.Sandbox != sandbox {
		t.Errorf("have %+v", e)
	}
	must(t, w.join(netA, ep1))
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	must(t, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1}))
	if e := w.endpointRecord(ep1); e.Sandbox != "" {
		t.Errorf("have %+v", e)
	}
	if w.sync.n != synced {
		t.Errorf("synced %d times", w.sync.n-synced)
	}

	// What opens or closes ports needs a pass.
	w.sync.fail = nil
	routedEndpoint(w)
	synced = w.sync.n
	for _, ports := range []any{nil, []any{map[string]any{"Proto": 6, "Port": 80}}} {
		_, err = w.Join(ctx, &network.JoinRequest{NetworkID: netB, EndpointID: ep2, SandboxKey: sandbox, Options: map[string]any{optPortMap: ports}})
		must(t, err)
	}
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netB, EndpointID: ep2}))
	if w.sync.n != synced+2 {
		t.Errorf("synced %d times, want one for the opening and one for the closing", w.sync.n-synced)
	}
}
