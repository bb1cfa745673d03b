package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/plan"
)

// maxLogged is how many changes of one healing are logged.
const maxLogged = 20

// Healing counts what was put right of an aspect that others had changed.
type Healing struct {
	Found   int // times that something was otherwise than it had been made, and was put right
	Changes int // what it took to put it right
	Last    time.Time
	By      string // who had changed it the last time that this was known, with commas between
	Fights  bool   // some of it is changed again and again

	Unhealed int // times that not all of it could be put right yet
}

// Healings returns what was put right since the process began, by aspect.
func (r *Reconciler) Healings() map[string]Healing {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Healing, len(r.healings))
	now := time.Now()
	for name, h := range r.healings {
		one := *h
		one.Fights = r.ratesOf(name).fought(now)
		all[name] = one
	}
	return all
}

// doubts is what of an aspect others may have changed since it was known to match.
type doubts[T Part[T]] struct {
	had      *T // all of this; nil: only subjects
	subjects map[string]bool
}

// about reports whether something of a subject is doubted.
func (d doubts[T]) about(subject string) bool {
	if d.had == nil {
		return d.subjects[subject]
	}
	return (*d.had).Has(subject)
}

// doubted is what was known, with what of it is doubted; nil: nothing is, or all of it is.
func (a *aspect[T]) doubted() *T {
	if a.have == nil || a.doubts.had != nil || len(a.doubts.subjects) == 0 {
		return nil
	}
	had := *a.have
	if a.failed != nil {
		had = had.With(*a.failed)
	}
	return &had
}

// settle drops the doubts that an attempt has put an end to: all but those about what has
// failed. It reports whether some are left.
func (a *aspect[T]) settle(failed []*plan.Error, rest error) (unhealed bool) {
	left := map[string]bool{}
	for _, e := range failed {
		if a.doubts.about(e.Subject) {
			left[e.Subject] = true
		}
	}
	if a.have != nil { // else all of it is put right by a later pass
		a.doubts = doubts[T]{subjects: left}
	}
	return rest != nil || len(left) > 0
}

// mended is what it takes to put something of a subject right.
type mended struct{ subject, change string }

// texts are the changes of all.
func texts(all []mended) []string {
	var list []string
	for _, m := range all {
		list = append(list, m.change)
	}
	return list
}

// healing lists the changes of a plan that put right what was doubted, and not what has
// been asked for since, nor what follows what others have made of their own.
func (a *aspect[T]) healing(ctx context.Context, p plan.Plan, want T) (changes []mended) {
	all := a.doubts.had != nil
	if all && len(p) > 0 && !(*a.doubts.had).Same(want) {
		var err error
		if p, err = a.Applier.Plan(ctx, nil, *a.doubts.had); err != nil {
			return nil // it will show in the pass
		}
	}
	for _, s := range p {
		if all || a.doubts.subjects[s.Subject] {
			for _, change := range s.Changes {
				if slices.Contains(s.Follows, change) {
					continue
				}
				changes = append(changes, mended{subject: s.Subject, change: change})
			}
		}
	}
	return changes
}

// invalidate forgets what is known. suspected says that others may have changed the host,
// and not only what this aspect follows.
func (a *aspect[T]) invalidate(suspected bool) {
	a.hung = nil
	if suspected && a.have != nil {
		had := *a.have
		a.doubts.had = &had
	}
	if a.have == nil || a.Invalidated == nil {
		a.have, a.failed = nil, nil
		return
	}
	have := a.Invalidated(*a.have)
	a.have = &have
}

// doubt looks at subjects, and returns those of which something may differ from what is
// known. That is not known any more then, and the next pass puts it right.
func (a *aspect[T]) doubt(ctx context.Context, subjects []string) (found []string) {
	if a.have == nil {
		return subjects // it is to be tried again, and this may be the moment
	}
	differ, gone := map[string]bool{}, false
	for _, s := range subjects {
		if (*a.have).Has(s) {
			finding := plan.Differs
			if a.Look != nil {
				finding = a.Look(ctx, *a.have, s)
			}
			if gone = gone || finding == plan.Gone; finding != plan.Same {
				differ[s] = true
				found = append(found, s)
			}
		} else if a.failed != nil && (*a.failed).Has(s) {
			found = append(found, s)
		}
	}
	if gone {
		a.invalidate(true)
	}
	if gone || len(found) == 0 {
		return found
	}
	a.forget(differ)
	if a.doubts.subjects == nil {
		a.doubts.subjects = map[string]bool{}
	}
	maps.Copy(a.doubts.subjects, differ)
	return found
}

