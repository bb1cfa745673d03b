package reconcile

import (
	"context"
	"time"

	"github.com/mybr/mybr/internal/fault"
)

// Some of what a pass has to do can wait until those who asked for it are answered, such as
// to have the kernel destroy a link, which takes as long as all else together. It is put off
// (Spec.Behind) and seen to by a pass soon after, which nobody waits for. It counts as
// something that the host is not known to match yet, and nobody else needs to know of it:
// whoever wants to compare the host, or to be sure that all is done, waits for that pass.

// Settle is Sync for one who needs everything to be done, and not only what requests must wait
// for.
func (r *Reconciler) Settle(ctx context.Context) error {
	r.mu.Lock()
	p := r.requestLocked()
	p.whole = true
	r.mu.Unlock()
	select {
	case <-p.done:
		return p.errFor(nil)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// putOff notes whether a pass has put something off, be it something that was before.
func (r *Reconciler) putOff(something bool) {
	r.mu.Lock()
	since := r.behind
	switch {
	case !something:
		r.behind = time.Time{}
	case since.IsZero():
		r.behind = time.Now()
	}
	r.mu.Unlock()
	switch {
	case something && since.IsZero():
		fault.Passed("reconcile: something is put off")
	case !something && !since.IsZero():
		fault.Passed("reconcile: what was put off is done")
	}
}

// behindSince is since when something is put off; zero: nothing is.
func (r *Reconciler) behindSince() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behind
}

// asked reports whether somebody waits for a pass.
func (r *Reconciler) asked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next != nil
}

// armBehind has a timer end when what is put off is to be seen to, if anything is.
func (r *Reconciler) armBehind(t *time.Timer) {
	since := r.behindSince()
	if since.IsZero() {
		t.Stop()
		return
	}
	t.Reset(max(0, min(behindQuiet, time.Until(since.Add(behindLatest)))))
}
