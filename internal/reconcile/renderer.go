package reconcile

import (
	"slices"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/spoof"
)

// renderer renders one snapshot after the other, as Render does. Of one that differs from the
// last in its endpoints alone, those are rendered that have come, gone or changed. A list of a
// Host in which nothing has changed is the memory of the last, so that it is known to be the
// same at once; so nobody may change what they hold.
type renderer struct {
	snapshot model.Snapshot
	options  Options
	networks map[string]*model.Network // Options.networks of the snapshot
	policies policies
	needed   needs
	host     Host
	rendered bool // there is a last
}

// render renders a snapshot, with the options that choose says, given the families in which
// some endpoint needs the host to forward. base are the options without what that changes.
func (r *renderer) render(s model.Snapshot, base Options, choose func(needed firewall.Families) Options) Host {
	next := *r
	next.snapshot = s
	same := r.rendered && base.NoIPv6 == r.options.NoIPv6 && sameNetworks(r.snapshot.Networks, s.Networks) && sameLists(r.snapshot.Lists, s.Lists)
	var gone, came []*model.Endpoint
	// An endpoint with limits, a policy of published ports, an egress list, or several groups, says something of
	// its network, too.
	whole := false
	if same {
		gone, came = changed(r.snapshot.Endpoints, s.Endpoints)
		whole = slices.ContainsFunc(slices.Concat(gone, came), func(e *model.Endpoint) bool {
			return len(e.From)+len(e.FromSet) > 0 || e.PolicyInForce() != "" || e.EgressInForce() != "" || e.EgressModeInForce() != "" || next.listChanges(e)
		})
		for _, e := range gone {
			next.needed.count(e, next.networks, base, -1)
		}
	} else {
		next.networks, next.needed = base.networks(s), needs{}
		came = s.Endpoints
	}
	for _, e := range came {
		next.needed.count(e, next.networks, base, 1)
	}
	next.options = choose(next.needed.families())
	done := false
	if same && !whole && next.options == r.options {
		next.host, done = next.difference(r.snapshot.Endpoints, gone, came)
	}
	if !done {
		next.host, next.policies = Render(s, next.options), policiesOf(s)
	}
	next.rendered = true
	*r = next
	return r.host
}

// difference is the last host without some endpoints and with others; ok is false if it has
// not all of those that are gone. before are all endpoints that the last host has.
func (r *renderer) difference(before, gone, came []*model.Endpoint) (h Host, ok bool) {
	var without, with Host
	for _, e := range gone {
		without.addEndpoint(e, r.networks, r.policies, r.options)
	}
	for _, e := range came {
		with.addEndpoint(e, r.networks, r.policies, r.options)
	}
	if r.checks(came) {
		if sandboxes := sharing(gone, came); len(sandboxes) > 0 {
			without.addShares(before, sandboxes, r.networks, r.options)
			with.addShares(r.snapshot.Endpoints, sandboxes, r.networks, r.options)
		}
	}
	without.sortEndpoints()
	with.sortEndpoints()
	h, ok = r.host, true
	replaceShared(&h.Links.Veths, without.Links.Veths, with.Links.Veths, compareVeths, &ok)
	replace(&h.Spoof.Ports, without.Spoof.Ports, with.Spoof.Ports, spoof.Compare, &ok)
	replace(&h.Spoof.Shares, without.Spoof.Shares, with.Spoof.Shares, spoof.CompareShares, &ok)
	replace(&h.Spoof.Apart, without.Spoof.Apart, with.Spoof.Apart, compareLinks, &ok)
	replace(&h.Firewall.Ports, without.Firewall.Ports, with.Firewall.Ports, comparePorts, &ok)
	replace(&h.Firewall.Openings, without.Firewall.Openings, with.Firewall.Openings, compareOpenings, &ok)
	replace(&h.Firewall.Limits, without.Firewall.Limits, with.Firewall.Limits, compareLimits, &ok)
	replace(&h.Flows.Limits, without.Flows.Limits, with.Flows.Limits, compareFlowLimits, &ok)
	replace(&h.Firewall.Egress, without.Firewall.Egress, with.Firewall.Egress, compareEgress, &ok)
	replace(&h.Flows.Egress, without.Flows.Egress, with.Flows.Egress, compareFlowEgress, &ok)
	replace(&h.Flows.Bindings, without.Flows.Bindings, with.Flows.Bindings, compareBindings, &ok)
	replace(&h.Flows.Endpoints, without.Flows.Endpoints, with.Flows.Endpoints, compareFlowEndpoints, &ok)
	replace(&h.Names.Clients, without.Names.Clients, with.Names.Clients, byname.CompareClients, &ok)
	replace(&h.Ports.Bindings, without.Ports.Bindings, with.Ports.Bindings, compareHeld, &ok)
	if set := forwardingSettings(r.needed.families(), r.options); !set.Same(h.Sysctls) {
		h.Sysctls = set
	}
	return h, ok
}

