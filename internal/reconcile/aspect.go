package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/mybr/mybr/internal/plan"
)

// An aspect gives up after applyWithin, because Docker waits for an answer for ever, and
// so does iptables-restore for the xtables lock, which any program can hold (flock(1) on
// /run/xtables.lock). One that is still at it after slowAfter is logged. What has given
// up on another service is tried for probeWithin only, until that answers again.
const (
	applyWithin = 20 * time.Second
	slowAfter   = 5 * time.Second
	probeWithin = 2 * time.Second
)

// Part is what an aspect takes of a Host.
type Part[T any] interface {
	// Subjects maps the name of each link that something of the part is about to that.
	Subjects() map[string]any
	// Only returns what of the part is about the subjects that keep reports true for, and
	// what is about none.
	Only(keep func(subject string) bool) T
}

// Spec says what one aspect of the host is.
type Spec[T Part[T]] struct {
	Name string
	// Hint says why it may take long, such as "does another program hold the lock?". It may
	// be empty.
	Hint    string
	Take    func(Host) T
	Applier plan.Planner[T]
	// Followers names the aspects that start from nothing when this one is invalidated, or
	// has made something anew that they knew.
	Followers []string
	// Guards says that while this one fails the aspects behind it in the list bring nothing
	// new to the host. What they have there stays, and what is wanted no longer goes.
	Guards bool
	// Remote says that another service does the work. When that has not answered in time it
	// is asked again at retries only, and not in the passes that requests wait for.
	Remote bool
	// Background says that what fails here is logged and tried again, and is no request's
	// failure.
	Background bool
	// Concerns returns the links that a failed subject of the aspect concerns; nil: the
	// subject is the link.
	Concerns func(h Host, subject string) []string
	// Invalidated returns what is known of the host once others may have undone something
	// there; nil: nothing.
	Invalidated func(have T) T
}

// Aspect is one sort of thing that is kept true of the host.
type Aspect interface {
	name() string
	followers() []string
	guards() bool
	invalidate()
	run(ctx context.Context, r *Reconciler, h Host, gate error, retry bool) outcome
	plan(ctx context.Context, h Host) (plan.Plan, error)
}

// New returns an aspect of which nothing is known.
func (s Spec[T]) New() Aspect { return &aspect[T]{Spec: s} }

// NewKnowing returns an aspect that the host was last known to match have in.
func (s Spec[T]) NewKnowing(have T) Aspect { return &aspect[T]{Spec: s, have: &have} }

// aspect is one Aspect with what the host is known to match.
type aspect[T Part[T]] struct {
	Spec[T]
	have *T    // nil: unknown
	hung error // what the last attempt gave up with, if it gave up for lack of time
}

// outcome is what came of an aspect in one pass.
type outcome struct {
	failures []failure
	renewed  bool // something was made anew that others knew
}

// failure is an error and the links that it concerns.
type failure struct {
	links      []string // sorted; nil: every link
	background bool     // no request's failure
	err        error
}

func (a *aspect[T]) name() string        { return a.Name }
func (a *aspect[T]) followers() []string { return a.Followers }
func (a *aspect[T]) guards() bool        { return a.Guards }

func (a *aspect[T]) invalidate() {
	a.hung = nil
	if a.have == nil || a.Invalidated == nil {
		a.have = nil
		return
	}
	have := a.Invalidated(*a.have)
	a.have = &have
}

func (a *aspect[T]) plan(ctx context.Context, h Host) (plan.Plan, error) {
	return a.Applier.Plan(ctx, nil, a.Take(h))
}

