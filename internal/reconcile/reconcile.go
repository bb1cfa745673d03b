// Package reconcile makes the host match the records.
//
// Render turns the records into everything mybr wants true of the host; a pass
// hands each part to its applier. A handler's change, the start after a crash, a
// flushed firewall and a retry are all the same pass.
//
// Be aware: a pass knows what it applied last (have) and hands it down, so that the
// appliers need only make the difference. What others undo behind its back stays
// undone until Resync is called.
package reconcile

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/sysctl"
)

// A pass that failed is tried again by itself, after firstRetry and then twice as
// long each time, up to lastRetry.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Docker waits for an answer for ever, and iptables-restore for the xtables lock too,
// which any program can hold (flock(1) on /run/xtables.lock). So a step of a pass gives
// up after applyWithin, and one that is still at it after slowAfter is told of.
const (
	applyWithin = 20 * time.Second
	slowAfter   = 5 * time.Second
)

var errStopped = errors.New("mybr is stopping")

// Applier makes one aspect of the host match want. have is what the host was last
// known to match; nil means unknown, and then everything mybr owns is read or
// replaced. Apply is idempotent and never touches what mybr does not own.
type Applier[T any] interface {
	Apply(ctx context.Context, have *T, want T) error
}

// Config is what a Reconciler works with. Every field is needed, save Options and Closed.
type Config struct {
	Snapshot  func() model.Snapshot
	Firewalld Applier[firewalld.Set]
	Options   Options
	// Closed says in which families mybr is who has the host forward, so that it must not
	// do so for everybody, given the settings that are wanted. It may be nil: in none.
	Closed   func(want sysctl.Set) (firewall.Families, error)
	Firewall Applier[firewall.Policy]
	Links    Applier[link.Set]
	Sysctls  Applier[sysctl.Set]
	Ports    Applier[hostport.Set]
	Forget   func(ctx context.Context, c conntrack.Change) error
	Log      logrus.FieldLogger
}

// Reconciler runs the passes, one at a time.
type Reconciler struct {
	snapshot func() model.Snapshot
	options  Options
	closed   func(sysctl.Set) (firewall.Families, error)
	forget   func(ctx context.Context, c conntrack.Change) error
	log      logrus.FieldLogger

	// Touched by passes only.
	firewalld step[firewalld.Set]
	firewall  step[firewall.Policy]
	links     step[link.Set]
	sysctls   step[sysctl.Set]
	ports     step[hostport.Set]
	led       *hostport.Set // what the packet filter was last known to lead to; nil: unknown
	lodged    []link.Veth   // the endpoints there were when flows of the gone were last forgotten

	wake  chan struct{} // a pass is wanted; holds one
	ready chan struct{} // closed when the first pass has ended

	mu      sync.Mutex
	next    *pass // the pass that has not begun; nil: nobody waits
	doubt   bool  // the next pass starts from have == nil
	stopped bool  // Run has returned
	passing bool  // a pass has begun and not ended
	lastErr error
}

// pass is one run over all steps, shared by all who asked before it began.
type pass struct {
	done  chan struct{}
	err   error         // of a step that concerns everybody
	links []*link.Error // of single links
}

// New returns a Reconciler. Nothing happens until Run.
func New(c Config) *Reconciler {
	return &Reconciler{
		snapshot: c.Snapshot, options: c.Options, closed: c.Closed, forget: c.Forget, log: c.Log,
		firewalld: step[firewalld.Set]{name: "firewalld", applier: c.Firewalld, hint: " (does `firewall-cmd --state` answer?)"},
		firewall:  step[firewall.Policy]{name: "firewall", applier: c.Firewall, hint: " (does another program hold /run/xtables.lock?)"},
		links:     step[link.Set]{name: "links", applier: c.Links},
		sysctls:   step[sysctl.Set]{name: "sysctls", applier: c.Sysctls},
		ports:     step[hostport.Set]{name: "host ports", applier: c.Ports},
		wake:      make(chan struct{}, 1),
		ready:     make(chan struct{}),
	}
}

// Run makes a first pass and then every pass that is asked for, until ctx ends. A
// pass that has begun is finished.
func (r *Reconciler) Run(ctx context.Context) {
	retry := time.NewTimer(0) // the first pass
	defer retry.Stop()
	delay := firstRetry
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			r.stop()
			return
		case <-r.wake:
		case <-retry.C:
		}
		// Cancelling would leave a firewall half made, and each step has an end.
		failed := r.pass(context.WithoutCancel(ctx))
		if first {
			close(r.ready)
		}
		retry.Stop()
		if !failed {
			delay = firstRetry
			continue
		}
		retry.Reset(delay)
		delay = min(2*delay, lastRetry)
	}
}

// stop answers those who still wait, and all who come later.
func (r *Reconciler) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	if r.next != nil {
		r.next.err = errStopped
		close(r.next.done)
		r.next = nil
	}
}

func stoppedPass() *pass {
	p := &pass{done: make(chan struct{}), err: errStopped}
	close(p.done)
	return p
}

// Ready is closed once the first pass has ended, well or not.
func (r *Reconciler) Ready() <-chan struct{} { return r.ready }

