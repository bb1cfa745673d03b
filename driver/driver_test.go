package driver

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// call is one call of the protocol on the world of running.
type call struct {
	name     string
	prepare  func(w *world) // after running
	do       func(w *world) (any, error)
	removing bool // may not fail for the host's sake
	silent   bool // records nothing, so it needs no sync
	recorded bool // changes nothing on the host, so it needs no sync either
}

func calls() []call {
	none := func(*world) {}
	return []call{
		{"CreateNetwork", none, func(w *world) (any, error) { return nil, w.createNetwork(netB, "10.2.0.0/24", "") }, false, false, false},
		{"CreateNetwork of both families", none, func(w *world) (any, error) {
			return nil, w.dualNetwork(netB, userOptions(modeKey(model.IPv4), "routed", optTrusted, "eth0"), "10.2.0.0/24", "fd00:2::/64")
		}, false, false, false},
		{"CreateEndpoint of both families", bothFamilies, func(w *world) (any, error) {
			return nil, w.dualEndpoint(netB, ep2, "10.2.0.2/24", "fd00:2::2/64")
		}, false, false, false},
		{"Join and open", routedEndpoint, func(w *world) (any, error) {
			return w.Join(ctx, &network.JoinRequest{NetworkID: netB, EndpointID: ep2, SandboxKey: sandbox, Options: map[string]any{
				optPortMap: []any{map[string]any{"Proto": 6, "Port": 80}}}})
		}, false, false, false},
		{"ProgramExternalConnectivity of a sibling", siblingEndpoint, func(w *world) (any, error) {
			return nil, w.pec(netB, ep2, port8080)
		}, false, false, false},
		{"ProgramExternalConnectivity of a default route by IPv4", siblingPorts, func(w *world) (any, error) {
			return nil, w.publish(netA, ep1, port8080, true)
		}, false, false, false},
		{"RevokeExternalConnectivity of a sibling", siblingPorts, func(w *world) (any, error) {
			return nil, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netB, EndpointID: ep2})
		}, true, false, false},
		{"DeleteNetwork", none, func(w *world) (any, error) {
			return nil, w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA})
		}, true, false, false},
		{"CreateEndpoint", none, func(w *world) (any, error) { return w.createEndpoint(netA, ep2, "10.1.0.3/24") }, false, false, false},
		{"DeleteEndpoint", none, func(w *world) (any, error) {
			return nil, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1})
		}, true, false, false},
		{"Join", func(w *world) { _, err := w.createEndpoint(netA, ep2, "10.1.0.3/24"); must(w.t, err) }, func(w *world) (any, error) {
			return w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: ep2, SandboxKey: sandbox})
		}, false, false, true},
		{"Leave", none, func(w *world) (any, error) {
			return nil, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1})
		}, true, false, false},
		{"ProgramExternalConnectivity", none, func(w *world) (any, error) {
			return nil, w.pec(netA, ep1, `[{"Proto":6,"Port":80},{"Proto":6,"Port":81,"HostPort":8081,"HostPortEnd":8081}]`)
		}, false, false, false},
		{"RevokeExternalConnectivity", none, func(w *world) (any, error) {
			return nil, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1})
		}, true, false, false},
		{"EndpointOperInfo", none, func(w *world) (any, error) {
			return w.EndpointOperInfo(ctx, &network.InfoRequest{NetworkID: netA, EndpointID: ep1})
		}, false, true, false},
		{"GetCapabilities", none, func(w *world) (any, error) { return w.GetCapabilities(ctx) }, false, true, false},
		{"FreeNetwork", none, func(w *world) (any, error) { return nil, w.FreeNetwork(ctx, &network.FreeNetworkRequest{}) }, true, true, false},
		{"DiscoverNew", none, func(w *world) (any, error) { return nil, w.DiscoverNew(ctx, &network.DiscoveryNotification{}) }, true, true, false},
		{"DiscoverDelete", none, func(w *world) (any, error) { return nil, w.DiscoverDelete(ctx, &network.DiscoveryNotification{}) }, true, true, false},
		{"GwAllocCheck", none, func(w *world) (any, error) { return w.GwAllocCheck(ctx, &GwAllocCheckRequest{}) }, false, true, false},
	}
}

func bothFamilies(w *world) {
	w.ports.hasIPv6 = true
	must(w.t, w.dualNetwork(netB, nil, "10.2.0.0/24", "fd00:2::/64"))
}

func routedEndpoint(w *world) {
	must(w.t, w.dualNetwork(netB, userOptions(modeKey(model.IPv4), "routed"), "10.2.0.0/24"))
	must(w.t, w.dualEndpoint(netB, ep2, "10.2.0.2/24"))
}

// siblingEndpoint puts another endpoint into the sandbox of ep1, which has all its ports.
func siblingEndpoint(w *world) {
	bothFamilies(w)
	must(w.t, w.pec(netA, ep1, port8080))
	must(w.t, w.dualEndpoint(netB, ep2, "10.2.0.2/24", "fd00:2::2/64"))
	must(w.t, w.joinSandbox(netB, ep2, sandbox))
}

