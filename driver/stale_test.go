package driver

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
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
		w.host.gone = map[string]bool{model.Endpoint{ID: ep1}.HostIface(): true}
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
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			space := "LocalDefault"
			if c.space == "local" {
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

// Docker removes a container while mybr is away: it puts the container's end back on the
// host, and nobody tells mybr. A container that is just being started looks the same.
func TestEndpointsThatDockerLeftWhileMybrWasAway(t *testing.T) {
	left := func(t *testing.T) *world {
		w := newWorld(t)
		w.running()
		w.Driver.sync = portsFollow{w.sync, w.ports}
		w.host.foreign = []model.Link{{Name: model.Endpoint{ID: ep1}.PeerIface(), Kind: "veth"}}
		_, err := w.createEndpoint(netA, ep2, "10.1.0.9/24")
		must(t, err)
		return w
	}
	want := func(t *testing.T, w *world, ids ...string) {
		t.Helper()
		var have []string
		for _, e := range w.store.Snapshot().Endpoints {
			have = append(have, e.ID)
		}
		if !slices.Equal(have, ids) {
			t.Errorf("have endpoints %v, want %v", have, ids)
		}
	}
	t.Run("its port is wanted", func(t *testing.T) {
		w := left(t)
		w.clock.pass(time.Minute)
		must(t, w.pec(netA, ep2, port8080))
		want(t, w, ep2)
	})
	t.Run("its port is wanted while it starts", func(t *testing.T) {
		w := left(t)
		if err := w.pec(netA, ep2, port8080); err == nil {
			t.Error("the port of a container that is being started was taken")
		}
		want(t, w, ep1, ep2)
	})
	t.Run("some time after the start", func(t *testing.T) {
		w := left(t)
		w.restart()
		must(t, w.RemoveStale(ctx))
		want(t, w, ep1, ep2)
		w.clock.pass(time.Minute)
		must(t, w.RemoveStale(ctx))
		want(t, w, ep2)
	})
}

// With mybr's own IPAM, Docker releases the pool of a network that it has removed.
func TestNetworkWhosePoolIsReleased(t *testing.T) {
	w := newWorld(t)
	create := func(id, space, subnet string) {
		p := netip.MustParsePrefix(subnet)
		must(t, w.CreateNetwork(ctx, decode[network.CreateNetworkRequest](t, oneNetwork(id, "{}",
			fmt.Sprintf(`[{"AddressSpace":%q,"Pool":%q,"Gateway":"%s/24"}]`, space, subnet, p.Addr().Next())))))
	}
	left := func(ids ...string) {
		t.Helper()
		must(t, w.RemoveStale(ctx))
		var have []string
		for _, n := range w.store.Snapshot().Networks {
			have = append(have, n.ID)
		}
		if !slices.Equal(have, ids) {
			t.Errorf("left are %v, want %v", have, ids)
		}
	}
	update := func(fn func(*store.Tx) error) {
		_, err := w.store.Update(fn)
		must(t, err)
	}
	pool := model.Pool{ID: "p", Space: "mybr-local", Prefix: netip.MustParsePrefix("10.1.0.0/24")}
	update(func(tx *store.Tx) error { return tx.PutPool(pool) })
	create(netA, "mybr-local", "10.1.0.0/24")
	create(netB, "LocalDefault", "10.2.0.0/24")
	create(netC, "elsewhere", "10.3.0.0/24")
	_, err := w.createEndpoint(netA, ep1, "10.1.0.2/24")
	must(t, err)
	must(t, w.join(netA, ep1))
	left(netA, netB, netC)
	update(func(tx *store.Tx) error { return tx.DeletePool("p") })
	left(netA, netB, netC) // a container is attached
	must(t, w.Leave(ctx, &network.LeaveRequest{NetworkID: netA, EndpointID: ep1}))
	unlock := w.networks.rlock(netA)
	left(netA, netB, netC) // a call is about it
	unlock()
	left(netB, netC)
}
