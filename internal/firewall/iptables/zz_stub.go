package iptables

import (
	"context"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
)

func (b *Backend) Plan(ctx context.Context, have *firewall.Policy, want firewall.Policy) (plan.Plan, error) {
	return plan.Plan{{Do: func(ctx context.Context) error { return b.Apply(ctx, have, want) }}}, nil
}
