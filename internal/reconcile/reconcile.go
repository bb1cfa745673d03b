// Package reconcile makes the host match the records.
//
// Render turns the records into everything mybr wants true of the host. A pass walks a
// list of aspects, each of which takes a part of that and has an applier for it. A
// handler's change, the start after a crash, a flushed firewall and a retry are all the
// same pass.
//
// What goes wrong with one subject (a link of the host) concerns the requests about that
// link only, and what is known of the others stays known.
//
// Be aware: an aspect knows what it applied last and hands it down, so that the applier
// need only make the difference. What others undo stays undone until Suspect or Invalidate
// is called, or ResyncInterval has passed.
package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// A pass that failed is tried again by itself, after firstRetry and then twice as long
// each time, up to lastRetry. Events that come within debounce share a pass.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
	debounce   = 50 * time.Millisecond
)

var errStopped = errors.New("mybr is stopping")

// Config is what a Reconciler works with. Every field is needed, save Options,
// Forwarding, Process, Tell and Observe.
type Config struct {
	// Snapshot returns the records. Nobody changes what a snapshot holds: records that two have
	// alike are known by sharing memory.
	Snapshot func() model.Snapshot
	Options  Options
	// Forwarding says in which families nothing may be forwarded that no rule accepts,
	// given those that must be forwarded; nil: in none. decide says that the host is about to
	// be made so.
	Forwarding func(needed firewall.Families, decide bool) (firewall.Families, error)
	// Process has the process serve whom the records let reach hosts by their names, and returns
	// the ports to which the rules may lead that; nil: nobody is served. It comes before the rules.
	// With decide false it changes nothing.
	Process func(want byname.Set, decide bool) (byname.Ports, error)
	// Aspects are walked in this order.
	Aspects []Aspect
	// ResyncInterval is how often the whole host is looked at, whatever has been told of it;
	// 0: never.
	ResyncInterval time.Duration
	Log            logrus.FieldLogger
	// Tell is told what happens, and must not wait; nil: nobody is.
	Tell func(event.Event)
	// Observe is told of each pass when it has ended, before those who wait for it; it must
	// not wait for anything. Nil: nobody is told.
	Observe func(Passed)
}

// Passed is a pass that has ended.
type Passed struct {
	Full bool // at least one aspect was looked at as if nothing were known of it
	Err  error
	Took time.Duration
}

// Reconciler runs the passes, one at a time.
type Reconciler struct {
	Config
	log logrus.FieldLogger

	busy   chan struct{} // holds one while a pass or Diff is under way: aspects and the renderer are theirs
	wake   chan struct{} // a pass is wanted at once; holds one
	events chan struct{} // a pass is wanted soon; holds one
	ready  chan struct{} // closed when the first pass has ended

	renderer renderer
	opened   opened // ways to named hosts

	mu        sync.Mutex
	next      *pass                            // the pass that has not begun; nil: nobody waits
	invalid   map[string]bool                  // aspects that the next pass starts from nothing
	causes    map[string][]string              // by aspect: why the next pass looks at it, for the log
	due       time.Time                        // when a pass is to be made for what is invalid; zero: none is
	suspected map[string]map[string]*suspicion // by aspect and subject; "": all of the aspect
	rates     map[string]*rates                // by aspect
	healings  map[string]*Healing              // by aspect
	later     []*time.Timer                    // invalidations to come
	stopped   bool                             // Run has returned
	passing   bool                             // a pass has begun and not ended
	lastErr   error
	failed    time.Time       // when the first of the passes ended that have failed in a row; zero: the last went well
	failing   map[string]bool // by aspect: the last pass has left something to be tried again
	logged    string          // the last error that was logged as a warning
	told      *model.Snapshot // records that were told of; of the passes alone. nil: before the first
}

