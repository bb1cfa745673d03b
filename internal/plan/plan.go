// Package plan is what the appliers have in common: what is to be changed on the host,
// worked out before anything is, as a list of steps that can be printed and carried out.
//
// An applier reads and compares (Plan), and what it returns writes (Do). So what the host
// has otherwise than is wanted can be told without changing it.
//
// Be aware: a plan holds for the moment it was made in. Between Plan and Do others may
// change the host; each step must bear that, as its Do must bear being repeated.
package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mybr/mybr/internal/fault"
)

// Planner is an applier that says what it would do. have is what the host was last known
// to match; nil means unknown, and then everything that mybr owns is read and compared.
// Nothing is changed.
//
// An error for one subject alone is an *Error; several are joined (errors.Join). The plan
// that comes with such errors is good for everything else.
type Planner[T any] interface {
	Plan(ctx context.Context, have *T, want T) (Plan, error)
}

// Plan is what must be done to make the host match, in order; empty if it does already.
type Plan []Step

// Step is one change of the host.
type Step struct {
	// Subject is the link that the step is about: a bridge, or the host's end of a veth
	// pair; "" for what concerns everybody. If the step fails, only who asked for something
	// about this link is told.
	Subject string
	// Needs names other subjects; a step of a subject that has failed in this plan, or that
	// needs such a one, is not carried out, and fails too.
	Needs []string
	// Changes are one line each: what is changed, in words or rules, such as
	// "link br-4f2a91c0: add address 172.18.0.1/16".
	Changes []string
	// Follows are those of Changes that follow what others have made of their own, such as
	// the place of a jump among their rules: nobody has undone anything.
	Follows []string
	// Renews says that the subject is made anew: what others knew of it, such as its
	// settings and its number, is void. With Subject "" that is everything.
	Renews bool
	// Kind says what sort of thing is changed, such as "veth"; it names the step's places in
	// tests that fail there.
	Kind string
	// Do makes the change. It may be called again after it has failed.
	Do func(ctx context.Context) error
}

// Changes lists what the plan would change, one line each, in the order of the steps.
func (p Plan) Changes() []string {
	var all []string
	for _, s := range p {
		all = append(all, s.Changes...)
	}
	return all
}

// Renewed returns the subjects that the plan makes anew, sorted; all reports that it is
// everything.
func (p Plan) Renewed() (subjects []string, all bool) {
	for _, s := range p {
		if s.Renews {
			subjects = append(subjects, s.Subject)
			all = all || s.Subject == ""
		}
	}
	slices.Sort(subjects)
	return slices.Compact(subjects), all
}

// Then returns the plan with another one behind it of which no step begins unless all of
// this one's have been done; why says what would be wrong with that.
func (p Plan) Then(next Plan, why string) Plan {
	if len(p) == 0 || len(next) == 0 {
		return slices.Concat(p, next)
	}
	left := make(map[int]bool, len(p))
	var all Plan
	for i, s := range p {
		left[i] = true
		do := s.Do
		s.Do = func(ctx context.Context) error {
			err := do(ctx)
			if err == nil {
				delete(left, i)
			}
			return err
		}
		all = append(all, s)
	}
	for _, s := range next {
		do := s.Do
		s.Do = func(ctx context.Context) error {
			if len(left) > 0 {
				return errors.New(why)
			}
			return do(ctx)
		}
		all = append(all, s)
	}
	return all
}

// Do carries the steps out, in order. A step that fails keeps only those of its subject,
// and those that need it, from being carried out. Once ctx has ended, no step begins.
//
// The error joins one *Error for each step that failed, or was left out because of
// another one's failure, save that a subject has one only.
func (p Plan) Do(ctx context.Context) error {
	failed := map[string]error{}
	var errs []error
	for _, s := range p {
		err := context.Cause(ctx)
		if err == nil {
			if s.Subject != "" && failed[s.Subject] != nil {
				continue
			}
			if i := slices.IndexFunc(s.Needs, func(n string) bool { return failed[n] != nil }); i >= 0 {
				err = fmt.Errorf("%s could not be made to match: %w", s.Needs[i], failed[s.Needs[i]])
			} else {
				if err = fault.Point("plan: before a step: " + s.Kind); err == nil {
					err = s.Do(ctx)
				}
				fault.Passed("plan: after a step: " + s.Kind)
			}
		}
		if err != nil {
			errs = append(errs, &Error{Subject: s.Subject, Err: err})
			failed[s.Subject] = err
		}
	}
	return errors.Join(errs...)
}

// Finding is what a look at one subject has found.
type Finding int

const (
	Same    Finding = iota
	Differs         // or it could not be told
	Gone            // it is not there; it may be there by another name, which a look at everything finds
)

// Error is what went wrong with one subject; "" is everybody's.
type Error struct {
	Subject string
	Err     error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *Error) Unwrap() error { return e.Err }

// Blame takes a joined error apart: what went wrong with single subjects, and the rest,
// nil if there is none.
func Blame(err error) (subjects []*Error, rest error) {
	if err == nil {
		return nil, nil
	}
	if e, ok := err.(*Error); ok {
		if e.Subject == "" {
			return Blame(e.Err)
		}
		return []*Error{e}, nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var others []error
	for _, e := range joined.Unwrap() {
		s, o := Blame(e)
		subjects = append(subjects, s...)
		others = append(others, o)
	}
	return subjects, errors.Join(others...)
}
