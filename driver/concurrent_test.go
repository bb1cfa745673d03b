package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// gate is a Syncer whose calls wait until they are let through.
type gate struct {
	entered chan struct{}
	open    chan error
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 16), open: make(chan error)} }

func (g *gate) Sync(context.Context, ...string) error {
	g.entered <- struct{}{}
	return <-g.open
}

// await fails the test if nothing comes within ten seconds.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("waited for ten seconds")
	}
	return v
}

func start[T any](do func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- do() }()
	return c
}

// waiting waits until n calls hold or await a lock of the key.
func waiting(t *testing.T, l *locks, key string, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		l.mu.Lock()
		k := l.byKey[key]
		users := 0
		if k != nil {
			users = k.users
		}
		l.mu.Unlock()
		if users == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls are about %s, want %d", users, short(key), n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOverlappingCallsAreAnsweredAlike(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	g := newGate()
	w.Driver.sync = g
	type answer struct {
		mac string
		err error
	}
	create := func() answer {
		res, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
		if err != nil {
			return answer{"", err}
		}
		return answer{res.Interface.MacAddress, nil}
	}
	first := start(create)
	await(t, g.entered)
	second := start(create)
	waiting(t, &w.endpoints, ep1, 2)
	if len(g.entered) != 0 {
		t.Error("the second call did not wait for the first")
	}
	g.open <- nil
	a := await(t, first)
	g.open <- nil
	if b := await(t, second); a != b || a.err != nil || a.mac == "" {
		t.Errorf("answered %+v and %+v", a, b)
	}
}

// The second call begins anew if the first one fails.
func TestOverlappingCallAfterAFailure(t *testing.T) {
	w := newWorld(t)
	g := newGate()
	w.Driver.sync = g
	create := func() error { return w.createNetwork(netA, "10.1.0.0/24", "") }
	first := start(create)
	await(t, g.entered)
	second := start(create)
	waiting(t, &w.networks, netA, 2)
	broken := errors.New("no")
	g.open <- broken
	g.open <- nil // the records are reverted
	if err := await(t, first); !errors.Is(err, broken) {
		t.Errorf("the first call: %v", err)
	}
	g.open <- nil
	must(t, await(t, second))
	w.networkRecord(netA)
}

func TestNetworkStaysWhileAnEndpointIsMade(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/24", ""))
	g := newGate()
	w.Driver.sync = g
	created := start(func() error { _, err := w.createEndpoint(netA, ep1, "10.1.0.2/24"); return err })
	await(t, g.entered)
	deleted := start(func() error { return w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA}) })
	waiting(t, &w.networks, netA, 2)
	w.networkRecord(netA)
	g.open <- nil
	must(t, await(t, created))
	g.open <- nil
	must(t, await(t, deleted))
	if s := w.store.Snapshot(); len(s.Networks)+len(s.Endpoints) != 0 {
		t.Errorf("left: %+v", s)
	}
}

// Containers of all networks come and go at the same time, and every fifth sync fails.
func TestStorm(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("no")
	w.sync.fail = func(n int) error {
		if n%5 == 0 {
			return broken
		}
		return nil
	}
	id := func(kind string, n int) string { return fmt.Sprintf("%s%04d", kind, n) + strings.Repeat("0", 58) }
	round := func(rnd *rand.Rand) {
		n := rnd.IntN(3)
		e := rnd.IntN(6)
		netID, epID := id("ne", n), id("ep", 10*n+e)
		known := func(err error, kinds ...error) {
			for _, k := range append(kinds, broken, model.ErrNotFound) {
				if err == nil || errors.Is(err, k) {
					return
				}
			}
			t.Error(err)
		}
		known(w.dualNetwork(netID, nil, fmt.Sprintf("10.%d.0.0/24", n), fmt.Sprintf("fd00:%d::/64", n)))
		known(w.dualEndpoint(netID, epID, fmt.Sprintf("10.%d.0.%d/24", n, 2+e/2), fmt.Sprintf("fd00:%d::%d/64", n, 2+e/2)), model.ErrConflict)
		known(w.join(netID, epID))
		known(w.pec(netID, epID, `[{"Proto":6,"Port":80}]`))
		_, err := w.AddPorts(ctx, netID, epID, []string{"90", "91"})
		known(err, model.ErrConflict)
		_, err = w.RemovePorts(ctx, netID, epID, []string{fmt.Sprint(80 + 10*rnd.IntN(2))})
		known(err)
		switch rnd.IntN(3) {
		case 0:
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netID, EndpointID: epID}))
		case 1:
			must(t, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netID, EndpointID: epID}))
		case 2:
			if rnd.IntN(4) == 0 {
				must(t, w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netID}))
			}
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range 15 {
				round(rnd)
			}
		})
	}
	wg.Wait()
	checkRecords(t, w)
	if n := len(w.networks.byKey) + len(w.endpoints.byKey); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

// checkRecords fails the test if the records contradict each other.
func checkRecords(t *testing.T, w *world) {
	t.Helper()
	s := w.store.Snapshot()
	networks, addrs := map[string]bool{}, map[netip.Addr]bool{}
	for _, n := range s.Networks {
		networks[n.ID] = true
	}
	for _, e := range s.Endpoints {
		if !networks[e.NetworkID] {
			t.Errorf("endpoint %s has no network", short(e.ID))
		}
		if e.Sandbox == "" && len(e.Added)+len(e.Removed) > 0 {
			t.Errorf("endpoint %s has left with %v and %v", short(e.ID), e.Added, e.Removed)
		}
		if ports := model.Ports(e.Ports...); e.Sandbox != "" {
			for one := range model.Ports(e.Added...) {
				if !ports[one] {
					t.Errorf("endpoint %s does not publish %v, which was added", short(e.ID), one)
				}
			}
		}
		for _, f := range model.Families() {
			a := e.Address(f).Addr()
			if a.IsValid() && addrs[a] {
				t.Errorf("two endpoints have %s", a)
			}
			addrs[a] = true
		}
	}
}
