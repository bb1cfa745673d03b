package reconcile

import (
	"context"

	"github.com/mybr/mybr/internal/plan"
)

// Part is what an aspect takes of a Host.
type Part[T any] interface {
	// Subjects maps the name of each link that something of the part is about to that.
	Subjects() map[string]any
	// Has reports whether something of the part is about a subject.
	Has(subject string) bool
	// Only returns what of the part is about the subjects that keep reports true for, and
	// what is about none.
	Only(keep func(subject string) bool) T
	// Same reports whether two parts are deeply equal.
	Same(other T) bool
	// With returns the union of two parts that have no subject in common.
	With(other T) T
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
	// Guards says that while this one fails for a link the aspects behind it in the list bring
	// nothing new about that link to the host; nothing at all, if it fails as a whole. What
	// they have there stays, and what is wanted no longer goes.
	Guards bool
	// Narrows says that whoever the aspect has something about may do less than without it. While one
	// before it that guards fails as a whole, what it has stays as it is, be it wanted or not: what was
	// to close instead may not be there.
	Narrows bool
	// Remote says that another service does the work. When that has not answered in time it
	// is asked again at retries only, and not in the passes that requests wait for.
	Remote bool
	// Blind says that a plan from nothing does not find what must go: what is known is kept
	// when the aspect fails.
	Blind bool
	// Background reports whether an error is logged and tried again, and is no request's
	// failure; nil: none is.
	Background func(error) bool
	// Concerns returns the links that a failed subject of the aspect concerns; nil: the
	// subject is the link.
	Concerns func(h Host, subject string) []string
	// Invalidated returns what is known of the host once others may have undone something
	// there; nil: nothing.
	Invalidated func(have T) T
	// Look compares one subject that have knows with the host, and asks for no more than
	// that. nil: it can't be told but by a pass.
	Look func(ctx context.Context, have T, subject string) plan.Finding
}

// Aspect is one sort of thing that is kept true of the host.
type Aspect interface {
	name() string
	followers() []string
	guards() bool
	invalidate(suspected bool)
	doubt(ctx context.Context, subjects []string) []string
	forget(subjects map[string]bool)
	run(ctx context.Context, r *Reconciler, h Host, gate *gate, retry bool) outcome
	plan(ctx context.Context, h Host) (plan.Plan, error)
}

// New returns an aspect of which nothing is known.
func (s Spec[T]) New() Aspect { return &aspect[T]{Spec: s} }

// NewKnowing returns an aspect that the host was last known to match have in.
func (s Spec[T]) NewKnowing(have T) Aspect { return &aspect[T]{Spec: s, have: &have} }