// LastError returns what the last pass failed with, or why the present one takes long;
// nil if the host matches.
func (r *Reconciler) LastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastErr
}

// Sync returns once a pass that began after the call has ended. Requests that
// arrive together share one pass.
//
// The names in about are the links that concern the caller: trouble with others is
// logged and tried again, but is not the caller's. With no name given, every
// trouble is. Host ports that were taken while mybr was away are nobody's.
func (r *Reconciler) Sync(ctx context.Context, about ...string) error {
	p := r.request(false)
	select {
	case <-p.done:
		return p.errFor(about)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resync is Sync from scratch: it forgets what the host was known to match.
func (r *Reconciler) Resync(ctx context.Context) error {
	p := r.request(true)
	select {
	case <-p.done:
		return p.errFor(nil)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request returns the pass that will begin next.
func (r *Reconciler) request(doubt bool) *pass {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return stoppedPass()
	}
	r.doubt = r.doubt || doubt
	if r.next == nil {
		r.next = &pass{done: make(chan struct{})}
		select {
		case r.wake <- struct{}{}:
		default: // a wake-up is on its way already
		}
	}
	return r.next
}

// pass makes one pass for everybody who has asked so far and reports whether
// anything is left to be tried again.
func (r *Reconciler) pass(ctx context.Context) (failed bool) {
	r.mu.Lock()
	p, doubt := r.next, r.doubt
	r.next, r.doubt, r.passing = nil, false, true
	r.mu.Unlock()
	if p == nil { // a retry: nobody waits
		p = &pass{done: make(chan struct{})}
	}

	var errs failures
	err := r.guarded("render the records", func() error {
		errs = r.apply(ctx, Render(r.snapshot(), r.options), doubt)
		return nil
	})
	var other error
	p.links, other = split(errs.links)
	p.err = errors.Join(err, errs.firewalld, errs.firewall, other, errs.sysctls)
	err = errors.Join(err, errs.firewalld, errs.firewall, errs.links, errs.sysctls, errs.ports)
	if err != nil {
		r.log.WithError(err).Warn("the host does not match what is recorded; trying again")
	}
	r.mu.Lock()
	r.lastErr, r.passing = err, false
	r.mu.Unlock()
	close(p.done)
	return err != nil
}

// failures is what the steps of one pass failed with.
type failures struct{ firewalld, firewall, links, sysctls, ports error }

// apply makes the host match want, all of it if there is doubt about what it matched.
//
// What may flush rules comes before them. Rules come before the links they guard, and
// before the host is made to forward. Addresses and ports come last: a port is served when
// what leads to it is there, and when flows are forgotten that began before: those would
// go past the rules to the process, from wherever they come.
func (r *Reconciler) apply(ctx context.Context, want Host, doubt bool) (errs failures) {
	if doubt {
		r.firewall.have, r.links.have, r.sysctls.have, r.ports.have = nil, nil, nil, nil
		r.firewalld.have = nil
	}
	errs.firewalld = run(ctx, r, &r.firewalld, want.Firewalld)
	if r.firewalld.full { // it may have reloaded, which flushes every rule
		r.firewall.have = nil
	}
	var unknown error
	if r.closed != nil {
		want.Firewall.DefaultDrop, unknown = r.closed(want.Sysctls)
	}
	errs.firewall = errors.Join(unknown, run(ctx, r, &r.firewall, want.Firewall))
	errs.links = run(ctx, r, &r.links, want.Links)
	if r.links.full { // a link that was made anew has the kernel's settings, and another number
		r.sysctls.have, r.ports.have = nil, nil
	}
	if errs.firewall == nil || want.Firewall.DefaultDrop == (firewall.Families{}) && unknown == nil {
		errs.sysctls = run(ctx, r, &r.sysctls, want.Sysctls)
	}

	change := flows(r.led, want.Ports, doubt)
	change.Left = left(r.lodged, want.Links.Veths)
	err := r.guarded("forget flows", func() error { return r.forget(ctx, change) })
	if err != nil {
		// They end by themselves; those of the gone are looked for again in the next pass.
		r.log.WithError(err).Warn("stale flows may go on for a while")
	}
	if errs.firewall == nil {
		r.led = &want.Ports
	}
	if errs.firewall == nil && err == nil { // else rules may have led to the gone until now
		r.lodged = want.Links.Veths
	}
	errs.ports = run(ctx, r, &r.ports, want.Ports)
	return errs
}

// errFor returns what of the pass's trouble concerns the links in about.
func (p *pass) errFor(about []string) error {
	errs := []error{p.err}
	for _, e := range p.links {
		if len(about) == 0 || slices.Contains(about, e.Link) {
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}

// split separates the errors of single links from the rest of a joined error.
func split(err error) (links []*link.Error, other error) {
	if err == nil {
		return nil, nil
	}
	if e, ok := err.(*link.Error); ok {
		return []*link.Error{e}, nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		l, o := split(e)
		links = append(links, l...)
		rest = append(rest, o)
	}
	return links, errors.Join(rest...)
}
