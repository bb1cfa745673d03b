package driver

import (
	"context"
	"errors"
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
