package reconcile

import (
	"cmp"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// listing is what there is of egress lists on a network.
type listing struct {
	own      bool           // some endpoint has a list of its own, or its network's in another mode
	enforced bool           // some list is enforced
	network  egress.Allowed // what the network allows
}

// any reports whether something is not allowed, or watched.
func (l listing) any() bool { return l.own || !l.network.All() }

// recorded is what options allow that are recorded somewhere, by their texts: lists are long, and
// many containers have the same.
type recorded map[string]egress.Allowed

// read is what an option allows, which is read if it was not yet.
func (r recorded) read(text string, lists model.Lists) egress.Allowed {
	to, known := r[text]
	if !known {
		to = egress.Recorded(text, lists)
		r[text] = to
	}
	return to
}

// listings are those of the networks on which not everything is allowed, or something watched, and
// what all options allow.
func listings(s model.Snapshot, lists model.Lists) (map[string]listing, recorded) {
	all, read := map[string]listing{}, recorded{}
	for _, n := range s.Networks {
		if l := (listing{network: inMode(read.read(n.EgressInForce(), lists), n, model.Endpoint{})}); l.any() {
			l.enforced = l.network.Enforced()
			all[n.ID] = l
		}
	}
	var networks map[string]*model.Network // made for the first endpoint that says something
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		text := e.EgressInForce()
		if text == "" && e.EgressModeInForce() == "" {
			continue
		}
		if networks == nil {
			networks = make(map[string]*model.Network, len(s.Networks))
			for j := range s.Networks {
				networks[s.Networks[j].ID] = &s.Networks[j]
			}
		}
		n := networks[e.NetworkID]
		if n == nil {
			continue
		}
		l, to := all[e.NetworkID], inMode(read.read(cmp.Or(text, n.EgressInForce()), lists), *n, *e)
		l.own, l.enforced = l.own || to != l.network, l.enforced || to.Enforced()
		if l.own {
			all[e.NetworkID] = l
		}
	}
	return all, read
}

// inMode is what a list allows in the mode that counts for an endpoint, or for the network itself.
func inMode(to egress.Allowed, n model.Network, e model.Endpoint) egress.Allowed {
	if model.EgressAudited(n, e) {
		return to.Audited()
	}
	return to
}

// renderEgress has the packet filter know what whoever is on a network may begin that has no list
// of its own. Where some endpoint has one, that is nothing: a container that takes an address of
// its own choice does not get another list by that. Where all lists are only watched, so is that.
func (h *Host) renderEgress(n model.Network, of listing) {
	to := of.network
	if of.own {
		to = egress.Nothing
		if !of.enforced {
			to = to.Audited()
		}
	}
	h.Firewall.Egress = append(h.Firewall.Egress, firewall.Egress{Bridge: n.Bridge, Link: n.Bridge, To: to})
}

// renderEndpointEgress has the packet filter, and who looks for flows, know what an endpoint's
// container may begin. No flow ends for a list that is only watched.
func (h *Host) renderEndpointEgress(n model.Network, e model.Endpoint, p policies) {
	of := p.listings[n.ID]
	if !of.any() {
		return
	}
	to := of.network
	if text := cmp.Or(e.EgressInForce(), n.EgressInForce()); e.EgressInForce() != "" || e.EgressModeInForce() != "" {
		var known bool
		if to, known = p.allowed[text]; !known { // it has come since
			to = egress.Recorded(text, p.lists)
		}
		to = inMode(to, n, e)
	}
	for _, f := range model.Families() {
		a, own := e.Address(f).Addr(), n.Subnet(f).Prefix
		if !a.IsValid() || !own.IsValid() || !own.Contains(a) {
			continue
		}
		if of.own {
			h.Firewall.Egress = append(h.Firewall.Egress, firewall.Egress{Bridge: n.Bridge, Link: e.HostIface(), Addr: a, To: to})
		}
		if to.Enforced() {
			h.Flows.Egress = append(h.Flows.Egress, conntrack.Egress{ID: e.ID, Addr: a, Own: own, To: to})
		}
	}
}

func compareEgress(a, b *firewall.Egress) int {
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), cmp.Compare(a.Link, b.Link), cmp.Compare(a.To, b.To))
}

func compareFlowEgress(a, b *conntrack.Egress) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), a.Addr.Compare(b.Addr), comparePrefixes(a.Own, b.Own), cmp.Compare(a.To, b.To))
}
