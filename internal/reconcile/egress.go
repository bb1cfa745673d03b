package reconcile

import (
	"cmp"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// permitted is what an option allows: addresses, and host names.
type permitted struct {
	to      egress.Allowed
	names   egress.Named
	carried egress.Ports // of the names
}

// permittedBy reads an option.
func permittedBy(text string, lists model.Lists) permitted {
	names := egress.RecordedNames(text, lists)
	return permitted{egress.Recorded(text, lists), names, names.Carried()}
}

// listing is what there is of egress lists on a network.
type listing struct {
	own      bool      // some endpoint has a list of its own, or its network's in another mode
	enforced bool      // some list is enforced
	named    bool      // some list that is enforced has host names
	network  permitted // what the network allows
}

// any reports whether something is not allowed, or watched.
func (l listing) any() bool { return l.own || !l.network.to.All() }

// recorded is what options allow that are recorded somewhere, by their texts: lists are long, and
// many containers have the same.
type recorded map[string]permitted

// read is what an option allows, which is read if it was not yet.
func (r recorded) read(text string, lists model.Lists) permitted {
	a, known := r[text]
	if !known {
		a = permittedBy(text, lists)
		r[text] = a
	}
	return a
}

// listings are those of the networks on which not everything is allowed, or something watched, and
// what all options allow.
func listings(s model.Snapshot, lists model.Lists) (map[string]listing, recorded) {
	all, read := map[string]listing{}, recorded{}
	for _, n := range s.Networks {
		of := inMode(read.read(n.EgressInForce(), lists), n, model.Endpoint{})
		if l := (listing{enforced: of.to.Enforced(), named: of.names != "", network: of}); l.any() {
			all[n.ID] = l
		}
	}
	var networks map[string]*model.Network // made for the first endpoint that says something
	for _, e := range s.Endpoints {
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
		l, of := all[e.NetworkID], inMode(read.read(cmp.Or(text, n.EgressInForce()), lists), *n, *e)
		l.own, l.enforced, l.named = l.own || of != l.network, l.enforced || of.to.Enforced(), l.named || of.names != ""
		if l.own {
			all[e.NetworkID] = l
		}
	}
	return all, read
}

// inMode is what a list permits in the mode that counts for an endpoint, or for the network itself.
// The names of one that is only watched are left out: what is led to the process goes another way,
// ends with the process, and is refused if it names no host, so that it would not be the same for
// the container.
func inMode(a permitted, n model.Network, e model.Endpoint) permitted {
	if model.EgressAudited(n, e) {
		return permitted{to: a.to.Audited()}
	}
	return a
}

// renderEgress has the packet filter know what whoever is on a network may begin that has no list
// of its own. Where some endpoint has one, that is nothing: a container that takes an address of
// its own choice does not get another list by that. Where all lists are only watched, so is that.
func (h *Host) renderEgress(n model.Network, of listing) {
	list := of.network
	if of.own {
		list = permitted{to: egress.Nothing}
		if !of.enforced {
			list.to = list.to.Audited()
		}
	}
	h.Firewall.Egress = append(h.Firewall.Egress, list.egress(n.Bridge, n.Bridge))
}

// egress is what is permitted as the packet filter has it.
func (a permitted) egress(bridge, link string) firewall.Egress {
	return firewall.Egress{Bridge: bridge, Link: link, To: a.to, Names: a.names != "", Carried: a.carried}
}

// lead has the packet filter know where it leads what is asked of host names: to the bridge's own
// addresses.
func (l listing) lead(policy *firewall.Network, n model.Network) {
	if policy.Names = l.named; l.named {
		policy.V4.Gateway, policy.V6.Gateway = n.V4.Address.Addr(), n.V6.Address.Addr()
	}
}

// of is what an endpoint's container may begin.
func (p policies) of(n model.Network, e model.Endpoint) permitted {
	if e.EgressInForce() == "" && e.EgressModeInForce() == "" {
		return p.listings[n.ID].network
	}
	text := cmp.Or(e.EgressInForce(), n.EgressInForce())
	a, known := p.allowed[text]
	if !known { // it has come since
		a = permittedBy(text, p.lists)
	}
	return inMode(a, n, e)
}

// renderEndpointEgress has the packet filter, and who looks for flows, know what an endpoint's
// container may begin. No flow ends for a list that is only watched.
func (h *Host) renderEndpointEgress(n model.Network, e model.Endpoint, p policies) {
	of := p.listings[n.ID]
	if !of.any() {
		return
	}
	list := p.of(n, e)
	for _, f := range model.Families() {
		a, own := e.Address(f).Addr(), n.Subnet(f).Prefix
		if !a.IsValid() || !own.IsValid() || !own.Contains(a) {
			continue
		}
		if of.own {
			rule := list.egress(n.Bridge, e.HostIface())
			rule.Addr = a
			h.Firewall.Egress = append(h.Firewall.Egress, rule)
		}
		if list.to.Enforced() {
			h.Flows.Egress = append(h.Flows.Egress, conntrack.Egress{ID: e.ID, Addr: a, Own: own, To: list.to, Names: list.names})
		}
	}
}

func compareEgress(a, b *firewall.Egress) int {
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), cmp.Compare(a.Link, b.Link), cmp.Compare(a.To, b.To), cmp.Compare(a.Carried, b.Carried))
}

func compareFlowEgress(a, b *conntrack.Egress) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), a.Addr.Compare(b.Addr), comparePrefixes(a.Own, b.Own), cmp.Compare(a.To, b.To), cmp.Compare(a.Names, b.Names))
}
