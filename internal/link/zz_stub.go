package link

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	return plan.Plan{{Do: func(ctx context.Context) error { return a.Apply(ctx, have, want) }}}, nil
}
func (s Set) Subjects() map[string]any {
	m := map[string]any{}
	for _, b := range s.Bridges {
		m[b.Name] = b
	}
	for _, v := range s.Veths {
		m[v.Host] = v
	}
	return m
}
func (s Set) Only(keep func(string) bool) Set {
	var o Set
	for _, b := range s.Bridges {
		if keep(b.Name) {
			o.Bridges = append(o.Bridges, b)
		}
	}
	for _, v := range s.Veths {
		if keep(v.Host) {
			o.Veths = append(o.Veths, v)
		}
	}
	return o
}
