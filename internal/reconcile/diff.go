package reconcile

import (
	"context"
	"errors"
)

// Difference is what of one aspect the host has otherwise than is wanted.
type Difference struct {
	Aspect  string
	Changes []string // what would mend it, one line each
	Err     error    // why the aspect could not be looked at, all or in part; nil: it could
}

// ErrPassing says that a pass is under way.
var ErrPassing = errors.New("a pass is under way")

// DiffNow is Diff, or ErrPassing while a pass is under way.
func (r *Reconciler) DiffNow(ctx context.Context) ([]Difference, error) {
	select {
	case r.busy <- struct{}{}:
		return r.compare(ctx)
	default:
		return nil, ErrPassing
	}
}

// Diff compares the host with the records, from nothing, and changes nothing. It waits
// for a pass that is under way. Aspects that match are left out. A pass that is asked for
// meanwhile waits for it: an aspect is looked at for slowAfter at most, and not at all if
// it is known not to answer.
func (r *Reconciler) Diff(ctx context.Context) ([]Difference, error) {
	select {
	case r.busy <- struct{}{}:
		return r.compare(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// compare is Diff for the caller that has filled r.busy; it empties it.
func (r *Reconciler) compare(ctx context.Context) (all []Difference, err error) {
	defer func() { <-r.busy }()
	err = r.guarded("compare the host with the records", func() error {
		h, failures := r.render(false)
		for _, f := range failures {
			all = append(all, Difference{Aspect: f.aspect, Err: f.err})
		}
		for _, a := range r.Aspects {
			ctx, cancel := context.WithTimeout(ctx, slowAfter)
			p, err := a.plan(ctx, h)
			cancel()
			if changes := p.Changes(); len(changes) > 0 || err != nil {
				all = append(all, Difference{Aspect: a.name(), Changes: changes, Err: err})
			}
		}
		return nil
	})
	return all, err
}

// Want says what the host must be like by the records as they are now. It waits for a pass
// that is under way. With an error, what the error is about may be left out.
func (r *Reconciler) Want(ctx context.Context) (Host, error) {
	select {
	case r.busy <- struct{}{}:
	case <-ctx.Done():
		return Host{}, context.Cause(ctx)
	}
	defer func() { <-r.busy }()
	var h Host
	var errs []error
	err := r.guarded("render the records", func() error {
		var failures []failure
		h, failures = r.render(false)
		for _, f := range failures {
			errs = append(errs, f.err)
		}
		return nil
	})
	return h, errors.Join(append(errs, err)...)
}
