// Package denied remembers what lists of egress have refused, or would have refused if they
// did more than watch: counted, so that a client that tries again and again is one line, and
// bounded, whatever clients try. From what was seen it makes the list that would let it pass.
//
// Who is refused most keeps nobody else from being seen: when there is no room, the container that
// has most entries loses the one that has been silent longest, and of the lines a container has a
// part only.
//
// Be aware: a name is what a client has said, and a list made of what was seen lets all of it
// pass: it is for a person to read.
package denied

import (
	"cmp"
	"container/heap"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Key is what is counted together.
type Key struct {
	Network  string     // an ID of Docker's, never empty
	Endpoint string     // whose it is, likewise; "": whose address is no container's
	Name     string     // the host that was named, or, with an address, which DNS has given the address for; "": none
	Address  netip.Addr // where to; unspecified (0.0.0.0, ::): some address of the host; the zero Addr: that is not known
	Port     uint16     // 0: the protocol has none, or it was a query of DNS
	Protocol string     // tcp, udp, sctp, icmp, or dns for a query
}

// Entry is what was seen of a Key.
type Entry struct {
	Key
	Count       uint64 // all that were seen, refused or not
	Let         uint64 // those of them that were let through (audit)
	First, Last time.Time
}

// Line is an Entry that should be told now: it is new, or it was not told lately.
type Line struct {
	Entry
	Since  uint64 // how many have come since the line before, this one included
	Silent uint64 // how many lines of all were not told since the one before, for there were too many
}

// Config is what a Log may hold and tell. Every field is needed.
type Config struct {
	Most  int              // entries
	Every time.Duration    // at most one line of each entry in this time
	Burst int              // lines of all that may come at once
	Pause time.Duration    // and behind those, one line in this time
	Each  int              // of Burst those of one container, which has the same part of what comes behind
	Now   func() time.Time // such as time.Now
	Tell  func(Line)       // is called by who calls Seen, one call at a time, and must not call back
}

// Log counts. Its methods may be called from any goroutine.
type Log struct {
	cfg Config

	mu      sync.Mutex
	of      map[Key]*known
	whose   map[owner]*share
	shares  shares // those of whose
	dropped uint64

	changed chan struct{} // closed with what is seen next; nil: nobody waits

	lines  bucket
	silent uint64
}

type known struct {
	Entry
	told      time.Time // zero: never
	toldCount uint64

	newer, older *known // of the same owner
}

// New returns an empty Log.
func New(cfg Config) (*Log, error) {
	if cfg.Most <= 0 || cfg.Every <= 0 || cfg.Burst <= 0 || cfg.Pause <= 0 || cfg.Each <= 0 || cfg.Each > cfg.Burst || cfg.Now == nil || cfg.Tell == nil {
		return nil, errors.New("a log of what is refused needs its limits, a clock, and whom to tell")
	}
	return &Log{cfg: cfg, of: map[Key]*known{}, whose: map[owner]*share{}, lines: bucket{cfg.Burst, cfg.Now()}}, nil
}

// Seen counts one; let says that it was let through all the same.
func (l *Log) Seen(k Key, let bool) {
	k.Address = k.Address.Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	x := l.of[k]
	if x == nil {
		if len(l.of) >= l.cfg.Most {
			l.drop(l.shares[0].oldest)
			l.dropped++
		}
		x = &known{Entry: Entry{Key: k, First: now}}
		l.of[k] = x
	}
	x.Count++
	x.Last = now
	if let {
		x.Let++
	}
	of := l.shareOf(k, now)
	of.front(x)
	heap.Fix(&l.shares, of.at)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	l.tell(x, of, now)
}

// shareOf is what the owner of an entry has, who may be new.
func (l *Log) shareOf(k Key, now time.Time) *share {
	o := owner{k.Network, k.Endpoint}
	s := l.whose[o]
	if s == nil {
		s = &share{lines: bucket{l.cfg.Each, now}}
		l.whose[o] = s
		heap.Push(&l.shares, s)
	}
	return s
}

// drop forgets an entry, and its owner with the last one.
func (l *Log) drop(x *known) {
	o := owner{x.Network, x.Endpoint}
	s := l.whose[o]
	delete(l.of, x.Key)
	if s.take(x); s.entries > 0 {
		heap.Fix(&l.shares, s.at)
		return
	}
	heap.Remove(&l.shares, s.at)
	delete(l.whose, o)
}

// tell tells of an entry, if it is time. The caller holds l.mu.
func (l *Log) tell(x *known, of *share, now time.Time) {
	if !x.told.IsZero() && now.Sub(x.told) < l.cfg.Every {
		return
	}
	l.lines.fill(now, l.cfg.Burst, l.cfg.Pause)
	of.lines.fill(now, l.cfg.Each, l.cfg.Pause*time.Duration(l.cfg.Burst)/time.Duration(l.cfg.Each))
	if l.lines.left == 0 || of.lines.left == 0 {
		l.silent++
		return
	}
	l.lines.left--
	of.lines.left--
	line := Line{Entry: x.Entry, Since: x.Count - x.toldCount, Silent: l.silent}
	x.told, x.toldCount, l.silent = now, x.Count, 0
	l.cfg.Tell(line)
}

// Changed returns what is closed when something is seen the next time.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// Entries is what was seen on a network, or on all if it is "", in a lasting order, and how many
// entries of all were forgotten for lack of room.
func (l *Log) Entries(network string) (all []Entry, forgotten uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.of {
		if network == "" || x.Network == network {
			all = append(all, x.Entry)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return a.Key.compare(b.Key) })
	return all, l.dropped
}

// Forget drops what was seen on networks that are there no more. What endpoints had that are gone
// stays: a list is made of what containers have needed, and many end as soon as they are done.
func (l *Log) Forget(gone func(network string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, x := range l.of {
		if gone(k.Network) {
			l.drop(x)
		}
	}
}

func (k Key) compare(o Key) int {
	return cmp.Or(
		strings.Compare(k.Network, o.Network),
		strings.Compare(k.Endpoint, o.Endpoint),
		strings.Compare(k.Name, o.Name),
		k.Address.Compare(o.Address),
		strings.Compare(k.Protocol, o.Protocol),
		cmp.Compare(k.Port, o.Port),
	)
}
