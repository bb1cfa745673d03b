package topology

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/view"
)

// gathered is a view by network and by container.
type gathered struct {
	networks   []gatheredNetwork // those that are drawn, then the others
	drawn      int
	containers []container       // by title
	titles     map[string]string // of containers, by endpoint's ID
}

type gatheredNetwork struct {
	view.Network
	endpoints []view.Endpoint
}

// container is the endpoints of one sandbox.
type container struct {
	title string
	id    string // of its first endpoint
	at    []nic  // by network
	ports int
}

// gather puts endpoints to their networks and containers.
func gather(v view.View, h Host, most Limits) gathered {
	g := gathered{titles: make(map[string]string)}
	g.gatherNetworks(v, most.Networks)
	g.gatherContainers(v.Ports, h)
	return g
}

// gatherNetworks orders networks by title, internal ones behind the others. If not all are
// drawn, those with the most endpoints are. An endpoint of a network that isn't listed brings
// a network of its ID.
func (g *gathered) gatherNetworks(v view.View, most int) {
	place := make(map[string]int)
	add := func(n view.Network) {
		if _, known := place[n.ID]; !known {
			place[n.ID] = len(g.networks)
		}
		g.networks = append(g.networks, gatheredNetwork{Network: n})
	}
	for _, n := range v.Networks {
		add(n)
	}
	for _, e := range v.Endpoints {
		if _, known := place[e.Network]; !known {
			add(view.Network{ID: e.Network, Bridge: e.Bridge, Owned: true, ICC: true})
		}
		n := &g.networks[place[e.Network]]
		n.endpoints = append(n.endpoints, e)
	}
	byTitle := func(a, b gatheredNetwork) int {
		return cmp.Or(compareBool(a.Internal, b.Internal), cmp.Compare(networkTitle(a.Network), networkTitle(b.Network)), cmp.Compare(a.ID, b.ID))
	}
	slices.SortStableFunc(g.networks, byTitle)
	g.drawn = few(len(g.networks), most)
	if g.drawn < len(g.networks) {
		slices.SortStableFunc(g.networks, func(a, b gatheredNetwork) int { return cmp.Compare(len(b.endpoints), len(a.endpoints)) })
		slices.SortStableFunc(g.networks[:g.drawn], byTitle)
	}
}

// gatherContainers needs the endpoints by network.
func (g *gathered) gatherContainers(ports []view.Port, h Host) {
	published := make(map[string]int)
	for _, p := range ports {
		published[p.Endpoint]++
	}
	type key struct{ sandbox, endpoint string }
	found := make(map[key]int)
	var of [][]view.Endpoint
	for i, n := range g.networks {
		for _, e := range n.endpoints {
			k := key{sandbox: e.Sandbox}
			if e.Sandbox == "" { // no container has joined: alone
				k.endpoint = e.ID
			}
			at, ok := found[k]
			if !ok {
				at = len(g.containers)
				found[k] = at
				g.containers = append(g.containers, container{id: e.ID})
				of = append(of, nil)
			}
			of[at] = append(of[at], e)
			c := &g.containers[at]
			c.ports += published[e.ID]
			c.at = append(c.at, nic{i, printable(e.Veth), printable(h.Inside[e.ID]), addressesOf(e)})
		}
	}
	for i, endpoints := range of {
		g.containers[i].title = containerTitle(endpoints)
		for _, e := range endpoints {
			g.titles[e.ID] = g.containers[i].title
		}
	}
	slices.SortStableFunc(g.containers, func(a, b container) int {
		return cmp.Or(cmp.Compare(a.title, b.title), cmp.Compare(a.id, b.id))
	})
}

// networkTitle is the name, or what Docker's commands show of the ID.
func networkTitle(n view.Network) string {
	return cmp.Or(printable(n.Name), short(n.ID), "?")
}

func containerTitle(endpoints []view.Endpoint) string {
	for _, e := range endpoints {
		if name := printable(e.Container); name != "" {
			return name
		}
	}
	title := "endpoint " + cmp.Or(short(endpoints[0].ID), "?")
	if endpoints[0].Sandbox == "" {
		title += ", not joined"
	}
	return title
}

func short(id string) string { return printable(model.ShortID(id)) }

// printable is model.Printable without blanks around, which nobody sees.
func printable(s string) string { return model.Printable(strings.TrimSpace(s)) }
