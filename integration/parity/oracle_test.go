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

// oracle predicts how probes fare, and compares. A nil one does nothing.
type oracle struct {
	w      *world.World
	mu     sync.Mutex
	misses []string
	tally  map[string]int // by verdict
}

// scene is what is known of a world at one moment: with the LAN's namespaces, and, as on a
// real host, without.
type scene struct {
	w      *explain.World
	places []host.Place
	read   map[string]bool
	same   map[string]string // names of one namespace → the first of them
}

// foretold is what is predicted of one probe.
type foretold struct {
	whole explain.Result
	alone *explain.Result // of what is known without the LAN; nil: nothing is asked of it
}

func (o *oracle) scene(lan bool) *scene {
	s := &scene{read: map[string]bool{}, same: map[string]string{}}
	inodes := map[uint64]string{}
	for _, n := range o.w.Namespaces() {
		if !lan && (n.Name == "switch" || strings.HasPrefix(n.Name, "lan")) {
			continue
		}
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
		s.places = append(s.places, host.Place{Name: n.Name, Path: n.Path})
	}
	var err error
	if s.w, s.places, err = host.Read(s.places); err != nil {
		o.miss("read: %v", err)
		return nil
	}
	if v, err := (plugin.Client{RunDir: o.w.Path("/run/mybr")}).View(ctx()); err == nil { // else it doesn't run, and holds nothing
		s.w.Relays = explain.RelaysOf(v)
	}
	proxies, err := host.Proxies(s.places[0])
	if err != nil {
		o.miss("docker-proxy: %v", err)
	}
	s.w.Relays = append(s.w.Relays, proxies...)
	return s
}

func (o *oracle) miss(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.misses = append(o.misses, fmt.Sprintf(format, args...))
}

// predict says of each probe of a place how it will fare.
func (o *oracle) predict(from string, probes []report.Probe) []foretold {
	all := make([]foretold, len(probes))
	if o == nil {
		return all
	}
	whole, alone := o.scene(true), o.scene(false)
	if whole == nil || alone == nil {
		return all
	}
	for i, p := range probes {
		q, ok := question(p)
		if !ok {
			o.miss("%s → %s: no question", from, p.To)
			continue
		}
		q.From = whole.same[from]
		all[i].whole = o.ask(whole, q)
		if strings.HasPrefix(from, "lan") {
			if q.Dst.Zone() != "" {
				continue
			}
			q.From, q.In, q.Src = "", "eth0", all[i].whole.From
		}
		r := o.ask(alone, q)
		all[i].alone = &r
	}
	return all
}

func (o *oracle) ask(s *scene, q explain.Query) explain.Result {
	r, err := host.Predict(context.Background(), s.w, s.places, q, s.read)
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

// compare notes where a prediction was wrong.
func (o *oracle) compare(key string, f foretold, real report.Outcome) {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.tally[f.whole.Verdict]++
	o.mu.Unlock()
	if text := mistaken(f.whole, real); text != "" {
		o.miss("%s: %s\n%s", key, text, steps(f.whole))
	}
	if a := f.alone; a != nil && !(a.Beyond && real.Code != report.Answered) { // who is beyond may refuse
		if text := mistaken(*a, real); text != "" {
			o.miss("%s, without the LAN: %s\n%s", key, text, steps(*a))
		}
	}
}

// mistaken says how a prediction differs from what has happened; "": it doesn't.
func mistaken(r explain.Result, real report.Outcome) string {
	var may []string
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
	if r.Verdict != explain.Delivered || !real.Answer.Client.IsValid() || r.Beyond {
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
