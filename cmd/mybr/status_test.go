package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/mybr/mybr/plugin"
)

func TestState(t *testing.T) {
	for _, c := range []struct {
		status plugin.Status
		want   string
	}{
		{plugin.Status{}, "being made to match the records"},
		{plugin.Status{Ready: true}, "matches the records"},
		{plugin.Status{Ready: true, LastError: "br-a is gone", Differences: 3}, "does not match the records: br-a is gone"},
		{plugin.Status{Ready: true, Differences: 1}, "differs from the records in 1 place: see mybr status --diff"},
		{plugin.Status{Ready: true, Differences: 3}, "differs from the records in 3 places: see mybr status --diff"},
		{plugin.Status{Ready: true, Unknown: "a pass is under way"}, "matched the records when the last pass ended; not all could be compared now: a pass is under way"},
	} {
		if got := state(c.status); got != c.want {
			t.Errorf("%+v: %q, want %q", c.status, got, c.want)
		}
	}
}

// What differs is printed a line each, and ends the command with a failure, as diff(1) does.
func TestPrintDiff(t *testing.T) {
	var out strings.Builder
	if err := printDiff(&out, nil); err != nil || out.Len() > 0 {
		t.Errorf("nothing: %v, %q", err, out.String())
	}
	err := printDiff(&out, []plugin.Difference{
		{Aspect: "links", Changes: []string{"link br-a: bring up", "link br-a: MTU 1400 -> 1500"}},
		{Aspect: "firewall", Error: "no lock"},
	})
	want := "link br-a: bring up\nlink br-a: MTU 1400 -> 1500\nfirewall: could not be looked at: no lock\n"
	if !errors.Is(err, errDiffers) || out.String() != want {
		t.Errorf("%v, %q", err, out.String())
	}
}
