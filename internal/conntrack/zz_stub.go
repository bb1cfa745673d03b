package conntrack

import (
	"context"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

type Set struct {
	Bindings  []model.PortBinding
	Endpoints []Endpoint
	Unsure    bool
}
type Endpoint struct {
	ID     string
	V4, V6 netip.Addr
}

func (s Set) Subjects() map[string]any   { return nil }
func (s Set) Only(func(string) bool) Set { return s }

type Applier struct{}

func (Applier) Plan(context.Context, *Set, Set) (plan.Plan, error) { return nil, nil }
