package reconcile

import "time"

// How often an aspect is healed. Others' changes come in bursts, such as a script that
// takes rule by rule away: allowance of them are healed at once, and one more for each
// regain that passes between a healing and the next change. Beyond that somebody fights
// back, and is answered after firstBackoff, then twice as late each time, up to
// lastBackoff. quiet without a change between, and all is forgotten.
//
// Looking takes time even if nothing is found to be put right: then, no more than a share of
// 1/(1+idle) of it. But on a busy machine a look takes long because others are at work; what is
// broken then does not wait for longer than longestPause.
const (
	allowance    = 10
	regain       = 2 * time.Second
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	quiet        = 20 * time.Second
	idle         = 9
	longestPause = 500 * time.Millisecond
)

// rate says when an aspect that others may have changed is looked at.
type rate struct {
	used    float64       // of the allowance
	backoff time.Duration // 0: nobody fights
	healed  time.Time     // when something had to be put right the last time
	fights  bool          // somebody fights back
	news    bool          // and did not before
	looked  time.Time     // when it was looked at the last time
	took    time.Duration // how long that took
	logged  string        // what was put right then
	failed  string        // what could not be put right since
}

// due returns when to look, given that something may have been changed at a time; that may
// have been before the last healing has ended.
func (r *rate) due(changed time.Time) time.Time {
	backoff := r.backoff
	if changed.Sub(r.healed) > quiet {
		backoff = 0
	}
	due := changed.Add(debounce)
	for _, t := range []time.Time{r.healed.Add(backoff), r.looked.Add(min(idle*r.took, longestPause))} {
		if t.After(due) {
			due = t
		}
	}
	return due
}

// forgive gives back what has been regained of the allowance when something was changed.
func (r *rate) forgive(changed time.Time) {
	still := max(0, changed.Sub(r.healed))
	r.used = max(0, r.used-still.Seconds()/regain.Seconds())
	if still > quiet {
		r.used, r.backoff = 0, 0
	}
}

// look notes that the aspect was looked at from one time to another.
func (r *rate) look(from, to time.Time) { r.looked, r.took = to, to.Sub(from) }

// spend notes that something was found that has to be put right, which costs one of the
// allowance, whether or not that succeeds.
func (r *rate) spend(now time.Time) {
	r.healed, r.took = now, 0
	if r.used++; r.used <= allowance {
		r.backoff, r.fights, r.news = 0, false, false
		return
	}
	r.used = min(r.used, allowance+1)
	r.fights, r.news = true, r.backoff == 0
	r.backoff = min(max(firstBackoff, 2*r.backoff), lastBackoff)
}
