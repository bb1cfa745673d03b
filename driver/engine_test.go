package driver

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"

	"github.com/mybr/mybr/internal/model"
)

// Docker gives a subnet of its own address spaces once. But where two engines use one mybr, each
// has such spaces: what one asks for tells nothing of the networks of the other.
func TestSubnetThatAnotherEngineHas(t *testing.T) {
	for _, c := range []struct {
		name    string
		first   string          // has netA
		second  string          // asks for its subnet
		alive   map[string]bool // the engines that run then
		used    string          // the engine that makes an endpoint in netA before that, if any
		other   string          // the engine that has another network, if any
		restart bool            // of mybr, before that
		refused bool
	}{
		{name: "the same engine", first: "1@1", second: "1@1", alive: map[string]bool{"1@1": true}},
		{name: "the same engine, mybr restarted", first: "1@1", second: "1@1", alive: map[string]bool{"1@1": true}, restart: true},
		{name: "the engine started again", first: "1@1", second: "2@2", alive: map[string]bool{"2@2": true}},
		{name: "another engine", first: "1@1", second: "2@2", alive: map[string]bool{"1@1": true, "2@2": true}, refused: true},
		{name: "another engine, mybr restarted", first: "1@1", second: "2@2", alive: map[string]bool{"1@1": true, "2@2": true}, restart: true, refused: true},
		{name: "another engine, which started again and used the network", first: "1@1", second: "2@2", used: "3@3",
			alive: map[string]bool{"3@3": true, "2@2": true}, refused: true},
		{name: "another engine, which started again and used another network", first: "1@1", second: "2@2", other: "3@3",
			alive: map[string]bool{"3@3": true, "2@2": true}, refused: true},
		{name: "engines that are not known", first: "", second: "", alive: map[string]bool{}},
		{name: "an engine that is not known, beside one that runs", first: "", second: "2@2", other: "1@1",
			alive: map[string]bool{"1@1": true, "2@2": true}, refused: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.alive = c.alive
			w.restart()
			create := func(id, engine, subnet, gateway string) error {
				return w.CreateNetwork(WithEngine(ctx, engine), &network.CreateNetworkRequest{NetworkID: id,
					IPv4Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: subnet, Gateway: gateway}}})
			}
			must(t, create(netA, c.first, "10.1.0.0/24", "10.1.0.1/24"))
			if c.other != "" {
				must(t, create("c3", c.other, "10.9.0.0/24", "10.9.0.1/24"))
			}
			if c.used != "" {
				by := WithEngine(ctx, c.used)
				_, err := w.CreateEndpoint(by, &network.CreateEndpointRequest{NetworkID: netA, EndpointID: ep1, Interface: &network.EndpointInterface{Address: "10.1.0.2/24"}})
				must(t, err)
				must(t, w.DeleteEndpoint(by, &network.DeleteEndpointRequest{NetworkID: netA, EndpointID: ep1}))
			}
			if c.restart {
				w.restart()
			}
			err := create(netB, c.second, "10.1.0.0/24", "10.1.0.1/24")
			if c.refused {
				if !errors.Is(err, model.ErrConflict) || !strings.Contains(err.Error(), "networks have overlapping IPv4") {
					t.Errorf("have error %v, want that the networks overlap", err)
				}
				w.networkRecord(netA)
				return
			}
			must(t, err)
			w.networkRecord(netB)
		})
	}
}

// A repeated call gets the same answer whoever makes it.
func TestNetworkOfAnEngineThatStartedAgain(t *testing.T) {
	w := newWorld(t)
	for _, by := range []context.Context{WithEngine(ctx, "1@1"), WithEngine(ctx, "2@2"), ctx} {
		must(t, w.CreateNetwork(by, &network.CreateNetworkRequest{NetworkID: netA,
			IPv4Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: "10.1.0.0/24", Gateway: "10.1.0.1/24"}}}))
	}
}

