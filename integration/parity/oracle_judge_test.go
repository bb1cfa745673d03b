package parity

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/internal/explain"
)

// Each verdict is held against each outcome: a wrong one is a miss, whatever it is.
func TestJudge(t *testing.T) {
	agreed, left, unknown, missed := score{Agreed: 1}, score{Left: 1}, score{Unknown: 1}, score{Missed: 1}
	for verdict, want := range map[string]map[int]score{
		explain.Delivered: {report.Answered: agreed, report.Refused: missed, report.TimedOut: missed, report.Unreachable: missed},
		explain.Refused:   {report.Answered: missed, report.Refused: agreed, report.TimedOut: missed, report.Unreachable: missed},
		explain.Dropped:   {report.Answered: missed, report.Refused: missed, report.TimedOut: agreed, report.Unreachable: agreed},
		explain.NoRoute:   {report.Answered: missed, report.Refused: missed, report.TimedOut: agreed, report.Unreachable: agreed},
		explain.Leaves:    {report.Answered: left, report.Refused: left, report.TimedOut: left, report.Unreachable: left},
		explain.Unknown:   {report.Answered: unknown, report.Refused: unknown, report.TimedOut: unknown, report.Unreachable: unknown},
	} {
		for code, want := range want {
			o := &oracle{}
			o.compare("probe", foretold{whole: explain.Result{Verdict: verdict}}, report.Outcome{Code: code})
			if o.score != want {
				t.Errorf("%s, and the code is %d: %v, want %v", verdict, code, o.score, want)
			}
		}
	}
	at := netip.MustParseAddrPort
	real := report.Outcome{Code: report.Answered, Answer: report.Answer{Client: at("172.18.0.1:4000"), Server: at("[::ffff:172.18.0.2]:80")}}
	for _, verdict := range []string{explain.Delivered, explain.Leaves} {
		for client, misses := range map[string]int{"172.18.0.1:0": 0, "172.18.0.3:0": 1} {
			o := &oracle{}
			o.compare("probe", foretold{whole: explain.Result{Verdict: verdict, Client: at(client), Server: at("172.18.0.2:80")}}, real)
			if o.score.Missed != misses {
				t.Errorf("%s, seen as %s: %v", verdict, client, o.score)
			}
		}
	}
	o := &oracle{}
	if o.compare("probe", foretold{whole: explain.Result{Verdict: explain.Refused}}, report.Outcome{Code: report.TimedOut}); !o.late {
		t.Error("an answer that did not come is not looked for again")
	}
}

// Of an attack it counts whether the packet arrives on its way there, before a process has
// taken it.
func TestArrival(t *testing.T) {
	link := explain.Step{Space: "web", Kind: explain.AtLink, Packet: "tcp 172.18.0.1:21001 → 172.18.0.2:80"}
	other, back, socket := link, link, explain.Step{Space: "host", Kind: explain.AtSocket}
	other.Space, back.Back = "ben", true
	gateway := netip.MustParseAddr("172.18.0.1")
	for _, c := range []struct {
		verdict string
		steps   []explain.Step
		from    netip.Addr
		want    score
	}{
		{explain.Dropped, []explain.Step{link}, gateway, score{Agreed: 1}}, // the reply is lost
		{explain.Unknown, []explain.Step{link}, gateway, score{Agreed: 1}}, // who takes it
		{explain.Delivered, []explain.Step{link}, netip.Addr{}, score{Missed: 1}},
		{explain.Delivered, []explain.Step{link}, netip.MustParseAddr("172.18.0.9"), score{Missed: 1}},
		{explain.Dropped, []explain.Step{other}, netip.Addr{}, score{Agreed: 1}},
		{explain.Dropped, []explain.Step{back}, netip.Addr{}, score{Agreed: 1}},
		{explain.Delivered, []explain.Step{socket, link}, netip.Addr{}, score{Agreed: 1}},
		{explain.Dropped, nil, gateway, score{Missed: 1}},
		{explain.Unknown, nil, gateway, score{Unknown: 1}},
	} {
		o := &oracle{}
		if o.arrival("packet", explain.Result{Verdict: c.verdict, Steps: c.steps}, "web", c.from); o.score != c.want {
			t.Errorf("%s by %v, from %v: %v, want %v", c.verdict, c.steps, c.from, o.score, c.want)
		}
	}
}

// Package explain is asked of the first packets of flows alone.
func TestShotQuery(t *testing.T) {
	for _, six := range []bool{false, true} {
		asked := 0
		for _, one := range shots(six) {
			if _, ok := one.query(); ok {
				asked++
			}
		}
		if asked != 6 { // two SYNs, two datagrams, INIT, echo request
			t.Errorf("IPv6 %v: asked of %d packets", six, asked)
		}
	}
	q, ok := firstPackets("8088")[1].query()
	if want := (explain.Query{Proto: explain.UDP, Sport: 21012, Dport: 8088}); !ok || !reflect.DeepEqual(q, want) {
		t.Errorf("%+v, want %+v", q, want)
	}
}
