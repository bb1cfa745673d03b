package firewalld

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	return plan.Plan{{Do: func(ctx context.Context) error { return a.Apply(ctx, have, want) }}}, nil
}
func (s Set) Subjects() map[string]any {
	m := map[string]any{}
	for _, b := range s.Interfaces {
		m[b] = true
	}
	return m
}
func (s Set) Only(keep func(string) bool) Set {
	o := s
	o.Interfaces = nil
	for _, b := range s.Interfaces {
		if keep(b) {
			o.Interfaces = append(o.Interfaces, b)
		}
	}
	return o
}
