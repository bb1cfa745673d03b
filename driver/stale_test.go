package driver

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

func TestNetworkThatDockerRemovedWhileMybrWasAway(t *testing.T) {
	create := func(w *world, id, space, subnet, gateway string) error {
		return w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, oneNetwork(id, user(optBridge, "br0"),
			fmt.Sprintf(`[{"AddressSpace":%q,"Pool":%q,"Gateway":%q}]`, space, subnet, gateway))))
	}
	text := "create network b2b2b2b2b2b2: cannot create network " + netB + " (br0): conflicts with network " + netA + " (br0): networks have same bridge name"

	t.Run("its subnet is given away", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		_, err := w.createEndpoint(netA, ep1, "10.2.0.9/24")
		must(t, err)
		w.unchanged(func() { // the endpoint may be about to join
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/25", "10.2.0.1/25"), model.ErrConflict, text)
		})
		w.clock.pass(joinedWithin + time.Second)
		must(t, create(w, netB, "LocalDefault", "10.2.0.0/25", "10.2.0.1/25"))
		s := w.store.Snapshot()
		if len(s.Networks) != 1 || s.Networks[0].ID != netB || len(s.Endpoints) != 0 {
			t.Errorf("have %+v", s)
		}
	})
	t.Run("its IPv6 subnet is given away", func(t *testing.T) {
		w := newWorld(t)
		must(t, w.dualNetwork(netA, nil, "10.1.0.0/24", "fd00:1::/64"))
		must(t, w.dualNetwork(netB, nil, "10.2.0.0/24", "fd00:1::/80"))
		if s := w.store.Snapshot(); len(s.Networks) != 1 || s.Networks[0].ID != netB {
			t.Errorf("have %+v", s)
		}
	})
	t.Run("a container of it is being started", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		_, err := w.createEndpoint(netA, ep1, "10.2.0.9/24")
		must(t, err)
		must(t, w.join(netA, ep1))
		w.onHost(ep1)
		w.unchanged(func() {
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"), model.ErrConflict, text)
		})
	})
	t.Run("it has an endpoint that is there", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		_, err := w.createEndpoint(netA, ep1, "10.2.0.9/24")
		must(t, err)
		must(t, w.join(netA, ep1))
		w.unchanged(func() {
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"), model.ErrConflict, text)
		})
	})
	for name, c := range map[string]struct{ space, subnet, gateway string }{
		"another address space":                  {"elsewhere", "10.2.0.0/24", "10.2.0.1/24"},
		"another subnet":                         {"LocalDefault", "10.3.0.0/24", "10.3.0.1/24"},
		"no address space":                       {"", "10.2.0.0/24", "10.2.0.1/24"},
		"the same one of two other IPAM drivers": {"local", "10.2.0.0/24", "10.2.0.1/24"},
		"the same one of mybr's own IPAM":        {"mybr-local", "10.2.0.0/24", "10.2.0.1/24"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			space := "LocalDefault"
			if c.space == "local" || c.space == "mybr-local" {
				space = c.space
			}
			must(t, create(w, netA, space, "10.2.0.0/24", "10.2.0.1/24"))
			w.unchanged(func() {
				wantErr(t, create(w, netB, c.space, c.subnet, c.gateway), model.ErrConflict, text)
			})
		})
	}
	t.Run("a call is about it", func(t *testing.T) {
		w := newWorld(t)
		must(t, create(w, netA, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"))
		unlock := w.networks.rlock(netA)
		defer unlock()
		w.unchanged(func() {
			wantErr(t, create(w, netB, "LocalDefault", "10.2.0.0/24", "10.2.0.1/24"), model.ErrConflict, text)
		})
	})
}

func TestEndpointsThatEndedWhileMybrWasAway(t *testing.T) {
	w := newWorld(t)
	must(t, w.createNetwork(netA, "10.1.0.0/16", ""))
	for id, address := range map[string]string{ep1: "10.1.0.2/16", ep2: "10.1.0.3/16", ep3: "10.1.0.4/16"} {
		_, err := w.createEndpoint(netA, id, address)
		must(t, err)
	}
	for _, id := range []string{ep1, ep2} {
		_, err := w.Join(ctx, &network.JoinRequest{NetworkID: netA, EndpointID: id, SandboxKey: sandbox + id[:2]})
		must(t, err)
	}
	gone := func(id string) string { return model.Endpoint{ID: id}.HostIface() }
	w.host.gone = map[string]bool{gone(ep1): true, gone(ep3): true} // ep3 never joined: its pair is made again
	w.restart()
	must(t, w.RemoveEnded())
	var left []string
	for _, e := range w.store.Snapshot().Endpoints {
		left = append(left, e.ID)
	}
	if want := []string{ep2, ep3}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

// left fails the test unless these are the endpoints that have records.
func (w *world) left(ids ...string) {
	w.t.Helper()
	var have []string
	for _, e := range w.store.Snapshot().Endpoints {
		have = append(have, e.ID)
	}
	if !slices.Equal(have, ids) {
		w.t.Errorf("have endpoints %v, want %v", have, ids)
	}
}

// onHost puts the container's end of an endpoint's veth pair on the host.
func (w *world) onHost(id string) {
	peer := model.Endpoint{ID: id}.PeerIface()
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	delete(w.host.taken, peer)
	w.host.foreign = append(w.host.foreign, model.Link{Name: peer, Kind: "veth"})
}

// inSandbox takes the container's end of an endpoint's veth pair from the host.
func (w *world) inSandbox(id string) {
	peer := model.Endpoint{ID: id}.PeerIface()
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	w.host.taken[peer] = true
	w.host.foreign = slices.DeleteFunc(w.host.foreign, func(l model.Link) bool { return l.Name == peer })
}

// Engines up to 27 make the sandbox long after Join if the container's volumes are slow.
func TestContainerThatIsBeingStarted(t *testing.T) {
	starting := func(t *testing.T) *world {
		w := newWorld(t)
		w.Driver.sync = portsFollow{w.sync, w.ports}
		w.running()
		w.onHost(ep1)
		return w
	}
	t.Run("for some minutes", func(t *testing.T) {
		w := starting(t)
		for range 19 {
			w.clock.pass(CheckInterval)
			must(t, w.RemoveStale(ctx))
		}
		w.left(ep1)
		w.clock.pass(time.Minute)
		must(t, w.RemoveStale(ctx))
		w.left()
	})
	t.Run("until it is there", func(t *testing.T) {
		w := starting(t)
		w.clock.pass(9 * time.Minute)
		must(t, w.RemoveStale(ctx))
		w.inSandbox(ep1)
		w.clock.pass(time.Hour)
		must(t, w.RemoveStale(ctx))
		w.left(ep1)
	})
	t.Run("its port is wanted", func(t *testing.T) {
		w := starting(t)
		w.clock.pass(9 * time.Minute)
		_, err := w.createEndpoint(netA, ep2, "10.1.0.9/24")
		must(t, err)
		if err := w.pec(netA, ep2, port8080); err == nil {
			t.Error("the port of a container that is being started was taken")
		}
		w.left(ep1, ep2)
	})
	t.Run("on several networks", func(t *testing.T) {
		w := starting(t)
		must(t, w.createNetwork(netB, "10.2.0.0/24", ""))
		w.clock.pass(time.Minute)
		_, err := w.createEndpoint(netB, ep2, "10.2.0.2/24")
		must(t, err)
		must(t, w.joinSandbox(netB, ep2, sandbox))
		must(t, w.pec(netB, ep2, port8080))
		w.left(ep1, ep2)
	})
	t.Run("when mybr starts", func(t *testing.T) {
		w := starting(t)
		w.clock.pass(time.Hour)
		w.restart()
		must(t, w.RemoveEnded())
		must(t, w.RemoveStale(ctx))
		w.clock.pass(9 * time.Minute)
		must(t, w.RemoveStale(ctx))
		w.left(ep1)
		w.clock.pass(2 * time.Minute)
		must(t, w.RemoveStale(ctx))
		w.left()
	})
	t.Run("it joins again", func(t *testing.T) {
		w := newWorld(t)
		w.running()
		must(t, w.RemoveStale(ctx)) // it is seen in its sandbox
		must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
		must(t, w.join(netA, ep1))
		w.onHost(ep1)
		w.clock.pass(time.Minute)
		must(t, w.RemoveStale(ctx))
		w.left(ep1)
	})
}

// Docker puts the container's end back on the host when it removes a container; if it is
// killed then, nobody tells mybr.
func TestEndpointThatDockerPutBack(t *testing.T) {
	returned := func(t *testing.T) *world {
		w := newWorld(t)
		w.Driver.sync = portsFollow{w.sync, w.ports}
		w.running()
		w.clock.pass(time.Hour)
		must(t, w.RemoveStale(ctx))
		w.onHost(ep1)
		_, err := w.createEndpoint(netA, ep2, "10.1.0.9/24")
		must(t, err)
		return w
	}
	t.Run("a moment ago", func(t *testing.T) {
		w := returned(t)
		w.clock.pass(CheckInterval + time.Second)
		must(t, w.RemoveStale(ctx))
		if err := w.pec(netA, ep2, port8080); err == nil {
			t.Error("the port was taken")
		}
		w.left(ep1, ep2)
	})
	t.Run("some time ago", func(t *testing.T) {
		w := returned(t)
		w.clock.pass(time.Minute)
		must(t, w.RemoveStale(ctx))
		w.left(ep2)
	})
	t.Run("its port is wanted", func(t *testing.T) {
		w := returned(t)
		w.clock.pass(time.Minute)
		must(t, w.pec(netA, ep2, port8080))
		w.left(ep2)
	})
	t.Run("it is taken again just before it is removed", func(t *testing.T) {
		w := returned(t)
		w.clock.pass(time.Minute)
		w.Driver.links = linksThen{w.host, func() { w.inSandbox(ep1) }}
		must(t, w.RemoveStale(ctx))
		w.left(ep1, ep2)
	})
}

// Docker removes a container while mybr is away: the interface that it has put back is known
// by what the kernel says of it.
func TestEndpointThatDockerPutBackWhileMybrWasAway(t *testing.T) {
	for name, c := range map[string]struct{ up, hadLink, stays bool }{
		"it was in a sandbox":             {false, true, false},
		"it is new":                       {false, false, true},
		"a program of the host set it up": {true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.running()
			w.onHost(ep1)
			w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true} // as made
			w.host.foreign[0].Up = c.up
			w.host.foreign = append(w.host.foreign, model.Link{Name: model.Endpoint{ID: ep1}.HostIface(), Kind: "veth", Up: true, HadLink: c.hadLink})
			w.restart()
			must(t, w.RemoveStale(ctx))
			w.left(ep1)
			w.clock.pass(CheckInterval)
			must(t, w.RemoveStale(ctx))
			if c.stays {
				w.left(ep1)
			} else {
				w.left()
			}
		})
	}
}

// linksThen are the links of the host, which change as soon as they are read.
type linksThen struct {
	host Links
	then func()
}

func (l linksThen) Links() ([]model.Link, error) {
	defer l.then()
	return l.host.Links()
}

// The pool of a live network can be missing: Docker releases it when it gives up a second
// network that it was given it for.
func TestNetworkWithoutAPool(t *testing.T) {
	w := newWorld(t)
	must(t, w.ownNetwork(netA, "10.1.0.0/24"))
	w.clock.pass(time.Hour)
	must(t, w.RemoveStale(ctx))
	w.networkRecord(netA)
}

// ownNetwork asks for a network whose subnet is of mybr's own IPAM.
func (w *world) ownNetwork(id, subnet string) error {
	gateway := netip.MustParsePrefix(subnet).Addr().Next()
	return w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](w.t, oneNetwork(id, "{}",
		fmt.Sprintf(`[{"AddressSpace":"mybr-local","Pool":%q,"Gateway":"%s/24"}]`, subnet, gateway))))
}
