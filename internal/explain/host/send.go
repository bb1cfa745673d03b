package host

import (
	"context"
	"errors"
	"runtime"

	"github.com/mybr/mybr/internal/explain"
)

// Sent is how a real packet fared.
type Sent struct {
	Verdict string   `json:"verdict"`          // as a Result's; what UDP has no answer for is dropped
	Detail  string   `json:"detail"`           // what the client was told
	Agrees  bool     `json:"agrees"`           // with the prediction
	Trace   []Traced `json:"trace"`            // what the kernel of the host has done with the first packet
	Untold  string   `json:"untold,omitempty"` // why there is no trace
}

// Send sends what a query is about, from its namespace, and has the kernel trace it. The
// first of the places is the host.
func Send(ctx context.Context, w *explain.World, places []Place, q explain.Query, predicted explain.Result) (s Sent, err error) {
	if q.From == "" {
		return s, errors.New("the source is beyond the host, and only a container or the host itself can be had to send")
	}
	var from Place
	for _, p := range places {
		if p.Name == q.From {
			from = p
		}
	}
	s.Trace = []Traced{}
	var p *probe
	err = Inside(from, func() (err error) { p, err = newProbe(q); return err })
	if err != nil {
		return s, err
	}
	defer p.close()
	err = Inside(places[0], func() error {
		// The programs that trace end with the thread that has started them (prctl(2),
		// PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if s.Untold = untraceable(w.Spaces[0]); s.Untold == "" {
			of := wordsFor(w.Spaces[0])
			t, err := startTrace(ctx, of, p.rule(predicted.From))
			if err == nil {
				defer func() { s.Trace = t.stop(lastRule(of, places[0].Name, predicted)) }()
			} else {
				s.Untold = err.Error()
			}
		}
		return Inside(from, func() (err error) { s.Verdict, s.Detail, err = p.fare(); return err })
	})
	s.Agrees = agrees(q, predicted, s.Verdict)
	return s, err
}

// lastRule is the last rule of the host that decides about a packet on its way there, as the
// monitor prints where it is; "": there is none.
func lastRule(of words, host string, r explain.Result) (last string) {
	for _, step := range r.Steps {
		if step.Space == host && step.Rule != nil && !step.Back {
			last = of.place(step.Rule)
		}
	}
	return last
}

// agrees compares: whether what is lost is lost without a word depends on how long the
// client waits, and UDP servers need not answer.
func agrees(q explain.Query, r explain.Result, real string) bool {
	lost := func(v string) bool { return v == explain.Dropped || v == explain.NoRoute }
	switch {
	case r.Verdict == real, lost(r.Verdict) && lost(real):
		return true
	case r.Verdict == explain.Leaves: // who is beyond may refuse, or not be there
		return true
	}
	return r.Verdict == explain.Delivered && q.Proto == explain.UDP && real == explain.Dropped
}

// untraceable says why the kernel's trace can't be had; "": it can.
func untraceable(s *explain.Space) string {
	for _, f := range s.Filters {
		if f.Legacy {
			return "the host has rules of the legacy variant of iptables, whose trace the kernel writes to its log alone"
		}
	}
	return ""
}

// Escape has fn make all texts ones that can be shown in a terminal.
func (s *Sent) Escape(fn func(string) string) {
	s.Detail, s.Untold = fn(s.Detail), fn(s.Untold)
	for i := range s.Trace {
		s.Trace[i].Packet = fn(s.Trace[i].Packet)
		for j := range s.Trace[i].Rules {
			s.Trace[i].Rules[j] = fn(s.Trace[i].Rules[j])
		}
	}
}
