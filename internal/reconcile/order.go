package reconcile

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// The orders of a Host's lists. Two things that differ have an order, in each: so there is one
// order of what is wanted, whichever way it came about.

func (h *Host) sort() {
	slices.Sort(h.Firewalld.Interfaces)
	slices.Sort(h.Ports.Blocked)
	slices.SortFunc(h.Flows.Relayed, comparePrefixes)
	slices.SortFunc(h.Names.Own, comparePrefixes)
	slices.SortFunc(h.Flows.Subnets, func(a, b conntrack.Subnet) int { return comparePrefixes(a.Prefix, b.Prefix) })
	slices.SortFunc(h.Links.Bridges, func(a, b link.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(h.Firewall.Networks, func(a, b firewall.Network) int { return cmp.Compare(a.Bridge, b.Bridge) })
	h.sortEndpoints()
}

// sortEndpoints sorts what is wanted of endpoints.
func (h *Host) sortEndpoints() {
	slices.SortFunc(h.Links.Veths, compareVeths)
	sortBy(h.Spoof.Ports, spoof.Compare)
	sortBy(h.Spoof.Shares, spoof.CompareShares)
	sortBy(h.Spoof.Networks, spoof.CompareNetworks)
	slices.Sort(h.Spoof.Apart)
	sortBy(h.Firewall.Ports, comparePorts)
	sortBy(h.Firewall.Openings, compareOpenings)
	sortBy(h.Firewall.Limits, compareLimits)
	sortBy(h.Flows.Limits, compareFlowLimits)
	sortBy(h.Firewall.Egress, compareEgress)
	sortBy(h.Flows.Egress, compareFlowEgress)
	sortBy(h.Flows.Bindings, compareBindings)
	sortBy(h.Flows.Endpoints, compareFlowEndpoints)
	sortBy(h.Ports.Bindings, compareHeld)
	sortBy(h.Names.Clients, byname.CompareClients)
}

// sortBy sorts a list by what compares places in it.
func sortBy[T any](list []T, compare func(a, b *T) int) { sort.Sort(sorter[T]{list, compare}) }

// sorter compares elements where they are: slices.SortFunc would have each copied to the heap.
type sorter[T any] struct {
	list    []T
	compare func(a, b *T) int
}

func (s sorter[T]) Len() int           { return len(s.list) }
func (s sorter[T]) Less(i, j int) bool { return s.compare(&s.list[i], &s.list[j]) < 0 }
func (s sorter[T]) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareLinks(a, b *string) int { return cmp.Compare(*a, *b) }

func compareVeths(a, b *link.Veth) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Alias, b.Alias))
}

func compareBindings(a, b *model.PortBinding) int { return a.Compare(*b) }

func comparePorts(a, b *firewall.Port) int {
	if c := a.PortBinding.Compare(b.PortBinding); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Link, b.Link))
}

func compareOpenings(a, b *firewall.Opening) int {
	return cmp.Or(
		cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto),
		cmp.Compare(a.First, b.First), cmp.Compare(a.Count, b.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.Link, b.Link),
	)
}

func compareLimits(a, b *firewall.Limit) int {
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First),
		cmp.Compare(a.Count, b.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.Via, b.Via), cmp.Compare(a.Link, b.Link))
}

// compareBools has false first.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compareFlowLimits(a, b *conntrack.Limit) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Count, b.Count),
		cmp.Compare(a.From, b.From), comparePrefixes(a.Own, b.Own), compareBools(a.Translated, b.Translated), compareBools(a.Asks, b.Asks))
}

func compareFlowEndpoints(a, b *conntrack.Endpoint) int {
	if c := cmp.Compare(a.ID, b.ID); c != 0 {
		return c
	}
	return cmp.Or(a.V4.Compare(b.V4), a.V6.Compare(b.V6))
}

func compareHeld(a, b *hostport.Binding) int {
	if c := cmp.Compare(a.Owner, b.Owner); c != 0 {
		return c
	}
	return cmp.Or(a.PortBinding.Compare(b.PortBinding), cmp.Compare(a.Link, b.Link), cmp.Compare(a.Limit.Clients, b.Limit.Clients), cmp.Compare(a.Limit.Via, b.Limit.Via), compareBools(a.Limit.Carried, b.Limit.Carried),
		cmp.Compare(a.Limit.Bridge, b.Limit.Bridge), comparePrefixes(a.Limit.V4, b.Limit.V4), comparePrefixes(a.Limit.V6, b.Limit.V6),
		comparePrefixes(a.Neighbours, b.Neighbours))
}
