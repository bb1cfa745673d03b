package reconcile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// news tells which networks, endpoints and ports have come and gone since the last pass. What
// was there before the first one is no news.
func (r *Reconciler) news(now model.Snapshot) {
	before := r.told
	if r.told = &now; before == nil {
		return
	}
	endpoint := func(kind string, e *model.Endpoint) {
		r.Tell(event.Event{Kind: kind, Network: e.NetworkID, Bridge: bridgeOf(e.NetworkID, now, *before), Endpoint: e.ID, Addresses: prefixTexts(e.V4, e.V6)})
	}
	ports := func(kind string, e *model.Endpoint, list []model.PortBinding) {
		if len(list) > 0 {
			r.Tell(event.Event{Kind: kind, Network: e.NetworkID, Bridge: bridgeOf(e.NetworkID, now, *before), Endpoint: e.ID, Ports: bindingTexts(list)})
		}
	}
	network := func(kind string, n model.Network) {
		r.Tell(event.Event{Kind: kind, Network: n.ID, Bridge: n.Bridge, Addresses: prefixTexts(n.V4.Prefix, n.V6.Prefix)})
	}
	// Endpoints go before their network, and come behind it.
	var came []func()
	mergeShared(before.Endpoints, now.Endpoints, compareEndpoints, func(had, has *model.Endpoint) {
		switch {
		case has == nil:
			ports(event.PortWithdrawn, had, had.Ports)
			endpoint(event.EndpointRemoved, had)
		case had == nil:
			came = append(came, func() {
				endpoint(event.EndpointCreated, has)
				ports(event.PortPublished, has, has.Ports)
			})
		case !plan.SameList(had.Ports, has.Ports):
			ports(event.PortWithdrawn, has, except(had.Ports, has.Ports))
			came = append(came, func() { ports(event.PortPublished, has, except(has.Ports, had.Ports)) })
		}
	})
	merge(before.Networks, now.Networks, func(a, b *model.Network) int { return cmp.Compare(a.ID, b.ID) }, func(had, has *model.Network) {
		if has == nil {
			network(event.NetworkRemoved, *had)
		} else if had == nil {
			network(event.NetworkCreated, *has)
		}
	})
	for _, tell := range came {
		tell()
	}
}

// bridgeOf is the bridge of a network, by the first snapshot that has it.
func bridgeOf(id string, snapshots ...model.Snapshot) string {
	for _, s := range snapshots {
		if i, ok := slices.BinarySearchFunc(s.Networks, id, func(n model.Network, id string) int { return cmp.Compare(n.ID, id) }); ok {
			return s.Networks[i].Bridge
		}
	}
	return ""
}

// merge calls fn with each record of two sorted lists, before and after; nil where it is not.
func merge[V any](before, after []V, compare func(a, b *V) int, fn func(before, after *V)) {
	if len(before) == len(after) && (len(before) == 0 || &before[0] == &after[0]) {
		return // nothing has changed
	}
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = compare(&before[0], &after[0])
		}
		var had, has *V
		if order <= 0 {
			had, before = &before[0], before[1:]
		}
		if order >= 0 {
			has, after = &after[0], after[1:]
		}
		fn(had, has)
	}
}

// mergeShared is merge for lists that share the records which are the same in both: fn is not
// called for those, and none of them is read.
func mergeShared[V any](before, after []*V, compare func(a, b *V) int, fn func(before, after *V)) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		case before[0] == after[0]:
			before, after = before[1:], after[1:]
			continue
		default:
			order = compare(before[0], after[0])
		}
		var had, has *V
		if order <= 0 {
			had, before = before[0], before[1:]
		}
		if order >= 0 {
			has, after = after[0], after[1:]
		}
		fn(had, has)
	}
}

func compareEndpoints(a, b *model.Endpoint) int { return cmp.Compare(a.ID, b.ID) }

// except is what of a list is not in another.
func except(list, other []model.PortBinding) []model.PortBinding {
	there := make(map[model.PortBinding]bool, len(other))
	for _, b := range other {
		there[b] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(b model.PortBinding) bool { return there[b] })
}

func bindingTexts(list []model.PortBinding) (texts []string) {
	for _, b := range list {
		texts = append(texts, b.String())
	}
	return texts
}

func prefixTexts(list ...netip.Prefix) (texts []string) {
	for _, p := range list {
		if p.IsValid() {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// Made tells what an aspect's applier has changed behind a pass.
func (r *Reconciler) Made(aspect string, changes []string) {
	r.tellMade(aspect, outcome{made: changes})
}

// tellMade tells and logs what an aspect has changed on the host because it was asked to, a line
// for each change that the event has; what it has healed is told by itself.
func (r *Reconciler) tellMade(aspect string, out outcome) {
	if len(out.made) == 0 {
		return
	}
	healed := out.healing()
	made := slices.DeleteFunc(slices.Clone(out.made), func(c string) bool { return healed[c] })
	if len(made) == 0 {
		return
	}
	e := event.Event{Kind: event.Changed, Aspect: aspect, Changes: made}.Shortened()
	r.Tell(e)
	const text = "host changed"
	log := r.log.WithField("aspect", aspect)
	for _, change := range e.Changes {
		log.WithField("change", change).Info(text)
	}
	if e.More > 0 {
		log.WithField("more", e.More).Info(text)
	}
}
