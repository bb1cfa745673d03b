package store

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// index has the endpoints of a snapshot by what the drivers ask for them by, so that none of their
// questions goes through all of them. It is changed with the snapshot's list, and as that, never
// once others see it: so readers need no lock.
type index struct {
	byOwner    ordered // by PortOwner
	byIface    ordered // by HostIface
	byV4, byV6 ordered // those with such an address, by that and the network
}

// ordered is records in the order of a key, and of their IDs where that is the same.
type ordered []*model.Endpoint

// newIndex makes the index of a list.
func newIndex(all []*model.Endpoint) (x index) {
	for _, e := range all {
		for _, k := range x.keys() {
			if k.has(e) {
				*k.list = append(*k.list, e)
			}
		}
	}
	for _, k := range x.keys() {
		slices.SortFunc(*k.list, k.compare)
	}
	return x
}

// key is a list of an index, and what it is sorted by.
type key struct {
	list    *ordered
	has     func(*model.Endpoint) bool // whether a record is in the list
	compare func(a, b *model.Endpoint) int
}

func (x *index) keys() [4]key {
	all := func(*model.Endpoint) bool { return true }
	return [4]key{
		{&x.byOwner, all, func(a, b *model.Endpoint) int {
			return cmp.Or(cmp.Compare(a.PortOwner(), b.PortOwner()), cmp.Compare(a.ID, b.ID))
		}},
		{&x.byIface, all, func(a, b *model.Endpoint) int {
			return cmp.Or(a.CompareIface(b), cmp.Compare(a.ID, b.ID))
		}},
		{&x.byV4, func(e *model.Endpoint) bool { return e.V4.IsValid() }, func(a, b *model.Endpoint) int {
			return cmp.Or(compareAt(a.NetworkID, a.V4, b.NetworkID, b.V4.Addr()), cmp.Compare(a.ID, b.ID))
		}},
		{&x.byV6, func(e *model.Endpoint) bool { return e.V6.IsValid() }, func(a, b *model.Endpoint) int {
			return cmp.Or(compareAt(a.NetworkID, a.V6, b.NetworkID, b.V6.Addr()), cmp.Compare(a.ID, b.ID))
		}},
	}
}

// compareAt compares what an endpoint has with an address of a network.
func compareAt(network string, has netip.Prefix, other string, a netip.Addr) int {
	return cmp.Or(has.Addr().Compare(a), cmp.Compare(network, other))
}

// copied is an index that can be changed without another.
func (x *index) copied() index {
	return index{copyList(x.byOwner), copyList(x.byIface), copyList(x.byV4), copyList(x.byV6)}
}

// copyList is a copy of a list with room for a few more, so that what is put needs no second one.
func copyList[L ~[]*model.Endpoint](list L) L {
	const more = 8
	all := make(L, len(list), len(list)+more)
	copy(all, list)
	return all
}

// replace has a record in place of another; nil: there is none. It changes the lists.
func (x *index) replace(before, after *model.Endpoint) {
	for _, k := range x.keys() {
		was, is := before != nil && k.has(before), after != nil && k.has(after)
		if was {
			i, _ := slices.BinarySearchFunc(*k.list, before, k.compare)
			if is && k.compare(before, after) == 0 {
				(*k.list)[i] = after
				continue
			}
			*k.list = slices.Delete(*k.list, i, i+1)
		}
		if is {
			i, _ := slices.BinarySearchFunc(*k.list, after, k.compare)
			*k.list = slices.Insert(*k.list, i, after)
		}
	}
}

// EndpointsOf returns the endpoints of a sandbox, or the one with an ID that has none: those
// whose PortOwner is owner, sorted by ID. What the list holds must not be changed.
func (tx *Tx) EndpointsOf(owner string) []*model.Endpoint {
	return alike(tx.snap.byOwner, func(e *model.Endpoint) int { return cmp.Compare(e.PortOwner(), owner) })
}

// EndpointsAt returns the endpoints of a network that have an address, sorted by ID. What the list
// holds must not be changed.
func (tx *Tx) EndpointsAt(network string, a netip.Addr) []*model.Endpoint {
	if a.Is4() {
		return alike(tx.snap.byV4, func(e *model.Endpoint) int { return compareAt(e.NetworkID, e.V4, network, a) })
	}
	return alike(tx.snap.byV6, func(e *model.Endpoint) int { return compareAt(e.NetworkID, e.V6, network, a) })
}

// EndpointsAlike returns the endpoints whose interface has the name that e's has (HostIface), be e
// recorded or not, sorted by ID. What the list holds must not be changed.
func (tx *Tx) EndpointsAlike(e *model.Endpoint) []*model.Endpoint {
	return alike(tx.snap.byIface, func(o *model.Endpoint) int { return o.CompareIface(e) })
}

// alike is a copy of the part of a list for which compare returns 0: less than that for those before
// it, and more for those behind.
func alike(list []*model.Endpoint, compare func(*model.Endpoint) int) []*model.Endpoint {
	by := func(e *model.Endpoint, _ struct{}) int { return compare(e) }
	i, found := slices.BinarySearchFunc(list, struct{}{}, by)
	if !found {
		return nil
	}
	j := i + 1
	for j < len(list) && compare(list[j]) == 0 {
		j++
	}
	return slices.Clone(list[i:j])
}
