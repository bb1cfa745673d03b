package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"
)

// step is one aspect of the host, with what it was last known to match.
type step[T any] struct {
	name    string
	hint    string // why it may take long
	applier Applier[T]
	have    *T
	full    bool // the last run applied everything
}

// run applies want within applyWithin. What fails as a difference is tried once more in
// full, so that a difference can't stay wrong.
func run[T any](ctx context.Context, r *Reconciler, s *step[T], want T) error {
	if s.full = false; s.have != nil && reflect.DeepEqual(*s.have, want) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, applyWithin, fmt.Errorf("given up after %s%s", applyWithin, s.hint))
	defer cancel()
	defer time.AfterFunc(slowAfter, func() { r.slow(fmt.Errorf("%s: still at it after %s%s", s.name, slowAfter, s.hint)) }).Stop()
	apply := func(have *T) error {
		s.full = have == nil
		return r.guarded(s.name, func() error { return s.applier.Apply(ctx, have, want) })
	}
	err := apply(s.have)
	if err != nil && s.have != nil && ctx.Err() == nil {
		r.log.WithError(err).WithField("step", s.name).Debug("the difference failed; applying everything")
		err = apply(nil)
	}
	if err != nil {
		s.have = nil
		return err
	}
	s.have = &want
	return nil
}

// slow tells of a step that takes long, while everybody waits for it.
func (r *Reconciler) slow(err error) {
	r.log.WithError(err).Warn("a pass takes long, and calls wait for it")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.passing {
		r.lastErr = err
	}
}

// guarded turns a panic of fn into an error. What is recorded and makes fn panic would
// otherwise end the process again at each of its starts.
func (r *Reconciler) guarded(doing string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: mybr crashed in it (see its log): %v", doing, v)
			r.log.WithField("stack", string(debug.Stack())).Error(err)
		}
	}()
	return fn()
}