// siblingPorts gives all ports to the other endpoint, though ep1 wants them.
func siblingPorts(w *world) {
	siblingEndpoint(w)
	must(w.t, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: netA, EndpointID: ep1}))
	must(w.t, w.pec(netB, ep2, port8080))
	must(w.t, w.pec(netA, ep1, port8080))
}

func TestEveryCallTwice(t *testing.T) {
	for _, c := range calls() {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			c.prepare(w)
			before := w.store.Snapshot()
			first, err := c.do(w)
			must(t, err)
			if after := w.store.Snapshot(); reflect.DeepEqual(before, after) != c.silent {
				t.Errorf("records changed: have %v, want %v", c.silent, !c.silent)
			}
			w.unchanged(func() {
				second, err := c.do(w)
				must(t, err)
				if !reflect.DeepEqual(first, second) {
					t.Errorf("answered first %+v, then %+v", first, second)
				}
			})
		})
	}
}

func TestFailedSync(t *testing.T) {
	broken := errors.New("the kernel said no")
	for _, c := range calls() {
		if c.silent || c.recorded {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			c.prepare(w)
			before := w.store.Snapshot()
			base := w.sync.n
			w.sync.fail = func(n int) error {
				if n == base+1 {
					return broken
				}
				return nil
			}
			if c.removing {
				_, err := c.do(w)
				must(t, err)
				if reflect.DeepEqual(before, w.store.Snapshot()) {
					t.Error("nothing was removed")
				}
				if len(w.said) != 1 || !strings.Contains(w.said[0], broken.Error()) {
					t.Errorf("said %q", w.said)
				}
				return
			}
			w.unchanged(func() {
				if _, err := c.do(w); !errors.Is(err, broken) {
					t.Errorf("have error %v, want %v", err, broken)
				}
			})
			if n := w.sync.n - base; n != 2 {
				t.Errorf("synced %d times, want once more after the records were reverted", n)
			}
			_, err := c.do(w) // and it can be asked for again
			must(t, err)
		})
	}
}

func TestPanickingSync(t *testing.T) {
	w := newWorld(t)
	w.running()
	base := w.sync.n
	w.sync.fail = func(n int) error {
		if n == base+1 {
			panic("sync")
		}
		return nil
	}
	w.unchanged(func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = w.pec(netA, ep1, `[{"Proto":6,"Port":81,"HostPort":8081}]`)
	})
	must(t, w.pec(netA, ep1, port8080)) // no lock is left behind
}

func TestUnknown(t *testing.T) {
	w := newWorld(t)
	w.running()
	must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
	synced := w.sync.n
	for _, id := range []struct{ net, ep string }{{netA, ep3}, {ep3, ep3}, {ep3, ep1}, {netB, ep1}, {"", ""}, {"../x", "/"}} {
		w.unchanged(func() {
			must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: id.net, EndpointID: id.ep}))
			must(t, w.RevokeExternalConnectivity(ctx, &network.RevokeExternalConnectivityRequest{NetworkID: id.net, EndpointID: id.ep}))
			must(t, w.DeleteEndpoint(ctx, &network.DeleteEndpointRequest{NetworkID: id.net, EndpointID: id.ep}))
			info, err := w.EndpointOperInfo(ctx, &network.InfoRequest{NetworkID: id.net, EndpointID: id.ep})
			must(t, err)
			if text, _ := json.Marshal(info); string(text) != `{"Value":{}}` {
				t.Errorf("info is %s", text)
			}
			err = w.join(id.net, id.ep)
			if !errors.Is(err, model.ErrNotFound) {
				t.Errorf("join: %v", err)
			}
			if err := w.pec(id.net, id.ep, port8080); !errors.Is(err, model.ErrNotFound) {
				t.Errorf("publish: %v", err)
			}
		})
	}
	must(t, w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: ep3}))
	if w.sync.n != synced {
		t.Errorf("synced %d times for nothing", w.sync.n-synced)
	}
}

func TestCapabilities(t *testing.T) {
	w := newWorld(t)
	c, err := w.GetCapabilities(ctx)
	must(t, err)
	if text, _ := json.Marshal(c); string(text) != `{"Scope":"local","ConnectivityScope":"local","GwAllocChecker":true}` {
		t.Errorf("have %s", text)
	}
	_, err = w.AllocateNetwork(ctx, &network.AllocateNetworkRequest{NetworkID: netA})
	wantErr(t, err, model.ErrInvalid, "allocate network a1a1a1a1a1a1: networks of this driver exist on one host only")
}

func TestClientHangsUp(t *testing.T) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	w := newWorld(t)
	w.running()
	s := &ctxSync{}
	w.Driver.sync = s
	must(t, w.DeleteEndpoint(gone, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1}))
	must(t, w.DeleteNetwork(gone, &network.DeleteNetworkRequest{NetworkID: netA}))
	if s.calls != 2 || s.err != nil {
		t.Errorf("synced %d times, with a context whose error is %v", s.calls, s.err)
	}
}

type ctxSync struct {
	calls int
	err   error
}

func (s *ctxSync) Sync(ctx context.Context, _ ...string) error {
	s.calls++
	s.err = errors.Join(s.err, ctx.Err())
	return nil
}
