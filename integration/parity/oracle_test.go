package parity

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/explain"
	"github.com/mybr/mybr/internal/explain/host"
	"github.com/mybr/mybr/plugin"
)

// oracle predicts how probes and the packets of attacks fare, and compares. A nil one does
// nothing.
type oracle struct {
	w      *world.World
	mu     sync.Mutex
	misses []string
	told   []string // what it could not tell, and why
	late   bool     // an answer that is predicted has not come in time
	score  score
}

// scene is what is known of a world at one moment: with the LAN's namespaces, and, as on a
// real host, without.
type scene struct {
	mu           sync.Mutex
	whole, alone known
	same         map[string]string // names of one namespace → the first of them
	read         map[string]bool   // whose rules are known
}

// known is a part of a scene.
type known struct {
	w      *explain.World
	places []host.Place
}

func (k *known) add(s *explain.Space, p host.Place) {
	k.w.Spaces, k.places = append(k.w.Spaces, s), append(k.places, p)
}

// foretold is what is predicted of one probe.
type foretold struct {
	whole explain.Result
	alone *explain.Result // of what is known without the LAN; nil: nothing is asked of it
}

// scene looks at the world; nil: there is no oracle, or that failed.
func (o *oracle) scene() *scene {
	if o == nil {
		return nil
	}
	s := &scene{read: map[string]bool{}, same: map[string]string{}}
	inodes := map[uint64]string{}
	var places []host.Place
	for _, n := range o.w.Namespaces() {
		info, err := os.Stat(n.Path)
		if err != nil {
			continue // it has just stopped
		}
		inode := info.Sys().(*syscall.Stat_t).Ino
		if first, ok := inodes[inode]; ok {
			s.same[n.Name] = first
			continue
		}
		inodes[inode], s.same[n.Name] = n.Name, n.Name
		places = append(places, host.Place{Name: n.Name, Path: n.Path})
	}
	var err error
	if s.whole.w, s.whole.places, err = host.Read(places); err != nil {
		o.miss("read: %v", err)
		return nil
	}
	if v, err := (plugin.Client{RunDir: o.w.Path("/run/mybr")}).View(ctx()); err == nil { // else it doesn't run, and holds nothing
		s.whole.w.Relays = explain.RelaysOf(v)
	}
	proxies, err := host.Proxies(places[0])
	if err != nil {
		o.miss("docker-proxy: %v", err)
	}
	s.whole.w.Relays = append(s.whole.w.Relays, proxies...)
	s.alone.w = &explain.World{Relays: s.whole.w.Relays}
	for i, p := range s.whole.places {
		if p.Name != "switch" && !strings.HasPrefix(p.Name, "lan") {
			s.alone.add(s.whole.w.Spaces[i], p)
		}
	}
	return s
}

func (o *oracle) miss(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.misses = append(o.misses, fmt.Sprintf(format, args...))
}

