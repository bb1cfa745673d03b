package model

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// Ones yields the binding's ports one by one, each as a binding with Count 1. The binding must
// be valid: no port number runs past 65535.
func (b PortBinding) Ones() iter.Seq[PortBinding] {
	return func(yield func(PortBinding) bool) {
		for i := range b.Count {
			one := b
			one.Count = 1
			if b.Host.IsValid() {
				one.Host = netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+i)
			}
			one.Container = netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
			if !yield(one) {
				return
			}
		}
	}
}

// Coalesce joins single ports into the fewest bindings: runs of host ports that
// lead to as long a run of container ports, equal or shifted, of one protocol,
// host address and container address. The result is sorted by protocol, host
// address, host port, container. Equal ports are one. ones is reordered.
func Coalesce(ones []PortBinding) []PortBinding {
	slices.SortFunc(ones, byRun)
	var out []PortBinding
	for _, one := range slices.Compact(ones) {
		if n := len(out); n > 0 && continues(out[n-1], one) {
			out[n-1].Count++
			continue
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b PortBinding) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
	})
	return out
}

// byRun brings ports together that can be in one run, in the run's order: they
// have in common the distance from host port to container port.
func byRun(a, b PortBinding) int {
	return cmp.Or(
		cmp.Compare(a.Proto, b.Proto),
		a.Host.Addr().Compare(b.Host.Addr()),
		a.Container.Addr().Compare(b.Container.Addr()),
		cmp.Compare(distance(a), distance(b)),
		cmp.Compare(a.Host.Port(), b.Host.Port()),
	)
}

// continues reports whether the single port one is the next of the run.
func continues(run, one PortBinding) bool {
	return run.Proto == one.Proto &&
		run.Host.Addr() == one.Host.Addr() &&
		run.Container.Addr() == one.Container.Addr() &&
		distance(run) == distance(one) &&
		int(run.Host.Port())+int(run.Count) == int(one.Host.Port())
}

// distance is how far the container's ports are from the host's.
func distance(b PortBinding) int {
	return int(b.Container.Port()) - int(b.Host.Port())
}
