package model

import (
	"cmp"
	"slices"
	"strings"
)

// EgressInForce is what the network's containers may begin connections to, as package egress
// writes it; "": everything.
func (n Network) EgressInForce() string { return cmp.Or(n.EgressSet, n.Egress) }

// EgressInForce is what the endpoint's container may begin connections to; "": what its network
// says.
func (e Endpoint) EgressInForce() string { return cmp.Or(e.EgressSet, e.Egress) }

// EgressListed reports whether the endpoint's container may begin some connections only.
func EgressListed(n Network, e Endpoint) bool {
	list := cmp.Or(e.EgressInForce(), n.EgressInForce())
	return list != "" && list != FromAll
}

// EgressUses reports whether an egress list names another list.
func EgressUses(egress, list string) bool {
	return slices.Contains(strings.Split(egress, ","), ListPrefix+list)
}

// EgressUses reports whether one of the network's lists names a list: that which was given at the
// creation, or that which was set since.
func (n Network) EgressUses(list string) bool {
	return EgressUses(n.Egress, list) || EgressUses(n.EgressSet, list)
}

// EgressUses is that of Network.
func (e Endpoint) EgressUses(list string) bool {
	return EgressUses(e.Egress, list) || EgressUses(e.EgressSet, list)
}
