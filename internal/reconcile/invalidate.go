package reconcile

import "time"

// Invalidate says that others may have undone something of the named aspects, of all if
// none is named: a pass is made soon that starts them from nothing. It does not wait.
// Calls that come within a short time share a pass. cause is told in the log if something
// has to be put right.
func (r *Reconciler) Invalidate(cause string, aspects ...string) {
	r.markFor([]string{cause}, aspects...)
	r.mu.Lock()
	if r.due.IsZero() { // calls that never end don't put the pass off
		r.due = time.Now().Add(debounce)
	}
	r.mu.Unlock()
	r.event()
}

// Forget says that some subjects of an aspect may be otherwise than the aspect knows, by what the
// applier of another one has done: the next pass, for which nothing else need have changed, looks at
// them. It is for appliers, while a pass has them carry out a plan.
func (r *Reconciler) Forget(aspect string, subjects ...string) {
	all := make(map[string]bool, len(subjects))
	for _, s := range subjects {
		all[s] = true
	}
	r.aspect(aspect).forget(all)
}

// mark has the next pass start the named aspects from nothing; all if none is named.
func (r *Reconciler) mark(aspects ...string) { r.markFor(nil, aspects...) }

// markFor is mark, and says why.
func (r *Reconciler) markFor(causes []string, aspects ...string) {
	if len(aspects) == 0 {
		aspects = []string{""}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range aspects {
		r.invalid[name] = true
		r.causes[name] = append(r.causes[name], causes...)
	}
}

// dockerRestores is when, after firewalld has flushed the rules of all, mybr's are looked
// at again: Docker puts its own back rule by rule, which takes it longer the more it has,
// and in front of mybr's.
func dockerRestores() []time.Duration {
	return []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}
}

// FirewalldChanged says that firewalld was started or stopped, or has reloaded.
func (r *Reconciler) FirewalldChanged() {
	r.Invalidate("firewalld, which started, stopped or reloaded", FirewalldAspect)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.later {
		t.Stop()
	}
	r.later = nil
	if r.stopped {
		return
	}
	var after time.Duration
	for _, d := range dockerRestores() {
		after += d
		r.later = append(r.later, time.AfterFunc(after, func() { r.Invalidate("Docker, behind firewalld", FirewallAspect) }))
	}
}

// DockerStarted says that Docker has begun to use the plugin: it may have put its own
// firewall rules in front of mybr's.
func (r *Reconciler) DockerStarted() { r.Invalidate("Docker, as it started", FirewallAspect) }
