package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/mybr/mybr/internal/fault"
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

// aspect is one Aspect with what is known of the host.
type aspect[T Part[T]] struct {
	Spec[T]
	have   *T    // what the host matches; nil: unknown
	failed *T    // what was wanted last of subjects that failed; some of it may be there. nil: none has failed
	hung   error // what the last attempt gave up with, if it gave up for lack of time
	doubts doubts[T]
}

func (a *aspect[T]) name() string        { return a.Name }
func (a *aspect[T]) followers() []string { return a.Followers }
func (a *aspect[T]) guards() bool        { return a.Guards }

// plan is what the host has otherwise than h says. A service that does not answer is not
// asked again.
func (a *aspect[T]) plan(ctx context.Context, h Host) (plan.Plan, error) {
	if a.Remote && a.hung != nil {
		return nil, a.hung
	}
	return a.Applier.Plan(ctx, nil, a.Take(h))
}

// run makes the host match its part of h. retry says that no request waits for the pass.
func (a *aspect[T]) run(ctx context.Context, r *Reconciler, h Host, gate *gate, retry bool) (out outcome) {
	want := a.Take(h)
	known := a.known(want)
	if known != nil && (*known).Same(want) {
		a.doubts = doubts[T]{}
		return out
	}
	if gate.all != nil {
		out.fail(a, h, missing(known, want), gate.all)
		if known == nil || a.Narrows {
			return out
		}
		wanted := want.Subjects()
		want = (*known).Only(func(subject string) bool { _, ok := wanted[subject]; return ok })
		if (*known).Same(want) {
			return out
		}
	}
	if a.Remote && a.hung != nil && !retry {
		out.fail(a, h, missing(known, want), a.hung)
		return out
	}
	within := applyWithin
	if a.hung != nil && a.Remote {
		within = probeWithin
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("given up after %s%s", within, hint(a.Hint)))
	defer cancel()
	defer time.AfterFunc(slowAfter, func() { r.slow(fmt.Errorf("%s: still at it after %s%s", a.Name, slowAfter, hint(a.Hint))) }).Stop()

	err := a.attempt(ctx, r, known, want, gate, &out)
	for again := false; err != nil && ctx.Err() == nil && a.retries(known, want, err); {
		// Once more without what the difference was made from: a wrong difference must mend
		// itself. And, while requests wait, once more from nothing: others may have changed the
		// host between reading and writing, as when they flush all rules.
		if known == nil && (again || retry) {
			break
		}
		again = known == nil
		r.log.WithError(err).WithField("aspect", a.Name).Debug("a plan failed; making it again from nothing")
		doubted := a.doubted()
		a.note(known, want, err)
		if a.have == nil && doubted != nil { // more than that has been changed by others
			a.doubts.had, out.widened = doubted, true
		}
		known = a.known(want)
		err = a.attempt(ctx, r, known, want, gate, &out)
	}
	if a.hung = nil; err != nil && ctx.Err() != nil {
		a.hung = err
	}
	subjects, rest := plan.Blame(err)
	for _, s := range subjects {
		out.fail(a, h, []string{s.Subject}, s.Err)
		out.gate.links[s.Subject] = s.Err
	}
	if rest != nil {
		out.fail(a, h, missing(known, want), rest)
		out.gate.all = rest
	}
	out.renewed = out.renewed || a.recovered(want, err)
	a.note(known, want, err)
	out.unhealed = a.settle(subjects, rest) || gate.all != nil
	return out
}

// known returns what the plan of a difference starts from: what the host matches, and what
// of failed subjects may be there and is not wanted any more. A failed subject that is
// wanted is planned as if it were new.
func (a *aspect[T]) known(want T) *T {
	if a.have == nil || a.failed == nil {
		return a.have
	}
	wanted := want.Subjects()
	gone := (*a.failed).Only(func(subject string) bool { _, ok := wanted[subject]; return !ok })
	if len(gone.Subjects()) == 0 {
		return a.have
	}
	known := (*a.have).With(gone)
	return &known
}