// replace takes elements from a sorted list and puts others in, into new memory if anything
// changes. ok becomes false if the list has not all that is gone. All three are sorted.
func replace[T comparable](list *[]T, gone, came []T, compare func(a, b *T) int, ok *bool) {
	gone, came = plan.Differing(gone, came, compare)
	exchange(list, gone, came, compare, func(a, b *T) bool { return *a == *b }, ok)
}

// replaceShared is replace for a list of what hosts share: what stays is not copied.
func replaceShared[T comparable](list *[]*T, gone, came []*T, compare func(a, b *T) int, ok *bool) {
	gone, came = plan.DifferingShared(gone, came, compare)
	exchange(list, gone, came, func(a, b **T) int { return compare(*a, *b) }, func(a, b **T) bool { return **a == **b }, ok)
}

// exchange is replace of what differs.
func exchange[T any](list *[]T, gone, came []T, compare func(a, b *T) int, same func(a, b *T) bool, ok *bool) {
	if len(gone)+len(came) == 0 {
		return
	}
	rest := *list
	out := make([]T, 0, max(0, len(rest)+len(came)-len(gone)))
	for len(gone)+len(came) > 0 {
		goes := len(came) == 0 || len(gone) > 0 && compare(&gone[0], &came[0]) <= 0
		next := &came
		if goes {
			next = &gone
		}
		i := place(rest, &(*next)[0], compare)
		out, rest = append(out, rest[:i]...), rest[i:]
		switch {
		case !goes:
			out = append(out, came[0])
		case len(rest) == 0 || !same(&rest[0], &gone[0]):
			*ok = false
			return
		default:
			rest = rest[1:]
		}
		*next = (*next)[1:]
	}
	out = append(out, rest...)
	if *list = out; len(out) == 0 {
		*list = nil // as Render has it
	}
}

// place is where an element is in a sorted list, or would be.
func place[T any](list []T, e *T, compare func(a, b *T) int) int {
	low, high := 0, len(list)
	for low < high {
		if middle := (low + high) / 2; compare(&list[middle], e) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// changed lists the endpoints of a snapshot that are not in the next as they were, and those of
// the next that have not been so before.
func changed(before, after []*model.Endpoint) (gone, came []*model.Endpoint) {
	mergeShared(before, after, compareEndpoints, func(had, has *model.Endpoint) {
		if had != nil && has != nil && had.Same(has) {
			return
		}
		if had != nil {
			gone = append(gone, had)
		}
		if has != nil {
			came = append(came, has)
		}
	})
	return gone, came
}

func sameNetworks(a, b []model.Network) bool {
	if len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] {
		return true // nobody has changed one
	}
	return slices.EqualFunc(a, b, func(a, b model.Network) bool { return a.Same(&b) })
}

func sameLists(a, b []model.List) bool {
	return slices.EqualFunc(a, b, func(a, b model.List) bool {
		return a.Name == b.Name && slices.Equal(a.Prefixes, b.Prefixes) && slices.Equal(a.Egress, b.Egress)
	})
}
