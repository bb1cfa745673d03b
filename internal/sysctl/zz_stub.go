package sysctl

import (
	"context"
	"maps"

	"github.com/mybr/mybr/internal/plan"
)

func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	return plan.Plan{{Do: func(ctx context.Context) error { return a.Apply(ctx, have, want) }}}, nil
}
func (s Set) Subjects() map[string]any {
	m := map[string]any{}
	for k, v := range s {
		m[k] = v
	}
	return m
}
func (s Set) Only(keep func(string) bool) Set {
	o := maps.Clone(s)
	maps.DeleteFunc(o, func(k, _ string) bool { return !keep(k) })
	return o
}
