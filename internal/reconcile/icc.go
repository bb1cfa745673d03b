package reconcile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// TurnsBack reports whether a network's containers are led to the published ports of their
// neighbours, by the host's addresses: not where they are kept apart, and not where a list says what
// they may begin to each other, past which that would be a way.
func TurnsBack(n model.Network) bool { return n.ICCInForce() == model.ICCAll }

// iccList is what containers of a network with a list may begin to each other.
func iccList(n model.Network) icc.List {
	l, err := icc.Parse(n.ICCInForce())
	if err != nil { // the driver has written it; what can't be read allows nothing
		return nil
	}
	return l
}

// addLists has the lists of networks in what is checked of senders.
func (h *Host) addLists(s model.Snapshot, networks map[string]*model.Network, o Options) {
	of := map[string][]*model.Endpoint{}
	for _, e := range s.Endpoints {
		if networks[e.NetworkID] != nil && networks[e.NetworkID].ICCListed() {
			of[e.NetworkID] = append(of[e.NetworkID], e)
		}
	}
	for _, n := range networks {
		if n.ICCListed() {
			h.Spoof.Networks = append(h.Spoof.Networks, listedNetwork(*n, of[n.ID], o))
		}
	}
}

// listedNetwork is a network with a list, and some endpoints.
func listedNetwork(n model.Network, endpoints []*model.Endpoint, o Options) spoof.Network {
	l := iccList(n)
	var classes []string
	var own []netip.Addr
	inside := prefixes(n)
	for _, f := range model.Families() {
		if a := n.Subnet(f).Address.Addr(); a.IsValid() {
			own = append(own, a)
		}
	}
	for _, e := range endpoints {
		classes = append(classes, l.Class(e.Groups()))
		inside = append(inside, o.routedBack(*e)...)
	}
	return spoof.NewNetwork(n.Bridge, l, classes, own, inside)
}

// routedBack are the further prefixes of an endpoint, to which the host may have routes.
func (o Options) routedBack(e model.Endpoint) []netip.Prefix {
	return slices.DeleteFunc(e.SpoofSet.Over(e.Spoof).Prefixes(), func(p netip.Prefix) bool {
		return p.Bits() == 0 || o.NoIPv6 && p.Addr().Is6() // to everywhere, the host's own addresses included
	})
}

// furtherNeighbours are, of networks with lists, the prefixes beside their subnets from which
// containers may send.
func furtherNeighbours(s model.Snapshot) map[string]model.Clients {
	listed := map[string]bool{}
	for _, n := range s.Networks {
		listed[n.ID] = n.ICCListed()
	}
	of := map[string][]netip.Prefix{}
	for _, e := range s.Endpoints {
		if listed[e.NetworkID] {
			of[e.NetworkID] = append(of[e.NetworkID], Options{}.routedBack(*e)...)
		}
	}
	all := map[string]model.Clients{}
	for id, prefixes := range of {
		if len(prefixes) > 0 {
			all[id] = model.NewClients(prefixes)
		}
	}
	return all
}

// listChanges reports whether an endpoint has to do with what is rendered of its network's list,
// beside its own port.
func (r *renderer) listChanges(e *model.Endpoint) bool {
	n := r.networks[e.NetworkID]
	return n != nil && n.ICCListed() && (strings.Contains(e.Groups(), ",") || e.SpoofSet.Over(e.Spoof).Addresses != "")
}
