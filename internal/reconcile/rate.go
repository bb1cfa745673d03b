package reconcile

import (
	"maps"
	"time"
)

// How often a link, or an aspect as a whole, is healed. Others' changes come in bursts, such
// as a script that takes rule by rule away: allowance of them are healed at once, and one
// more for each regain that passes between a healing and the next change. Beyond that
// somebody fights back, and is answered after firstBackoff, then twice as late each time, up
// to lastBackoff. quiet without a change between, and all is forgotten.
//
// Looking takes time even if nothing is found to be put right: then, no more than a share of
// 1/(1+idle) of it, for an aspect with all its links. But on a busy machine a look takes long
// because others are at work; what is broken then does not wait for longer than longestPause.
const (
	allowance    = 10
	regain       = 2 * time.Second
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	quiet        = 20 * time.Second
	idle         = 9
	longestPause = 500 * time.Millisecond
)

// rate says when what others may have changed is looked at: an aspect as a whole, or one of
// its subjects.
type rate struct {
	used    float64       // of the allowance
	backoff time.Duration // 0: nobody fights
	healed  time.Time     // when something had to be put right the last time
	fights  bool          // somebody fights back
	news    bool          // and did not before
}

// rates are those of an aspect.
type rates struct {
	whole    rate
	subjects map[string]*rate

	looked time.Time     // when something of it was looked at the last time
	took   time.Duration // how long that took; 0: something was found
	logged string        // what was put right then
	failed string        // what could not be put right since
}

// of returns the rate of a subject; "" is the aspect as a whole.
func (r *rates) of(subject string) *rate {
	if subject == "" {
		return &r.whole
	}
	if r.subjects[subject] == nil {
		if r.subjects == nil {
			r.subjects = map[string]*rate{}
		}
		r.subjects[subject] = &rate{}
	}
	return r.subjects[subject]
}

// forget drops what says nothing any more.
func (r *rates) forget(now time.Time) {
	maps.DeleteFunc(r.subjects, func(_ string, of *rate) bool { return now.Sub(of.healed) > max(quiet, lastBackoff) })
}

// due returns when to look at a subject, given that something of it may have been changed at
// a time; that may have been before the last healing has ended.
func (r *rates) due(subject string, changed time.Time) time.Time {
	due, of := changed.Add(debounce), r.whole
	if subject != "" {
		of = rate{}
		if known := r.subjects[subject]; known != nil {
			of = *known
		}
	}
	backoff := of.backoff
	if changed.Sub(of.healed) > quiet {
		backoff = 0
	}
	for _, t := range []time.Time{of.healed.Add(backoff), r.looked.Add(min(idle*r.took, longestPause))} {
		if t.After(due) {
			due = t
		}
	}
	return due
}

// fought reports whether some of the aspect is changed again and again, and still was a moment
// ago.
func (r *rates) fought(now time.Time) bool {
	if r.whole.fought(now) {
		return true
	}
	for _, of := range r.subjects {
		if of.fought(now) {
			return true
		}
	}
	return false
}

// forgive gives back what has been regained of a subject's allowance when something of it was
// changed.
func (r *rates) forgive(subject string, changed time.Time) {
	if subject == "" || r.subjects[subject] != nil {
		r.of(subject).forgive(changed)
	}
}

// look notes that something of the aspect was looked at from one time to another.
func (r *rates) look(from, to time.Time) { r.looked, r.took = to, to.Sub(from) }

// spend notes that something of a subject was found that has to be put right, which costs
// one of its allowance, whether or not that succeeds.
func (r *rates) spend(subject string, now time.Time) {
	r.took = 0
	r.of(subject).spend(now)
}

// forgive gives back what has been regained of the allowance when something was changed.
func (r *rate) forgive(changed time.Time) {
	still := max(0, changed.Sub(r.healed))
	r.used = max(0, r.used-still.Seconds()/regain.Seconds())
	if still > quiet {
		r.used, r.backoff = 0, 0
	}
}

// fought is rates.fought of one subject.
func (r *rate) fought(now time.Time) bool {
	return r.fights && now.Sub(r.healed) <= max(quiet, r.backoff)
}

func (r *rate) spend(now time.Time) {
	r.healed = now
	if r.used++; r.used <= allowance {
		r.backoff, r.fights, r.news = 0, false, false
		return
	}
	r.used = min(r.used, allowance+1)
	r.fights, r.news = true, r.backoff == 0
	r.backoff = min(max(firstBackoff, 2*r.backoff), lastBackoff)
}