// New returns a Reconciler. Nothing happens until Run.
func New(c Config) *Reconciler {
	if c.Tell == nil {
		c.Tell = func(event.Event) {}
	}
	return &Reconciler{
		Config: c, log: c.Log,
		busy: make(chan struct{}, 1), wake: make(chan struct{}, 1), events: make(chan struct{}, 1),
		ready: make(chan struct{}), invalid: map[string]bool{}, causes: map[string][]string{},
		suspected: map[string]map[string]*suspicion{}, rates: map[string]*rates{}, healings: map[string]*Healing{},
		failing: map[string]bool{},
	}
}

// Run makes a first pass and then every pass that is asked for, until ctx ends. A
// pass that has begun is finished.
func (r *Reconciler) Run(ctx context.Context) {
	retry, soon := time.NewTimer(0), time.NewTimer(0) // the first pass
	defer retry.Stop()
	defer soon.Stop()
	soon.Stop()
	resync := ticks(r.ResyncInterval)
	defer resync.Stop()
	delay := firstRetry
	for first := true; ; {
		retrying := false
		select {
		case <-ctx.Done():
			r.stop()
			return
		case <-r.events:
			r.arm(soon)
			continue
		case <-r.wake:
		case <-soon.C:
			needed := r.check(ctx)
			r.arm(soon)
			if !needed {
				continue
			}
		case <-resync.C:
			r.markFor([]string{"something that gave no sign"}, FirewalldAspect, FirewallAspect, SpoofAspect, LinkAspect, SysctlAspect)
		case <-retry.C:
			retrying = true
		}
		// Cancelling would leave a firewall half made, and each aspect has an end.
		failed := r.pass(context.WithoutCancel(ctx), retrying)
		if first {
			close(r.ready)
			r.Tell(event.Event{Kind: event.Started})
			first = false
		}
		if !failed {
			retry.Stop()
			delay = firstRetry
			continue
		}
		if retrying || delay == firstRetry {
			retry.Reset(delay)
			delay = min(2*delay, lastRetry)
		}
	}
}

// ticks is a ticker; one of no duration never ticks.
func ticks(every time.Duration) *time.Ticker {
	if every > 0 {
		return time.NewTicker(every)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// stop answers those who still wait, and all who come later.
func (r *Reconciler) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for _, t := range r.later {
		t.Stop()
	}
	r.opened.end()
	if r.next != nil {
		r.next.failures = []failure{{err: errStopped}}
		close(r.next.done)
		r.next = nil
	}
}

// Ready is closed once the first pass has ended, well or not.
func (r *Reconciler) Ready() <-chan struct{} { return r.ready }

// LastError returns what the last pass failed with, or why the present one takes long;
// nil if all was well.
func (r *Reconciler) LastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastErr
}

// FailedSince returns when the first of the passes ended that have failed in a row up to now;
// zero if the last one went well.
func (r *Reconciler) FailedSince() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Failing reports whether the last pass has left something of an aspect to be tried again.
func (r *Reconciler) Failing(aspect string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failing[aspect]
}

// Sync returns once a pass that began after the call has ended. Requests that arrive
// together share one pass.
//
// subjects are the links that the caller's request is about: it is told what went wrong
// with those, and what goes wrong with others is logged and tried again. Without any
// subject it is told everything, save what aspects do in the background.
func (r *Reconciler) Sync(ctx context.Context, subjects ...string) error {
	p := r.request()
	select {
	case <-p.done:
		return p.errFor(subjects)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request returns the pass that will begin next, which starts the named aspects from
// nothing; "" stands for all.
func (r *Reconciler) request(invalid ...string) *pass {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range invalid {
		r.invalid[name] = true
	}
	if r.stopped {
		p := &pass{done: make(chan struct{}), failures: []failure{{err: errStopped}}}
		close(p.done)
		return p
	}
	if r.next == nil {
		r.next = &pass{done: make(chan struct{})}
		select {
		case r.wake <- struct{}{}:
		default: // a wake-up is on its way already
		}
	}
	return r.next
}

// slow tells of an aspect that takes long, while everybody waits for it.
func (r *Reconciler) slow(err error) {
	r.log.WithError(err).Warn("a pass takes long, and calls wait for it")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.passing {
		r.lastErr = err
	}
}
