package link

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

// Look compares one link of a set with the host. It reads that link, with its addresses and
// settings, and of a pair's host end the bridge.
func (a *Applier) Look(_ context.Context, set Set, name string) plan.Finding {
	bridge := ""
	for _, v := range set.Veths {
		if v.Host == name {
			bridge = v.Bridge
		}
	}
	want := set.Only(func(link string) bool { return link == name || link == bridge })
	// What is known of the link is something else, so that a plan looks at it.
	have := want.Only(func(string) bool { return true })
	for i := range have.Bridges {
		if have.Bridges[i].Name == name {
			have.Bridges[i].Alias += "?"
		}
	}
	for i := range have.Veths {
		if have.Veths[i].Host == name {
			have.Veths[i].Alias += "?"
		}
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
