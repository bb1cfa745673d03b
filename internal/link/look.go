package link

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

// Look compares one link of a set with the host. It reads that link, with its addresses and
// settings, and of a pair's host end the bridge.
func (a *Applier) Look(_ context.Context, set Set, name string) plan.Finding {
	// What is known of the link is something else, so that a plan looks at it.
	var want, have Set
	bridge := ""
	if v := set.veth(name); v != nil {
		bridge = v.Bridge
		other := *v
		other.Alias += "?"
		want.Veths, have.Veths = []*Veth{v}, []*Veth{&other}
	}
	if b, there := set.bridge(bridge); there {
		want.Bridges, have.Bridges = []Bridge{b}, []Bridge{b}
	}
	if b, there := set.bridge(name); there {
		other := b
		other.Alias += "?"
		want.Bridges, have.Bridges = append(want.Bridges, b), append(have.Bridges, other)
	}
	p := a.planner()
	err := p.plan(&have, want)
	switch {
	case p.missing[name] || p.missing[bridge]: // the bridge may have another name, which only a look at everything tells
		return plan.Gone
	case err != nil || len(p.steps) > 0:
		return plan.Differs
	}
	return plan.Same
}
