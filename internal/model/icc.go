package model

import (
	"cmp"
)

// The words that mybr.icc can be instead of a list of what containers may begin to each other.
const (
	ICCAll  = "all"
	ICCNone = "none"
)

// GroupNone stands for no group, where there would be one otherwise.
const GroupNone = "none"

// ICCInForce is what containers of the network may begin connections to each other: ICCAll,
// ICCNone, or a list as package icc writes it.
func (n Network) ICCInForce() string {
	given := ICCNone
	if n.ICC {
		given = ICCAll
	}
	return cmp.Or(n.ICCSet, n.ICCList, given)
}

// ICCListed reports whether containers of the network may begin some connections to each other
// only.
func (n Network) ICCListed() bool {
	text := n.ICCInForce()
	return text != ICCAll && text != ICCNone
}

// Groups are those of the endpoint's container, as package icc writes them; "": none.
func (e Endpoint) Groups() string {
	if groups := cmp.Or(e.GroupSet, e.Group); groups != GroupNone {
		return groups
	}
	return ""
}