// run makes the host match its part of h. gate is why nothing new may come to the host;
// nil: it may. retry says that no request waits for the pass.
func (a *aspect[T]) run(ctx context.Context, r *Reconciler, h Host, gate error, retry bool) (out outcome) {
	want := a.Take(h)
	if a.have != nil && reflect.DeepEqual(*a.have, want) {
		return out
	}
	if gate != nil {
		out.failures = a.blame(h, a.missing(want), gate)
		if a.have == nil {
			return out
		}
		wanted := want.Subjects()
		want = (*a.have).Only(func(subject string) bool { _, ok := wanted[subject]; return ok })
		if reflect.DeepEqual(*a.have, want) {
			return out
		}
	}
	if a.Remote && a.hung != nil && !retry {
		out.failures = append(out.failures, a.blame(h, a.missing(want), a.hung)...)
		return out
	}
	within := applyWithin
	if a.hung != nil && a.Remote {
		within = probeWithin
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("given up after %s%s", within, hint(a.Hint)))
	defer cancel()
	defer time.AfterFunc(slowAfter, func() { r.slow(fmt.Errorf("%s: still at it after %s%s", a.Name, slowAfter, hint(a.Hint))) }).Stop()

	missing := a.missing(want)
	renewed, err := a.apply(ctx, r, a.have, want)
	if err != nil && a.have != nil && ctx.Err() == nil {
		// Once more without what the difference was made from: a wrong difference must mend
		// itself.
		r.log.WithError(err).WithField("aspect", a.Name).Debug("the difference failed; trying again without it")
		var again bool
		again, err = a.apply(ctx, r, a.without(*a.have, want, err), want)
		renewed = renewed || again
	}
	a.hung = nil
	if err != nil && ctx.Err() != nil {
		a.hung = err
	}
	out.renewed = renewed
	if err == nil {
		a.have = &want
		return out
	}
	subjects, rest := plan.Blame(err)
	for _, s := range subjects {
		out.failures = append(out.failures, a.blame(h, []string{s.Subject}, s.Err)...)
	}
	if rest != nil {
		out.failures = append(out.failures, a.blame(h, missing, rest)...)
	}
	a.have = a.without(want, want, err)
	return out
}

// apply makes the host match want, and reports whether something was made anew that have
// had, or something was amiss where nothing was known.
func (a *aspect[T]) apply(ctx context.Context, r *Reconciler, have *T, want T) (renewed bool, err error) {
	err = r.guarded(a.Name, func() error {
		p, err := a.Applier.Plan(ctx, have, want)
		subjects, all := p.Renewed()
		renewed = all || have == nil && len(p) > 0
		if have != nil && len(subjects) > 0 {
			known := (*have).Subjects()
			renewed = renewed || slices.ContainsFunc(subjects, func(s string) bool { _, ok := known[s]; return ok })
		}
		return errors.Join(err, p.Do(ctx))
	})
	return renewed, err
}

// missing returns the subjects whose part of want the host is not known to match, sorted.
func (a *aspect[T]) missing(want T) (subjects []string) {
	var known map[string]any
	if a.have != nil {
		known = (*a.have).Subjects()
	}
	wanted := want.Subjects()
	maps.DeleteFunc(wanted, func(s string, part any) bool {
		had, ok := known[s]
		return ok && reflect.DeepEqual(had, part)
	})
	return slices.Sorted(maps.Keys(wanted))
}

// without returns what of a part is still known after an error on the way to want:
// nothing, unless single subjects are to blame. One that is not wanted, and could not be
// removed, is found again by a plan that starts from nothing.
func (a *aspect[T]) without(part, want T, err error) *T {
	subjects, rest := plan.Blame(err)
	if rest != nil {
		return nil
	}
	failed, wanted := map[string]bool{}, want.Subjects()
	for _, s := range subjects {
		if _, ok := wanted[s.Subject]; !ok {
			return nil
		}
		failed[s.Subject] = true
	}
	part = part.Only(func(subject string) bool { return !failed[subject] })
	return &part
}

// blame returns the failure of some of the aspect's subjects.
func (a *aspect[T]) blame(h Host, subjects []string, err error) []failure {
	f := failure{links: []string{}, background: a.Background, err: err}
	for _, s := range subjects {
		if a.Concerns == nil {
			f.links = append(f.links, s)
		} else {
			f.links = append(f.links, a.Concerns(h, s)...)
		}
	}
	slices.Sort(f.links)
	return []failure{f}
}

// hint puts a question behind a text.
func hint(question string) string {
	if question == "" {
		return ""
	}
	return " (" + question + ")"
}
