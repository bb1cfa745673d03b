package reconcile

import (
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/plan"
)

// gate is why nothing new may come to the host.
type gate struct {
	all   error            // nil: it may, save about these
	links map[string]error // by link
}

// outcome is what came of an aspect in one pass.
type outcome struct {
	failures []failure
	gate     gate     // what failed, by the aspect's subjects
	full     bool     // it was looked at as if nothing were known
	renewed  bool     // something was made anew that others knew
	made     []string // changes of the host
	healed   []mended // those that put right what others had done
	unhealed bool     // not all of them have succeeded
	widened  bool     // what others may have changed is more than was thought
}

// heals adds what puts right what others had done.
func (out *outcome) heals(more []mended) {
	for _, m := range more {
		if !slices.Contains(out.healed, m) {
			out.healed = append(out.healed, m)
		}
	}
	out.widened = false
}

// healing is the set of changes that put right what others had done, or would have.
func (out outcome) healing() map[string]bool {
	healing := map[string]bool{}
	for _, m := range out.healed {
		healing[m.change] = true
	}
	return healing
}

// mended lists those of them that were made.
func (out outcome) mended() []string {
	healing := out.healing()
	return slices.DeleteFunc(slices.Clone(out.made), func(c string) bool { return !healing[c] })
}

// failure is an error and the links that it concerns.
type failure struct {
	links      []string // sorted; nil: every link
	background bool     // no request's failure
	aspect     string   // of one of the rendering: what it is about
	err        error
}

// done lists the changes of a plan that was carried out, save those of subjects that have
// failed.
func done(p plan.Plan, err error) (changes []string) {
	subjects, rest := plan.Blame(err)
	for _, s := range p {
		blamed := rest != nil && s.Subject == "" || slices.ContainsFunc(subjects, func(e *plan.Error) bool { return e.Subject == s.Subject })
		if !blamed {
			changes = append(changes, s.Changes...)
		}
	}
	return changes
}

// fail adds the failure of some of an aspect's subjects.
func (out *outcome) fail(a failing, h Host, subjects []string, err error) {
	f := failure{links: []string{}, background: a.background(err), err: err}
	for _, s := range subjects {
		f.links = append(f.links, a.concerned(h, s)...)
	}
	slices.Sort(f.links)
	out.failures = append(out.failures, f)
	if out.gate.links == nil {
		out.gate.links = map[string]error{}
	}
}

// failing is what outcome.fail needs to know of an aspect.
type failing interface {
	background(error) bool
	concerned(h Host, subject string) []string
}

// err is all that has failed.
func (out outcome) err() error {
	var errs []error
	for _, f := range out.failures {
		if !slices.Contains(errs, f.err) {
			errs = append(errs, f.err)
		}
	}
	return errors.Join(errs...)
}
