package reconcile

import (
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/spoof"
)

// hold is what the packet filter is to do until some networks have a list of what their containers may
// begin to each other.
type hold struct {
	first   Host
	bridges []string
}

// held says what comes first of h where networks get a list whose containers could begin nothing to
// each other until now (mybr.icc=none): the packet filter is not to let anything pass there before the
// list is, which comes behind it. nil: there are none, or it is not known what the packet filter does.
//
// It costs something only where lists come or go.
func (r *Reconciler) held(h Host) *hold {
	filter, senders := knows[firewall.Policy](r), knows[spoof.Set](r)
	if filter == nil || senders != nil && plan.SameList(senders.Networks, h.Spoof.Networks) {
		return nil
	}
	comes := map[string]bool{}
	for _, n := range h.Spoof.Networks {
		comes[n.Bridge] = true
	}
	if senders != nil {
		for _, n := range senders.Networks {
			delete(comes, n.Bridge)
		}
	}
	closed := map[string]bool{}
	for _, n := range filter.Networks {
		closed[n.Bridge] = comes[n.Bridge] && !n.ICC
	}
	held := &hold{first: h}
	for i, n := range h.Firewall.Networks {
		if !closed[n.Bridge] || !n.ICC {
			continue
		}
		if held.bridges == nil {
			held.first.Firewall.Networks = slices.Clone(h.Firewall.Networks)
		}
		held.first.Firewall.Networks[i].ICC = false
		held.bridges = append(held.bridges, n.Bridge)
	}
	if held.bridges == nil {
		return nil
	}
	return held
}

// ends reports whether all of its networks have their lists.
func (held *hold) ends(r *Reconciler) bool {
	senders := knows[spoof.Set](r)
	if senders == nil {
		return false
	}
	listed := map[string]bool{}
	for _, n := range senders.Networks {
		listed[n.Bridge] = true
	}
	return !slices.ContainsFunc(held.bridges, func(b string) bool { return !listed[b] })
}

// knows is what the host was last known to match in the aspect that takes a T; nil: that is not known,
// or there is no such aspect.
func knows[T Part[T]](r *Reconciler) *T {
	for _, a := range r.Aspects {
		if a, ok := a.(*aspect[T]); ok {
			return a.have
		}
	}
	return nil
}

// aspect is the one of that name, which there is.
func (r *Reconciler) aspect(name string) Aspect {
	return r.Aspects[slices.IndexFunc(r.Aspects, func(a Aspect) bool { return a.name() == name })]
}
