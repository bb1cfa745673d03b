// Package topology draws mybr's networks as textbooks do: the LAN, the host's interface, the
// edge where NAT translates and ports are published, the bridges, and the containers with a
// veth pair to each of their networks. It draws with the characters of a terminal (Text), as
// a picture for browsers (SVG) and for Graphviz (DOT).
//
// Everything is a pure function of values, and the same values give the same bytes.
//
// Be aware: it draws what is recorded, not what is true of the kernel: mybr status compares
// the two. Texts of others are made printable here (model.Printable), and escaped for the
// form that is drawn. Many containers are counted, not drawn, unless All is asked for.
package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/view"
)

// Host is what is drawn of the host and view.View doesn't say.
type Host struct {
	Name    string   // "": not known
	Uplinks []Uplink // drawn in this order

	// Inside has the names of the interfaces in the containers by endpoint's ID, as far as
	// they are known: Docker chooses them, and mybr isn't told.
	Inside map[string]string
}

// Uplink is an interface of the host that leads outside.
type Uplink struct {
	Name      string
	Addresses []netip.Prefix
}

// Limits says how much is drawn; what is more is counted.
type Limits struct {
	Uplinks    int
	Addresses  int // of each uplink
	Networks   int
	Containers int // of each network
	Ports      int // lines of published ports
}

// Usual fits on a page. One more than these is drawn nevertheless: its place would be that
// of the line which counts it.
var Usual = Limits{Uplinks: 6, Addresses: 4, Networks: 12, Containers: 8, Ports: 16}

// All draws everything.
var All = Limits{}

// few is how many of count things are drawn under limit.
func few(count, limit int) int {
	if limit <= 0 || count <= limit+1 {
		return count
	}
	return limit
}

// Scene is what is drawn, in words that can be printed.
type Scene struct {
	host     string
	uplinks  []uplink
	networks []network
	boxes    []box
	ports    []published
	more     struct {
		uplinks   int
		ports     int
		networks  int
		endpoints int // of networks that are not drawn
	}
}

type uplink struct {
	name      string
	addresses []string
}

// network is a bridge. It can lead out or not: linked.
type network struct {
	title   string
	bridge  string
	subnets []subnet
	notes   []string
	linked  bool
	home    []int // the boxes that are drawn beside it
	more    int   // endpoints that are not drawn
}

type subnet struct{ address, mode string }

// box is the network namespace of a container.
type box struct {
	title string
	nics  []nic // the first one is on the network that it is drawn beside
}

// nic is one endpoint: a veth pair.
type nic struct {
	network   int
	veth      string
	inside    string // its name in the container; "": not known
	addresses []string
}

// Of works out what is drawn.
func Of(v view.View, h Host, most Limits) Scene {
	s := Scene{host: printable(h.Name)}
	s.lead(h.Uplinks, most)
	g := gather(v, h, most)
	for _, n := range g.networks[g.drawn:] {
		s.more.networks++
		s.more.endpoints += len(n.endpoints)
	}
	for _, n := range g.networks[:g.drawn] {
		s.networks = append(s.networks, describe(n))
	}
	for i := range s.networks {
		s.settle(i, g, most.Containers)
	}
	s.publish(v.Ports, g.titles, most.Ports)
	return s
}

// lead puts the uplinks in.
func (s *Scene) lead(uplinks []Uplink, most Limits) {
	drawn := few(len(uplinks), most.Uplinks)
	s.more.uplinks = len(uplinks) - drawn
	for _, u := range uplinks[:drawn] {
		a := prefixes(u.Addresses...)
		if n := few(len(a), most.Addresses); n < len(a) {
			a = append(a[:n], fmt.Sprintf("… %d more", len(a)-n))
		}
		s.uplinks = append(s.uplinks, uplink{printable(u.Name), a})
	}
}

// settle draws the containers whose first network is the i-th.
func (s *Scene) settle(i int, g gathered, most int) {
	var here []container
	for _, c := range g.containers {
		if c.at[0].network == i {
			here = append(here, c)
		}
	}
	// Those on several networks say most, then those with ports.
	byNetworks := func(a, b container) int { return cmp.Compare(len(b.at), len(a.at)) }
	slices.SortStableFunc(here, func(a, b container) int {
		return cmp.Or(byNetworks(a, b), cmp.Compare(b.ports, a.ports))
	})
	here = here[:few(len(here), most)]
	// Links to the networks below are shorter from the lower end.
	slices.SortStableFunc(here, func(a, b container) int {
		return cmp.Or(-byNetworks(a, b), cmp.Compare(a.title, b.title), cmp.Compare(a.id, b.id))
	})
	for _, c := range here {
		b := box{title: c.title}
		for _, n := range c.at {
			if n.network < g.drawn {
				b.nics = append(b.nics, n)
				s.networks[n.network].more--
			}
		}
		s.networks[i].home = append(s.networks[i].home, len(s.boxes))
		s.boxes = append(s.boxes, b)
	}
}
