package backend

import (
	"context"
	"errors"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/plan"
)

// alone is a backend that removes what the other one has left. Both may be in force for a
// moment: what one has translated stays so, and both let the same pass.
type alone struct {
	firewall.Backend
	leftovers *nftables.Leftovers
}

// Plan looks for leftovers when it starts from nothing known; they go when the backend's
// own rules are there.
func (b *alone) Plan(ctx context.Context, have *firewall.Policy, want firewall.Policy) (plan.Plan, error) {
	steps, err := b.Backend.Plan(ctx, have, want)
	if _, rest := plan.Blame(err); have != nil || rest != nil {
		return steps, err
	}
	left, failed := b.leftovers.Plan(ctx)
	if failed != nil {
		return steps, errors.Join(err, failed)
	}
	return steps.Then(left, "mybr's tables of nf_tables stay until "+b.Name()+" has its rules"), err
}

// Apply is Plan, and what the plan says.
func (b *alone) Apply(ctx context.Context, have *firewall.Policy, want firewall.Policy) error {
	p, err := b.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}

// Own and Told know both.
func (b *alone) Own(pid int) bool { return b.Backend.Own(pid) || b.leftovers.Own(pid) }

func (b *alone) Told(change string) (firewall.Change, bool) {
	if c, ok := b.Backend.Told(change); ok {
		return c, true
	}
	return b.leftovers.Told(change)
}
