package reconcile

import "context"

// Mend makes a pass that starts every aspect from nothing, as the first pass of a process
// does, and returns what it has changed on the host and what it could not change. Calls that
// come together share a pass.
//
// Be aware: what requests have asked for that share the pass is in it, too.
func (r *Reconciler) Mend(ctx context.Context) ([]Difference, error) {
	p := r.request("")
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return p.changes()
}

// changes is what the pass has changed, with what failed; that it broke off, or was not made,
// is the error.
func (p *pass) changes() ([]Difference, error) {
	if p.broken || len(p.made) == 0 {
		return nil, p.errFor(nil)
	}
	return p.made, nil
}
