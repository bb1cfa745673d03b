package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"
)

// maxCauses is how many different causes of one healing are told.
const maxCauses = 3

// suspicion is what of one aspect others may have changed.
type suspicion struct {
	all      bool
	subjects map[string]bool
	causes   []string
	since    time.Time
}

func (s *suspicion) blame(cause string) {
	if cause != "" && len(s.causes) < maxCauses && !slices.Contains(s.causes, cause) {
		s.causes = append(s.causes, cause)
	}
}

// Suspect says that others may have changed something of an aspect: of some of its
// subjects, or of all if none is named. cause says who or what it was, for the log; it
// may be empty. It does not wait.
//
// The aspect is looked at a short time later, and healed; later, if it must be healed again
// and again. Suspicions that come meanwhile are part of that.
func (r *Reconciler) Suspect(aspect, cause string, subjects ...string) {
	r.mu.Lock()
	s := r.suspected[aspect]
	if s == nil {
		s = &suspicion{subjects: map[string]bool{}, since: time.Now()}
		r.suspected[aspect] = s
	}
	s.all = s.all || len(subjects) == 0
	for _, name := range subjects {
		s.subjects[name] = true
	}
	s.blame(cause)
	r.mu.Unlock()
	r.event()
}

// rateOf returns an aspect's rate. The caller holds r.mu.
func (r *Reconciler) rateOf(aspect string) *rate {
	if r.rates[aspect] == nil {
		r.rates[aspect] = &rate{}
	}
	return r.rates[aspect]
}

// event has Run look at what is due.
func (r *Reconciler) event() {
	select {
	case r.events <- struct{}{}:
	default: // an event is on its way already
	}
}

// arm has a timer end when the next look at something is due, if any is.
func (r *Reconciler) arm(t *time.Timer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.due
	for name, s := range r.suspected {
		if due := r.rateOf(name).due(s.since); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if next.IsZero() {
		t.Stop()
		return
	}
	t.Reset(time.Until(next))
}

// check looks at what is due and reports whether a pass must be made.
func (r *Reconciler) check(ctx context.Context) bool {
	now := time.Now()
	r.mu.Lock()
	needed := !r.due.IsZero() && !r.due.After(now)
	if needed {
		r.due = time.Time{}
	}
	due := map[string]*suspicion{}
	for name, s := range r.suspected {
		if rate := r.rateOf(name); !rate.due(s.since).After(now) {
			rate.forgive(s.since)
			due[name] = s
			delete(r.suspected, name)
		}
	}
	r.mu.Unlock()
	for _, a := range r.Aspects {
		s := due[a.name()]
		if s == nil {
			continue
		}
		if s.all {
			r.markFor(s.causes, a.name())
		} else if !r.doubt(ctx, a, s) {
			continue
		}
		needed = true
	}
	return needed
}

// doubt looks at the subjects of a suspicion and reports whether a pass must put some of
// them right.
func (r *Reconciler) doubt(ctx context.Context, a Aspect, s *suspicion) (found bool) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	begun := time.Now()
	err := r.guarded("look at "+a.name(), func() error {
		found = a.doubt(ctx, slices.Sorted(maps.Keys(s.subjects)))
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	now, rate := time.Now(), r.rateOf(a.name())
	if rate.look(begun, now); found {
		rate.spend(now)
	}
	if err != nil { // a crash that is logged; the pass looks at everything
		r.invalid[a.name()], found = true, true
	}
	if found {
		r.causes[a.name()] = append(r.causes[a.name()], s.causes...)
	}
	return found
}
