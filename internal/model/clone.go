package model

import "slices"

// Clone returns a copy that shares no memory with the record.
func (n Network) Clone() Network {
	n.Routes = slices.Clone(n.Routes)
	n.Trusted = slices.Clone(n.Trusted)
	n.From, n.FromSet = cloneLimits(n.From), cloneLimits(n.FromSet)
	return n
}

// Clone returns a copy that shares no memory with the record.
func (e Endpoint) Clone() Endpoint {
	e.Ports = slices.Clone(e.Ports)
	e.OpenV4 = slices.Clone(e.OpenV4)
	e.OpenV6 = slices.Clone(e.OpenV6)
	e.Wanted = slices.Clone(e.Wanted)
	e.Added, e.Removed = slices.Clone(e.Added), slices.Clone(e.Removed)
	e.From, e.FromSet = cloneLimits(e.From), cloneLimits(e.FromSet)
	return e
}

func cloneLimits(all []Limit) []Limit {
	all = slices.Clone(all)
	for i := range all {
		all[i].From, all[i].Via = slices.Clone(all[i].From), slices.Clone(all[i].Via)
	}
	return all
}
