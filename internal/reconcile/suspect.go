package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"
)

// maxCauses is how many different causes of one healing are told.
const maxCauses = 3

// suspicion says that others may have changed something of a subject.
type suspicion struct {
	since  time.Time
	causes []string
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
// They are looked at a short time later, and healed; later, if the same subject must be healed
// again and again. Suspicions that come meanwhile are part of that.
func (r *Reconciler) Suspect(aspect, cause string, subjects ...string) {
	r.mu.Lock()
	all := r.suspected[aspect]
	if all == nil {
		all = map[string]*suspicion{}
		r.suspected[aspect] = all
	}
	if len(subjects) == 0 {
		subjects = []string{""}
	}
	for _, name := range subjects {
		if all[name] == nil {
			all[name] = &suspicion{since: time.Now()}
		}
		all[name].blame(cause)
	}
	r.mu.Unlock()
	r.event()
}

// ratesOf returns an aspect's rates. The caller holds r.mu.
func (r *Reconciler) ratesOf(aspect string) *rates {
	if r.rates[aspect] == nil {
		r.rates[aspect] = &rates{}
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
	for name, subjects := range r.suspected {
		rates := r.ratesOf(name)
		for subject, s := range subjects {
			if due := rates.due(subject, s.since); next.IsZero() || due.Before(next) {
				next = due
			}
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
	due := map[string]map[string]*suspicion{}
	for name := range r.suspected {
		due[name] = r.takeDue(name, now)
	}
	r.mu.Unlock()
	for _, a := range r.Aspects {
		suspects := due[a.name()]
		if len(suspects) == 0 {
			continue
		}
		if suspects[""] != nil {
			for _, s := range suspects {
				r.markFor(s.causes, a.name())
			}
		} else if !r.doubt(ctx, a, suspects) {
			continue
		}
		needed = true
	}
	return needed
}

// takeDue takes what of an aspect is to be looked at now from what is suspected. With the
// aspect as a whole all of its subjects are looked at. The caller holds r.mu.
func (r *Reconciler) takeDue(aspect string, now time.Time) map[string]*suspicion {
	suspects, rates := r.suspected[aspect], r.ratesOf(aspect)
	rates.forget(now)
	whole := suspects[""]
	all := whole != nil && !rates.due("", whole.since).After(now)
	taken := map[string]*suspicion{}
	for subject, s := range suspects {
		if all || !rates.due(subject, s.since).After(now) {
			rates.forgive(subject, s.since)
			taken[subject] = s
			delete(suspects, subject)
		}
	}
	if len(suspects) == 0 {
		delete(r.suspected, aspect)
	}
	return taken
}

// doubt looks at subjects and reports whether a pass must put some of
// them right.
func (r *Reconciler) doubt(ctx context.Context, a Aspect, suspects map[string]*suspicion) bool {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	var found []string
	begun := time.Now()
	err := r.guarded("look at "+a.name(), func() error {
		found = a.doubt(ctx, slices.Sorted(maps.Keys(suspects)))
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	now, rates := time.Now(), r.ratesOf(a.name())
	rates.look(begun, now)
	for _, subject := range found {
		rates.spend(subject, now)
		r.causes[a.name()] = append(r.causes[a.name()], suspects[subject].causes...)
	}
	if err != nil { // a crash that is logged; the pass looks at everything
		r.invalid[a.name()] = true
	}
	return len(found) > 0 || err != nil
}
