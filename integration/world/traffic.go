package world

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/report"
)

// Flow is traffic that goes on while something happens to the host. See Traffic.
type Flow struct {
	From *Place
	report.Flow
}

// Flow is traffic from a place, of a kind of package report: Stream, Connects, UDP to
// ADDRESS:PORT, or Ping to ADDRESS. A server of the guest's is at the other end.
func (p *Place) Flow(kind, to string) Flow { return Flow{p, report.Flow{Kind: kind, To: to}} }

// Intrusion is traffic that must not be answered.
func (p *Place) Intrusion(kind, to string) Flow {
	return Flow{p, report.Flow{Kind: kind, To: to, Closed: true}}
}

// Late is the flow that is not answered to begin with, and is to be by the end.
func (f Flow) Late() Flow {
	f.Flow.Late = true
	return f
}

// Traffic is flows that go on until Stop.
type Traffic struct {
	w      *World
	flows  []Flow
	guests []*Proc
	of     [][]int // the flows of each guest
}

// Traffic starts flows, a request every 20 ms each, and returns once each of them
// is answered that ought to be:
//
//	tr := w.Traffic(w.LAN.Flow(report.Stream, world.HostAddr+":8088"), web.Flow(report.Ping, world.LANAddr))
//	w.Host.Run("iptables", "-F")
//	seen := tr.Stop()
//	if gap := seen.Gap(); gap > time.Second || seen.Broken() > 0 {
//		t.Errorf("iptables -F: %v", seen)
//	}
//
// What heals the host must be waited for before Stop: traffic that was not interrupted
// does not tell.
func (w *World) Traffic(flows ...Flow) *Traffic {
	w.t.Helper()
	tr := &Traffic{w: w, flows: flows}
	var places []*Place
	for i, f := range flows {
		at := slices.Index(places, f.From)
		if at < 0 {
			at = len(places)
			places, tr.of = append(places, f.From), append(tr.of, nil)
		}
		tr.of[at] = append(tr.of[at], i)
	}
	for at, p := range places {
		var mine []report.Flow
		for _, i := range tr.of[at] {
			mine = append(mine, flows[i].Flow)
		}
		asked, err := json.Marshal(mine)
		w.must(err)
		guest := p.startWithin(trafficTimeout, "guest", "traffic", string(asked))
		if lines := guest.Lines(); lines[0] != "ready" {
			w.t.Fatalf("traffic from %s: %s", p.Name, strings.Join(lines, "\n"))
		}
		tr.guests = append(tr.guests, guest)
	}
	return tr
}

// trafficTimeout is longer than the guest waits for the first answers.
const trafficTimeout = 20 * time.Second

// Stop waits until each flow has been answered once more, for 10 s at most, ends them all
// and gives how they fared, in their order.
func (tr *Traffic) Stop() Seen {
	tr.w.t.Helper()
	seen := make(Seen, len(tr.flows))
	for _, guest := range tr.guests {
		guest.signal() // all at once: each waits for the end of its own
	}
	for at, guest := range tr.guests {
		code, lines := guest.Stop()
		if code != report.Answered || len(lines) != 1+len(tr.of[at]) {
			tr.w.t.Fatalf("traffic from %s: exit code %d: %s", tr.flows[tr.of[at][0]].From.Name, code, strings.Join(lines, "\n"))
		}
		for n, i := range tr.of[at] {
			seen[i].From = tr.flows[i].From.Name
			tr.w.must(json.Unmarshal([]byte(lines[1+n]), &seen[i].Flowed))
		}
	}
	return seen
}

// Flowed is how one flow fared.
type Flowed struct {
	From string
	report.Flowed
}

func (f Flowed) String() string {
	s := fmt.Sprintf("%s %s to %s: %d of %d answered, gap %v", f.From, f.Kind, f.To, f.Answered, f.Sent, f.Gap.Round(time.Millisecond))
	if f.Closed {
		s = fmt.Sprintf("%s %s to %s: %d of %d got in, for %v", f.From, f.Kind, f.To, f.Answered, f.Sent, f.Gap.Round(time.Millisecond))
	}
	if f.Refused > 0 {
		s += fmt.Sprintf(", %d refused", f.Refused)
	}
	if f.Broken > 0 {
		s += fmt.Sprintf(", broke %d times", f.Broken)
	}
	if f.Unsettled && f.Closed {
		s += ", answered at the end"
	} else if f.Unsettled {
		s += ", not answered at the end"
	}
	if f.Err != "" {
		s += " (last error: " + f.Err + ")"
	}
	return s
}

// Seen is how flows fared.
type Seen []Flowed

func (s Seen) String() string {
	lines := make([]string, len(s))
	for i, f := range s {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Gap is the longest time without an answer, of all flows that are to be answered.
func (s Seen) Gap() (gap time.Duration) {
	for _, f := range s {
		if !f.Closed {
			gap = max(gap, f.Gap)
		}
	}
	return gap
}

// Broken is how many streams ended.
func (s Seen) Broken() (n int) {
	for _, f := range s {
		n += f.Broken
	}
	return n
}

// Refused is how many requests were told that nobody is there, of all flows that are to be
// answered.
func (s Seen) Refused() (n int) {
	for _, f := range s {
		if !f.Closed {
			n += f.Refused
		}
	}
	return n
}

// Unsettled is how many flows were not answered any more at the end, and how many intruders
// still were.
func (s Seen) Unsettled() (n int) {
	for _, f := range s {
		if f.Unsettled {
			n++
		}
	}
	return n
}

// Open is for how long intruders got in, and how many of their requests.
func (s Seen) Open() (longest time.Duration, requests int) {
	for _, f := range s {
		if f.Closed {
			longest, requests = max(longest, f.Gap), requests+f.Answered
		}
	}
	return longest, requests
}
