package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/fault"
)

// pass is one run over all aspects, shared by all who asked before it began.
type pass struct {
	done     chan struct{}
	full     bool // some aspect starts from nothing
	failures []failure
	made     []Difference // what it has changed on the host, and what it could not
	broken   bool         // it ended before all was looked at
}

// errFor returns what went wrong with the links in subjects; all of it if there are none.
func (p *pass) errFor(subjects []string) error {
	var errs []error
	for _, f := range p.failures {
		concerned := f.links == nil || len(subjects) == 0 ||
			slices.ContainsFunc(subjects, func(s string) bool { _, ok := slices.BinarySearch(f.links, s); return ok })
		if concerned && !f.background && !slices.Contains(errs, f.err) {
			errs = append(errs, f.err)
		}
	}
	return errors.Join(errs...)
}

// pass makes one pass for all who have asked so far and reports whether anything is left
// to be tried again. retry says that it is made for that.
func (r *Reconciler) pass(ctx context.Context, retry bool) (failed bool) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	begun := time.Now()
	r.mu.Lock()
	p, invalid, causes := r.next, r.invalid, r.causes
	r.next, r.invalid, r.causes, r.passing = nil, map[string]bool{}, map[string][]string{}, true
	r.mu.Unlock()
	if p == nil { // nobody waits
		p = &pass{done: make(chan struct{})}
	}
	err := r.guarded("render the records", func() error {
		r.news(r.Snapshot())
		h, failures := r.render(true)
		p.failures = failures
		for _, f := range failures {
			p.made = append(p.made, Difference{Aspect: f.aspect, Err: f.err}) // as compare has it
		}
		r.walk(ctx, p, h, invalid, causes, retry)
		return nil
	})
	if err != nil {
		p.failures, p.broken = append(p.failures, failure{err: err}), true
		r.mark(slices.Collect(maps.Keys(invalid))...) // not all may have been seen to
	}
	var errs []error
	for _, f := range p.failures {
		if !slices.Contains(errs, f.err) {
			errs = append(errs, f.err)
		}
	}
	err = errors.Join(errs...)
	r.report(err)
	if r.Observe != nil {
		r.Observe(Passed{Full: p.full, Err: err, Took: time.Since(begun)})
	}
	fault.Passed("reconcile: after the pass")
	close(p.done)
	return len(errs) > 0
}

// report keeps and logs what a pass failed with; the same error once as a warning.
func (r *Reconciler) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastErr, r.passing = err, false; r.failed.IsZero() {
		r.failed = time.Now()
	}
	const text = "the host does not match what is recorded; trying again"
	switch {
	case err == nil:
		if r.logged != "" {
			r.Tell(event.Event{Kind: event.Recovered})
		}
		r.logged, r.failed = "", time.Time{}
	case err.Error() == r.logged:
		r.log.WithError(err).Debug(text)
	default:
		r.log.WithError(err).Warn(text)
		r.logged = err.Error()
		r.Tell(event.Event{Kind: event.Failed, Error: r.logged})
	}
}

// walk makes the host match h, aspect by aspect, and adds to p what it has changed and what
// has failed.
func (r *Reconciler) walk(ctx context.Context, p *pass, h Host, invalid map[string]bool, causes map[string][]string, retry bool) {
	closed := &gate{links: map[string]error{}}
	suspected := maps.Clone(invalid)
	r.withFollowers(invalid)
	step := func(a Aspect, h Host) {
		begun := time.Now()
		out := a.run(ctx, r, h, closed, retry)
		if invalid[a.name()] || len(out.healed) > 0 {
			r.looked(a.name(), begun, invalid[a.name()], out, slices.Concat(causes[a.name()], causes[""]))
		}
		p.failures, p.full = append(p.failures, out.failures...), p.full || out.full
		if len(out.made) > 0 || len(out.failures) > 0 {
			p.made = append(p.made, Difference{Aspect: a.name(), Changes: out.made, Err: out.err()})
		}
		r.tellMade(a.name(), out)
		r.mu.Lock()
		r.failing[a.name()] = len(out.failures) > 0
		r.mu.Unlock()
		if out.renewed {
			for _, name := range a.followers() {
				invalid[name] = true
			}
			r.withFollowers(invalid)
		}
		if a.guards() {
			closed.add(out.gate, h)
		}
	}
	held := r.held(h)
	for _, a := range r.Aspects {
		if invalid[a.name()] {
			a.invalidate(suspected[a.name()] || suspected[""])
		}
		if held == nil {
			step(a, h)
			continue
		}
		step(a, held.first)
		if a.name() == SpoofAspect && held.ends(r) {
			held = nil
			step(r.aspect(FirewallAspect), h)
		}
	}
}

// add closes the gate to what an aspect failed for. Where that is a bridge, it is closed to
// the pairs on it too.
func (g *gate) add(failed gate, h Host) {
	g.all = errors.Join(g.all, failed.all)
	if len(failed.links) == 0 {
		return // nearly always: no pair is looked at
	}
	maps.Copy(g.links, failed.links)
	for _, v := range h.Links.Veths {
		if err, ok := failed.links[v.Bridge]; ok {
			g.links[v.Host] = err
		}
	}
}

// withFollowers adds the aspects that start from nothing together with the given ones;
// "" stands for all.
func (r *Reconciler) withFollowers(names map[string]bool) {
	for _, a := range r.Aspects { // followers stand behind what they follow
		if names[""] {
			names[a.name()] = true
		}
		if names[a.name()] {
			for _, f := range a.followers() {
				names[f] = true
			}
		}
	}
}

// crash is a panic while something was done.
type crash struct {
	doing string
	value any
}

func (c *crash) Error() string {
	return fmt.Sprintf("%s: mybr crashed in it (see its log): %v", c.doing, c.value)
}

// guarded turns a panic of fn into an error. What is recorded and makes fn panic would
// otherwise end the process again at each of its starts.
func (r *Reconciler) guarded(doing string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &crash{doing: doing, value: v}
			r.log.WithField("stack", string(debug.Stack())).Error(err)
		}
	}()
	return fn()
}
