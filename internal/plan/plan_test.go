package plan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/plan"
)

func TestOneSubjectsFailureStopsOnlyWhatNeedsIt(t *testing.T) {
	var done []string
	step := func(subject, change string, err error, needs ...string) plan.Step {
		return plan.Step{Subject: subject, Needs: needs, Changes: []string{change}, Do: func(context.Context) error {
			done = append(done, change)
			return err
		}}
	}
	broken := errors.New("no such device")
	p := plan.Plan{
		step("br-a", "make br-a", broken),
		step("br-a", "raise br-a", nil),
		step("veth-a", "make veth-a", nil, "br-a"),
		step("veth-a", "raise veth-a", nil),
		step("br-b", "make br-b", nil),
		step("", "everybody's", nil),
	}
	err := p.Do(t.Context())
	if want := []string{"make br-a", "make br-b", "everybody's"}; !slices.Equal(done, want) {
		t.Errorf("done: %v, want %v", done, want)
	}
	subjects, rest := plan.Blame(err)
	if rest != nil || len(subjects) != 2 || subjects[0].Subject != "br-a" || subjects[1].Subject != "veth-a" || !errors.Is(subjects[0], broken) ||
		subjects[1].Err.Error() != "br-a could not be made to match: no such device" {
		t.Errorf("%v, rest %v", subjects, rest)
	}
	if got := strings.Join(p.Changes(), ", "); got != "make br-a, raise br-a, make veth-a, raise veth-a, make br-b, everybody's" {
		t.Error(got)
	}
}

func TestNoStepBeginsAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("given up")
	begun := 0
	p := plan.Plan{
		{Do: func(context.Context) error { begun++; cancel(late); return nil }},
		{Subject: "br-a", Do: func(context.Context) error { begun++; return nil }},
	}
	err := p.Do(ctx)
	if begun != 1 || !errors.Is(err, late) {
		t.Errorf("%d steps, %v", begun, err)
	}
}

// What is to come behind a plan waits until all of that is done, also if it is done again.
func TestThen(t *testing.T) {
	broken := errors.New("busy")
	var done []string
	step := func(change string, err *error) plan.Step {
		return plan.Step{Changes: []string{change}, Do: func(context.Context) error {
			if err != nil && *err != nil {
				return *err
			}
			done = append(done, change)
			return nil
		}}
	}
	p := plan.Plan{step("a", nil), step("b", &broken)}.Then(plan.Plan{step("c", nil)}, "c stays until b is there")
	if err := p.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "c stays until b is there") || slices.Contains(done, "c") {
		t.Errorf("%v, done: %v", err, done)
	}
	broken = nil
	if err := p.Do(t.Context()); err != nil || !slices.Contains(done, "c") {
		t.Errorf("%v, done: %v", err, done)
	}
	for _, p := range []plan.Plan{plan.Plan(nil).Then(plan.Plan{step("d", nil)}, ""), plan.Plan{step("d", nil)}.Then(nil, "")} {
		if err := p.Do(t.Context()); err != nil || !slices.Equal(p.Changes(), []string{"d"}) {
			t.Errorf("%v: %v", p.Changes(), err)
		}
	}
}

func TestBlame(t *testing.T) {
	all, a, b := errors.New("lock"), &plan.Error{Subject: "br-a", Err: errors.New("a")}, &plan.Error{Subject: "br-b", Err: errors.New("b")}
	subjects, rest := plan.Blame(errors.Join(a, errors.Join(all, b), &plan.Error{Err: errors.Join(all)}))
	if len(subjects) != 2 || subjects[0] != a || subjects[1] != b || !errors.Is(rest, all) {
		t.Errorf("%v, %v", subjects, rest)
	}
	if subjects, rest := plan.Blame(nil); subjects != nil || rest != nil {
		t.Error(subjects, rest)
	}
}

func TestRenewed(t *testing.T) {
	p := plan.Plan{{Subject: "b", Renews: true}, {Subject: "a", Renews: true}, {Subject: "c"}, {Subject: "a", Renews: true}}
	if subjects, all := p.Renewed(); !slices.Equal(subjects, []string{"a", "b"}) || all {
		t.Error(subjects, all)
	}
	if _, all := append(p, plan.Step{Renews: true}).Renewed(); !all {
		t.Error("everything is made anew, and it is not said")
	}
}
