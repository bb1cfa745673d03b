package main

import (
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/explain/host"
)

// What was sent is compared with a prediction only if there is one.
func TestPrintSent(t *testing.T) {
	for _, c := range []struct {
		predicted string
		agrees    bool
		want      string
	}{
		{explain.Delivered, true, "sent: delivered (connected), as predicted"},
		{explain.Dropped, false, "sent: delivered (connected), otherwise than predicted"},
		{explain.Unknown, false, "sent: delivered (connected), which could not be predicted"},
	} {
		e := explanation{Result: explain.Result{Packet: "tcp a → b", Verdict: c.predicted},
			Sent: &host.Sent{Verdict: explain.Delivered, Detail: "connected", Agrees: c.agrees}}
		var out strings.Builder
		if err := e.print(&out); err != nil || !strings.Contains(out.String(), c.want+"\n") {
			t.Errorf("%+v: %v\n%s", c, err, out.String())
		}
	}
}
