package hostport

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

func (a *Manager) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	return plan.Plan{{Do: func(ctx context.Context) error { return a.Apply(ctx, have, want) }}}, nil
}
func (s Set) Subjects() map[string]any {
	m := map[string][]Binding{}
	for _, b := range s.Bindings {
		m[b.Link] = append(m[b.Link], b)
	}
	a := map[string]any{}
	for k, v := range m {
		a[k] = v
	}
	return a
}

func (s Set) Only(keep func(string) bool) Set {
	o := s
	o.Bindings = nil
	for _, b := range s.Bindings {
		if keep(b.Link) {
			o.Bindings = append(o.Bindings, b)
		}
	}
	return o
}
