package relay

import (
	"strings"
	"testing"
	"time"
)

// When a flow was active last is told by the monotonic clock, so that setting the other one
// neither ends flows that are in use nor keeps those that aren't (package time, "Monotonic
// Clocks").
func TestFlowsAreTimedByTheMonotonicClock(t *testing.T) {
	f := &flow{begun: time.Now()}
	for range 2 {
		f.touch()
		if at := f.lastActive(); !strings.Contains(at.String(), " m=") || time.Since(at) < 0 || time.Since(at) > time.Minute {
			t.Errorf("the flow was active at %v, now is %v", at, time.Now())
		}
	}
}
