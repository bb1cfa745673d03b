package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// A network is removed while an endpoint that it shares a sandbox with takes ports from one
// of its endpoints, and that fails: the endpoint does not come back without its network.
func TestNetworkIsRemovedWhileASiblingPublishes(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netA, ep1, port8080, false))
	g := newGate()
	w.Driver.sync = g
	published := start(func() error { return w.publish(netB, ep2, port8080, false) })
	await(t, g.entered)
	removed := start(func() error { return w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: netA}) })
	waiting(t, &w.sandboxes, sandbox, 2)
	w.networkRecord(netA)
	broken := errors.New("iptables said no")
	g.open <- broken
	g.open <- nil // the records are reverted
	if err := await(t, published); !errors.Is(err, broken) {
		t.Error(err)
	}
	g.open <- nil
	must(t, await(t, removed))
	checkRecords(t, w)
	if s := w.store.Snapshot(); len(s.Networks) != 1 || len(s.Endpoints) != 1 || s.Endpoints[0].ID != ep2 {
		t.Errorf("have %+v", s)
	}
}

// An endpoint that joins another sandbox waits until nobody changes the ports of the one
// that it leaves, which go to the endpoints that stay there.
func TestJoinIntoAnotherSandbox(t *testing.T) {
	w := newWorld(t)
	w.container(four, dual)
	must(t, w.publish(netA, ep1, port8080, true))
	must(t, w.publish(netB, ep2, port8080, false))
	w.host.taken = map[string]bool{}
	w.host.foreign = []model.Link{{Name: model.Endpoint{ID: ep1}.PeerIface(), Kind: "veth"}}
	unlock := w.sandboxes.lock(sandbox)
	joined := start(func() error { return w.joinSandbox(netA, ep1, sandbox+"-other") })
	waiting(t, &w.sandboxes, sandbox, 2)
	if e := w.endpointRecord(ep1); e.Sandbox != sandbox {
		t.Errorf("have %+v", e)
	}
	unlock()
	must(t, await(t, joined))
	if e := w.endpointRecord(ep1); e.Sandbox != sandbox+"-other" || len(e.Ports) != 0 {
		t.Errorf("have %+v", e)
	}
	w.wantPublished(ep2, "tcp 0.0.0.0:8080 -> 10.2.0.2:80", "tcp [::]:8080 -> [fd00:2::2]:80")
}