// attempt plans and carries the plan out, save what the gate keeps from the host; the
// subjects that it does keep have its error.
func (a *aspect[T]) attempt(ctx context.Context, r *Reconciler, known *T, want T, gate *gate, out *outcome) error {
	return r.guarded(a.Name, func() error {
		defer fault.Passed("reconcile: after " + a.Name)
		p, err := plan.Plan(nil), fault.Point("reconcile: before "+a.Name)
		if err == nil {
			p, err = a.Applier.Plan(ctx, known, want)
		}
		kept := map[string]bool{}
		var errs []error
		if len(gate.links) > 0 && gate.all == nil {
			wanted := want.Subjects()
			p = slices.DeleteFunc(slices.Clone(p), func(s plan.Step) bool {
				why, closed := gate.links[s.Subject]
				if _, ok := wanted[s.Subject]; !closed || !ok {
					return false
				}
				if !kept[s.Subject] {
					kept[s.Subject] = true
					errs = append(errs, &plan.Error{Subject: s.Subject, Err: why})
				}
				return true
			})
		}
		if out.healed == nil || out.widened {
			out.heals(a.healing(ctx, p, want))
		}
		out.full = out.full || known == nil
		subjects, all := p.Renewed()
		out.renewed = out.renewed || all || known == nil && len(p) > 0
		if known != nil && len(subjects) > 0 {
			out.renewed = out.renewed || slices.ContainsFunc(subjects, (*known).Has)
		}
		failed := p.Do(ctx)
		out.made = append(out.made, done(p, failed)...)
		return errors.Join(append(errs, err, failed)...)
	})
}

// retries reports whether an error may come of a wrong difference, or of a host that has
// changed meanwhile.
func (a *aspect[T]) retries(known *T, want T, err error) bool {
	subjects, rest := plan.Blame(err)
	if rest != nil {
		return !a.Blind && a.Invalidated == nil && (known != nil || !errors.As(err, new(*crash)))
	}
	if known == nil {
		return false
	}
	had, wanted := (*known).Subjects(), want.Subjects()
	return slices.ContainsFunc(subjects, func(e *plan.Error) bool {
		_, was := had[e.Subject]
		_, is := wanted[e.Subject]
		return was && is
	})
}

// note keeps what is known of the host after an attempt that ended with err.
func (a *aspect[T]) note(known *T, want T, err error) {
	subjects, rest := plan.Blame(err)
	switch {
	case err == nil:
		a.have, a.failed = &want, nil
		return
	case rest != nil && a.Invalidated != nil && known != nil:
		have := a.Invalidated((*known).With(want))
		a.have = &have
		return
	case rest != nil && a.Blind:
		a.have = known
		return
	case rest != nil:
		a.have, a.failed = nil, nil
		return
	}
	blamed, wanted := map[string]bool{}, want.Subjects()
	for _, s := range subjects {
		blamed[s.Subject] = true
	}
	have := want.Only(func(subject string) bool { return !blamed[subject] })
	failed := want.Only(func(subject string) bool { return blamed[subject] })
	for subject := range blamed {
		if _, ok := wanted[subject]; !ok && known == nil {
			a.have, a.failed = nil, nil // a leftover, which only a plan from nothing finds
			return
		}
	}
	if known != nil { // what could not be removed is there still
		have = have.With((*known).Only(func(subject string) bool { _, ok := wanted[subject]; return blamed[subject] && !ok }))
	}
	a.have, a.failed = &have, &failed
}

// recovered reports whether a subject is well that had failed before.
func (a *aspect[T]) recovered(want T, err error) bool {
	if a.failed == nil {
		return false
	}
	subjects, rest := plan.Blame(err)
	wanted := want.Subjects()
	for subject := range (*a.failed).Subjects() {
		if _, ok := wanted[subject]; ok && rest == nil && !slices.ContainsFunc(subjects, func(e *plan.Error) bool { return e.Subject == subject }) {
			return true
		}
	}
	return false
}

// missing returns the subjects whose part of want the host is not known to match, sorted.
func missing[T Part[T]](known *T, want T) []string {
	var had map[string]any
	if known != nil {
		had = (*known).Subjects()
	}
	wanted := want.Subjects()
	maps.DeleteFunc(wanted, func(s string, part any) bool {
		of, ok := had[s]
		return ok && reflect.DeepEqual(of, part)
	})
	return slices.Sorted(maps.Keys(wanted))
}

func (a *aspect[T]) background(err error) bool { return a.Background != nil && a.Background(err) }

func (a *aspect[T]) concerned(h Host, subject string) []string {
	if a.Concerns == nil {
		return []string{subject}
	}
	return a.Concerns(h, subject)
}

// hint puts a question behind a text.
func hint(question string) string {
	if question == "" {
		return ""
	}
	return " (" + question + ")"
}