// forget has the next pass plan subjects as if they had failed.
func (a *aspect[T]) forget(subjects map[string]bool) {
	if a.have == nil {
		return
	}
	have := (*a.have).Only(func(s string) bool { return !subjects[s] })
	failed := (*a.have).Only(func(s string) bool { return subjects[s] })
	if a.failed != nil {
		failed = (*a.failed).With(failed)
	}
	a.have, a.failed = &have, &failed
}

// looked notes and logs what came of a pass's look at an aspect that others may have
// changed, from begun to now. all says that it was looked at as a whole, and not only at
// what doubt had found.
func (r *Reconciler) looked(aspect string, begun time.Time, all bool, out outcome, causes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	rates := r.ratesOf(aspect)
	if all {
		rates.look(begun, now)
	}
	if len(out.healed) == 0 {
		return
	}
	if all {
		rates.spend("", now)
	}
	h := r.healings[aspect]
	if h == nil {
		h = &Healing{}
		r.healings[aspect] = h
	}
	log, text, by := r.log.WithField("aspect", aspect), some(texts(out.healed)), blamed(causes)
	if out.unhealed {
		h.Unhealed++
		if text != rates.failed {
			log.Warnf("not all could be healed yet: %s%s", text, by)
		}
		rates.failed = text
		if mended := out.mended(); len(mended) > 0 {
			r.Tell(event.Event{Kind: event.Healed, Aspect: aspect, Changes: mended, By: strings.Join(blamedOf(causes), ", ")})
		}
		return
	}
	rates.failed = ""
	h.Found, h.Changes, h.Last = h.Found+1, h.Changes+len(out.healed), now
	if who := blamedOf(causes); len(who) > 0 {
		h.By = strings.Join(who, ", ")
	}
	fought, healed := rates.tell(log, all, out.healed, by)
	rates.logged = text
	for kind, changes := range map[string][]string{event.Fight: fought, event.Healed: healed} {
		if len(changes) > 0 {
			r.Tell(event.Event{Kind: kind, Aspect: aspect, Changes: changes, By: strings.Join(blamedOf(causes), ", ")})
		}
	}
}

// tell logs what was healed: what is fought about once, as that. It returns that and the rest.
func (r *rates) tell(log logrus.FieldLogger, all bool, healed []mended, by string) (news, rest []string) {
	var quiet, loud []string
	var told []*rate
	repeated := some(texts(healed)) == r.logged
	for _, m := range healed {
		of := r.subjects[m.subject]
		if all {
			of = &r.whole
		}
		switch {
		case of != nil && of.news:
			news = append(news, m.change)
			told = append(told, of)
		case of != nil && (of.fights || repeated && of.used > 1):
			quiet = append(quiet, m.change)
		default:
			loud = append(loud, m.change)
		}
	}
	for _, of := range told {
		of.news = false
	}
	if len(news) > 0 {
		log.Warnf("the host is changed again and again%s; mybr puts it right at longer and longer intervals, up to %s, until that ends: %s", by, lastBackoff, some(news))
	}
	if len(loud) > 0 {
		log.Warnf("healed: %s%s", some(loud), by)
	}
	if len(quiet) > 0 {
		log.Debugf("healed: %s%s", some(quiet), by)
	}
	return news, slices.Concat(loud, quiet)
}

// blamed says who it was; "" if nobody is known.
func blamed(causes []string) string {
	if causes = blamedOf(causes); len(causes) == 0 {
		return ""
	}
	return "; changed by " + strings.Join(causes, ", ")
}

// blamedOf lists the different causes, maxCauses of them at most.
func blamedOf(causes []string) []string {
	causes = slices.DeleteFunc(slices.Clone(causes), func(c string) bool { return c == "" })
	slices.Sort(causes)
	causes = slices.Compact(causes)
	return causes[:min(len(causes), maxCauses)]
}

// some joins the first changes, and says how many more there are.
func some(changes []string) string {
	text := strings.Join(changes[:min(len(changes), maxLogged)], "; ")
	if more := len(changes) - maxLogged; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