// Whatever order several sandboxes are asked for in, their callers don't wait for each
// other for ever.
func TestLockAll(t *testing.T) {
	var l locks
	done := start(func() int {
		var wg sync.WaitGroup
		for i := range 4 {
			keys := []string{"a", "b", "a"}
			if i%2 == 0 {
				keys = []string{"b", "a"}
			}
			wg.Go(func() {
				for range 5000 {
					l.lockAll(slices.Clone(keys)...)()
				}
			})
		}
		wg.Wait()
		return len(l.byKey)
	})
	if n := await(t, done); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

// everything does each call of the protocol about random networks and endpoints: of two
// containers, with two networks in common, at addresses that collide.
type everything struct {
	w   *world
	rnd *rand.Rand
	t   *testing.T
}

func (s everything) round() {
	caller, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.rnd.IntN(4) == 0 {
		cancel() // before its turn
	} else if s.rnd.IntN(4) == 0 {
		go cancel() // at any time
	}
	w, n, c := s.w, s.rnd.IntN(3), s.rnd.IntN(3)
	netID := fmt.Sprintf("ne%02d", n) + strings.Repeat("0", 60)
	epID := fmt.Sprintf("ep%d%d%d", n, c, s.rnd.IntN(2)) + strings.Repeat("0", 59)
	key := fmt.Sprint(sandbox, c)
	subnet, subnet6 := fmt.Sprintf("10.%d.0.0/24", n), fmt.Sprintf("fd00:%d::/64", n)
	p4, p6 := netip.MustParsePrefix(subnet), netip.MustParsePrefix(subnet6)
	at := func(p netip.Prefix) string {
		return netip.PrefixFrom(p.Addr().Next().Next(), p.Bits()).String()
	}
	switch s.rnd.IntN(9) {
	case 0, 1:
		s.known(w.CreateNetwork(caller, &network.CreateNetworkRequest{
			NetworkID: netID, Options: map[string]any{"com.docker.network.enable_ipv6": true},
			IPv4Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: subnet, Gateway: netip.PrefixFrom(p4.Addr().Next(), 24).String()}},
			IPv6Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: subnet6, Gateway: netip.PrefixFrom(p6.Addr().Next(), 64).String()}},
		}))
	case 2, 3:
		_, err := w.CreateEndpoint(caller, &network.CreateEndpointRequest{NetworkID: netID, EndpointID: epID,
			Interface: &network.EndpointInterface{Address: at(p4), AddressIPv6: at(p6)}})
		s.known(err)
	case 4:
		_, err := w.Join(caller, &network.JoinRequest{NetworkID: netID, EndpointID: epID, SandboxKey: key})
		s.known(err)
	case 5:
		ports := []any{map[string]any{"Proto": 6, "Port": 80, "HostPort": 8000 + s.rnd.IntN(3)}, map[string]any{"Proto": 6, "Port": 81}}
		s.known(w.ProgramExternalConnectivity(caller, &network.ProgramExternalConnectivityRequest{NetworkID: netID, EndpointID: epID, Options: map[string]any{optPortMap: ports}}))
	case 6:
		s.none(w.Leave(caller, &network.LeaveRequest{NetworkID: netID, EndpointID: epID}))
	case 7:
		s.none(w.DeleteEndpoint(caller, &network.DeleteEndpointRequest{NetworkID: netID, EndpointID: epID}))
	case 8:
		if s.rnd.IntN(3) == 0 {
			s.none(w.DeleteNetwork(caller, &network.DeleteNetworkRequest{NetworkID: netID}))
		} else {
			w.clock.pass(time.Minute)
			s.known(w.RemoveStale(caller))
		}
	}
}

var errStorm = errors.New("no")

func (s everything) known(err error) {
	for _, k := range []error{nil, context.Canceled, errStorm, model.ErrNotFound, model.ErrConflict, model.ErrExists} {
		if errors.Is(err, k) {
			return
		}
	}
	s.t.Error(err)
}

func (s everything) none(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// Whatever overlaps, hangs up and fails: no endpoint is without its network, no host port
// has two owners, and nothing is left once everything is removed.
func TestStormOfEverything(t *testing.T) {
	w := newWorld(t)
	w.ports.hasIPv6 = true
	w.Driver.sync = portsFollow{w.sync, w.ports}
	w.sync.fail = func(n int) error {
		if n%7 == 0 {
			return errStorm
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := everything{w, rand.New(rand.NewPCG(3, uint64(i))), t}
			for range 60 {
				s.round()
			}
		})
	}
	wg.Wait()
	checkRecords(t, w)
	checkPorts(t, w)
	w.sync.fail = nil
	for _, n := range w.store.Snapshot().Networks {
		must(t, w.DeleteNetwork(ctx, &network.DeleteNetworkRequest{NetworkID: n.ID}))
	}
	w.clock.pass(time.Hour)
	must(t, w.RemoveStale(ctx))
	must(t, w.Driver.sync.Sync(ctx))
	if s := w.store.Snapshot(); len(s.Networks)+len(s.Endpoints) != 0 {
		t.Errorf("left are %+v", s)
	}
	if len(w.ports.owner) != 0 {
		t.Errorf("left are the ports %v", w.ports.owner)
	}
	if n := len(w.networks.byKey) + len(w.endpoints.byKey) + len(w.sandboxes.byKey) + len(w.ages.of); n != 0 {
		t.Errorf("%d locks and ages are left", n)
	}
	if made := w.host.made; len(made) != 0 {
		t.Errorf("left are the links %+v", made)
	}
}