// predict says of each probe of a place how it will fare.
func (o *oracle) predict(s *scene, from string, probes []report.Probe) []foretold {
	all := make([]foretold, len(probes))
	if s == nil {
		return all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range probes {
		q, ok := question(p)
		if !ok {
			o.miss("%s → %s: no question", from, p.To)
			continue
		}
		q.From = s.same[from]
		all[i].whole = o.ask(s, s.whole, q)
		if strings.HasPrefix(from, "lan") {
			if q.Dst.Zone() != "" {
				continue
			}
			q.From, q.In, q.Src = "", "eth0", all[i].whole.From
		}
		r := o.ask(s, s.alone, q)
		all[i].alone = &r
	}
	return all
}

func (o *oracle) ask(s *scene, k known, q explain.Query) explain.Result {
	r, err := host.Predict(context.Background(), k.w, k.places, q, s.read)
	if err != nil {
		o.miss("%+v: %v", q, err)
	}
	return r
}

// question is a probe as a query.
func question(p report.Probe) (q explain.Query, ok bool) {
	q = explain.Query{Proto: p.Network, Src: p.Source, Sport: uint16(p.SourcePort)}
	if p.Network == "ping" {
		a, err := netip.ParseAddr(p.To)
		q.Proto, q.Dst = explain.ICMP, a
		return q, err == nil
	}
	ap, err := netip.ParseAddrPort(p.To)
	q.Dst, q.Dport = ap.Addr(), ap.Port()
	return q, err == nil
}

// compareAll judges the predictions of a place's probes. A host that changes while they are
// under way, as when mybr removes what Docker has given up, is looked at again behind them: a
// miss is one of both predictions.
func (o *oracle) compareAll(from string, keys []string, probes []report.Probe, predicted []foretold, real []report.Outcome) {
	if o == nil {
		return
	}
	var again []foretold
	for i, key := range keys {
		if predicted[i].missed(real[i]) {
			if again == nil {
				again = o.predict(o.scene(), from, probes)
			}
			predicted[i] = again[i]
		}
		o.compare(key, predicted[i], real[i])
	}
}

// missed reports whether a prediction was wrong.
func (f foretold) missed(real report.Outcome) bool {
	return mistaken(f.whole, real) != "" || f.alone != nil && mistaken(*f.alone, real) != ""
}

// compare judges the predictions of one probe by what has happened.
func (o *oracle) compare(key string, f foretold, real report.Outcome) {
	if f.whole.Verdict == "" { // which was a miss
		return
	}
	if f.late(real) {
		o.mu.Lock()
		o.late = true
		o.mu.Unlock()
	}
	o.judge(key, f.whole, mistaken(f.whole, real))
	if f.alone != nil {
		o.judge(key+", without the LAN", *f.alone, mistaken(*f.alone, real))
	}
}

// judge counts a prediction that was right as far as it went, or else was mistaken.
func (o *oracle) judge(key string, r explain.Result, mistake string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case mistake != "":
		o.score.Missed++
		o.misses = append(o.misses, fmt.Sprintf("%s: %s\n%s", key, mistake, steps(r)))
	case r.Verdict == explain.Unknown:
		o.score.Unknown++
		o.told = append(o.told, fmt.Sprintf("%s: %s", key, r.Reason))
	case r.Verdict == explain.Leaves:
		o.score.Left++
	default:
		o.score.Agreed++
	}
}

// late reports whether a probe got no answer that is predicted: on a loaded machine it may
// not have been given the time.
func (f foretold) late(real report.Outcome) bool {
	answered := func(r explain.Result) bool { return r.Verdict == explain.Delivered || r.Verdict == explain.Refused }
	return real.Code == report.TimedOut && (answered(f.whole) || f.alone != nil && answered(*f.alone))
}

// mistaken says how a prediction differs from what has happened; "": it doesn't, or says
// nothing of that.
func mistaken(r explain.Result, real report.Outcome) string {
	var may []string
	switch r.Verdict {
	case explain.Unknown:
		return ""
	case explain.Leaves:
		if real.Code == report.Answered {
			return seenOtherwise(r, real)
		}
		return ""
	}
	switch real.Code {
	case report.Answered:
		may = []string{explain.Delivered}
	case report.Refused:
		may = []string{explain.Refused}
	case report.TimedOut, report.Unreachable: // which of them depends on the client's patience
		may = []string{explain.Dropped, explain.NoRoute}
	default: // a process has taken the connection, and ended it
		may = []string{explain.Refused, explain.Dropped, explain.NoRoute}
	}
	if !slices.Contains(may, r.Verdict) {
		return fmt.Sprintf("predicted %s (%s), and it was %s", r.Verdict, r.Reason, world.Outcome{Code: real.Code, Answer: real.Answer, Err: real.Err})
	}
	if r.Verdict != explain.Delivered {
		return ""
	}
	return seenOtherwise(r, real)
}

// seenOtherwise says how the addresses differ that the server sees.
func seenOtherwise(r explain.Result, real report.Outcome) string {
	if !real.Answer.Client.IsValid() {
		return ""
	}
	plain := func(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }
	if plain(r.Client) != plain(real.Answer.Client) || plain(r.Server) != plain(real.Answer.Server) {
		return fmt.Sprintf("predicted that %s is seen as %s, and it was %s as %s", r.Server, r.Client, real.Answer.Server, real.Answer.Client)
	}
	return ""
}

func steps(r explain.Result) string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "      %-8s %s\n", s.Space, s.Text)
	}
	return b.String()
}
