package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mybr/mybr/internal/fault"
)

// pass is one run over all aspects, shared by all who asked before it began.
type pass struct {
	done     chan struct{}
	failures []failure
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
	r.mu.Lock()
	p, invalid, causes := r.next, r.invalid, r.causes
	r.next, r.invalid, r.causes, r.passing = nil, map[string]bool{}, map[string][]string{}, true
	r.mu.Unlock()
	if p == nil { // nobody waits
		p = &pass{done: make(chan struct{})}
	}
	err := r.guarded("render the records", func() error {
		h, failures := r.render(true)
		p.failures = append(failures, r.walk(ctx, h, invalid, causes, retry)...)
		return nil
	})
	if err != nil {
		p.failures = append(p.failures, failure{err: err})
		r.mark(slices.Collect(maps.Keys(invalid))...) // not all may have been seen to
	}
	var errs []error
	for _, f := range p.failures {
		if !slices.Contains(errs, f.err) {
			errs = append(errs, f.err)
		}
	}
	r.report(errors.Join(errs...))
	fault.Passed("reconcile: after the pass")
	close(p.done)
	return len(errs) > 0
}

// report keeps and logs what a pass failed with; the same error once as a warning.
func (r *Reconciler) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastErr, r.passing = err, false
	const text = "the host does not match what is recorded; trying again"
	switch {
	case err == nil:
		r.logged = ""
	case err.Error() == r.logged:
		r.log.WithError(err).Debug(text)
	default:
		r.log.WithError(err).Warn(text)
		r.logged = err.Error()
	}
}

// walk makes the host match h, aspect by aspect.
func (r *Reconciler) walk(ctx context.Context, h Host, invalid map[string]bool, causes map[string][]string, retry bool) (failures []failure) {
	closed := &gate{links: map[string]error{}}
	suspected := maps.Clone(invalid)
	r.withFollowers(invalid)
	for _, a := range r.Aspects {
		if invalid[a.name()] {
			a.invalidate(suspected[a.name()] || suspected[""])
		}
		begun := time.Now()
		out := a.run(ctx, r, h, closed, retry)
		if invalid[a.name()] || len(out.healed) > 0 {
			r.looked(a.name(), begun, invalid[a.name()], out, slices.Concat(causes[a.name()], causes[""]))
		}
		failures = append(failures, out.failures...)
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
	return failures
}

// add closes the gate to what an aspect failed for. Where that is a bridge, it is closed to
// the pairs on it too.
func (g *gate) add(failed gate, h Host) {
	g.all = errors.Join(g.all, failed.all)
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

// guarded turns a panic of fn into an error. What is recorded and makes fn panic would
// otherwise end the process again at each of its starts.
func (r *Reconciler) guarded(doing string, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: mybr crashed in it (see its log): %v", doing, v)
			r.log.WithField("stack", string(debug.Stack())).Error(err)
		}
	}()
	return fn()
}
