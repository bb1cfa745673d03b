package driver

import (
	"strings"
	"testing"
	"time"
)

// A clock that is set back or forward makes nothing stale too early: ages are told by the
// monotonic clock, and one that had none would only let endpoints live longer.
func TestClockIsSetBack(t *testing.T) {
	w := newWorld(t)
	w.running()
	w.clock.pass(-time.Hour)
	if err := w.RemoveStale(ctx); err != nil {
		t.Fatal(err)
	}
	w.endpointRecord(ep1)
	if age := New(Config{}).ages.now(); !strings.Contains(age.String(), " m=") {
		t.Errorf("ages are told by %v, which has no monotonic clock", age)
	}
}