// What Docker gives up while it is killed, or while mybr is away, it tells nobody. Once an engine
// surely is the one that had a network, that it gives the subnet to another one means that the
// network is gone, and its endpoints with it, wherever their interfaces are.
func TestSubnetOfANetworkWithEndpointsIsGivenAway(t *testing.T) {
	const netC = "c3c3c3c3c3c3"
	for _, c := range []struct {
		name    string
		had     string               // the engine that made netA, ep1 in it, and netC
		joined  bool                 // ep1 is
		then    func(*world, string) // what the engine does that asks for the subnet
		asks    string               // that engine
		alive   map[string]bool      // the engines that run then
		refused bool
	}{
		{name: "by the process that had it", had: "1@1", asks: "1@1", joined: true, alive: map[string]bool{"1@1": true}},
		{name: "by the process that had it, before the endpoint joined", had: "1@1", asks: "1@1", alive: map[string]bool{"1@1": true}},
		{name: "by an engine that was killed, and has used another network since", had: "1@1", asks: "2@2", joined: true,
			then: func(w *world, by string) { w.endpointBy(by, netC, ep2, "10.3.0.2/24") }, alive: map[string]bool{"2@2": true}},
		{name: "by an engine that was killed, and has used another network since, before the endpoint joined", had: "1@1", asks: "2@2",
			then: func(w *world, by string) { w.endpointBy(by, netC, ep2, "10.3.0.2/24") }, alive: map[string]bool{"2@2": true}},
		{name: "by an engine that was killed, and has removed another network since", had: "1@1", asks: "2@2", joined: true,
			then: func(w *world, by string) {
				must(w.t, w.DeleteNetwork(WithEngine(ctx, by), &network.DeleteNetworkRequest{NetworkID: netC}))
			}, alive: map[string]bool{"2@2": true}},
		{name: "by an engine that was killed, and has removed another endpoint since", had: "1@1", asks: "2@2", joined: true,
			then: func(w *world, by string) {
				w.endpointBy("1@1", netC, ep2, "10.3.0.2/24")
				must(w.t, w.DeleteEndpoint(WithEngine(ctx, by), &network.DeleteEndpointRequest{NetworkID: netC, EndpointID: ep2}))
			}, alive: map[string]bool{"2@2": true}},
		{name: "by an engine that was killed twice", had: "1@1", asks: "3@3", joined: true,
			then: func(w *world, by string) {
				w.endpointBy("2@2", netC, ep2, "10.3.0.2/24")
				w.endpointBy(by, netC, ep3, "10.3.0.3/24")
			}, alive: map[string]bool{"3@3": true}},
		{name: "by an engine that may be another one", had: "1@1", asks: "2@2", joined: true, alive: map[string]bool{"2@2": true}, refused: true},
		{name: "by another engine, which has networks", had: "1@1", asks: "2@2", joined: true,
			then: func(w *world, by string) {
				w.networkBy("9@9", "d4d4d4d4d4d4", "10.4.0.0/24")
				w.endpointBy(by, "d4d4d4d4d4d4", ep2, "10.4.0.2/24")
			}, alive: map[string]bool{"2@2": true}, refused: true},
		{name: "by an engine that is not known", joined: true, alive: map[string]bool{}, refused: true,
			then: func(w *world, by string) { w.endpointBy(by, netC, ep2, "10.3.0.2/24") }},
		{name: "by an engine that is known now", asks: "2@2", joined: true, alive: map[string]bool{"2@2": true}, refused: true,
			then: func(w *world, by string) { w.endpointBy(by, netC, ep2, "10.3.0.2/24") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.networkBy(c.had, netA, "10.1.0.0/24")
			w.networkBy(c.had, netC, "10.3.0.0/24")
			w.endpointBy(c.had, netA, ep1, "10.1.0.2/24")
			if c.joined {
				must(t, w.join(netA, ep1))
			}
			w.alive = c.alive
			w.restart()
			if c.then != nil {
				c.then(w, c.asks)
			}
			ask := func() error {
				return w.CreateNetwork(WithEngine(ctx, c.asks), &network.CreateNetworkRequest{NetworkID: netB,
					IPv4Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: "10.1.0.0/24", Gateway: "10.1.0.1/24"}}})
			}
			if c.refused {
				w.unchanged(func() {
					if err := ask(); !errors.Is(err, model.ErrConflict) || !strings.Contains(err.Error(), "networks have overlapping IPv4") {
						t.Errorf("have error %v, want that the networks overlap", err)
					}
				})
				return
			}
			must(t, ask())
			w.networkRecord(netB)
			for _, e := range w.store.Snapshot().Endpoints {
				if e.ID == ep1 {
					t.Errorf("endpoint %s is there still", short(ep1))
				}
			}
		})
	}
}

// A call about a network that Docker gives the subnet of away is not interrupted.
func TestSubnetIsGivenAwayWhileACallIsUnderWay(t *testing.T) {
	w := newWorld(t)
	w.networkBy("1@1", netA, "10.1.0.0/24")
	unlock := w.networks.rlock(netA)
	defer unlock()
	w.unchanged(func() {
		err := w.CreateNetwork(WithEngine(ctx, "1@1"), &network.CreateNetworkRequest{NetworkID: netB,
			IPv4Data: []*network.IPAMData{{AddressSpace: "LocalDefault", Pool: "10.1.0.0/24", Gateway: "10.1.0.1/24"}}})
		if !errors.Is(err, model.ErrConflict) {
			t.Errorf("have error %v, want a conflict", err)
		}
	})
}

// networkBy makes a network as an engine does.
func (w *world) networkBy(engine, id, subnet string) {
	w.t.Helper()
	p := netip.MustParsePrefix(subnet)
	must(w.t, w.CreateNetwork(WithEngine(ctx, engine), &network.CreateNetworkRequest{NetworkID: id, IPv4Data: []*network.IPAMData{
		{AddressSpace: "LocalDefault", Pool: subnet, Gateway: netip.PrefixFrom(p.Addr().Next(), p.Bits()).String()}}}))
}

// endpointBy makes an endpoint as an engine does.
func (w *world) endpointBy(engine, netID, id, address string) {
	w.t.Helper()
	_, err := w.CreateEndpoint(WithEngine(ctx, engine), &network.CreateEndpointRequest{NetworkID: netID, EndpointID: id,
		Interface: &network.EndpointInterface{Address: address}})
	must(w.t, err)
}
