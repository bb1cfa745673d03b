// Package denied remembers what lists of egress have refused, or would have refused if they
// did more than watch: counted, so that a client that tries again and again is one line, and
// bounded, whatever clients try. From what was seen it makes the list that would let it pass.
//
// Be aware: a name is what a client has said, and a list made of what was seen lets all of it
// pass: it is for a person to read. What has been silent longest is forgotten first.
package denied

import (
	"cmp"
	"container/list"
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
	Name     string     // the host that was named; "": none was
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
	Now   func() time.Time // such as time.Now
	Tell  func(Line)       // is called by who calls Seen, one call at a time, and must not call back
}

// Log counts. Its methods may be called from any goroutine.
type Log struct {
	cfg Config

	mu      sync.Mutex
	of      map[Key]*list.Element // of *known
	order   list.List             // the silent ones last
	dropped uint64

	changed chan struct{} // closed with what is seen next; nil: nobody waits

	tokens int
	filled time.Time // when tokens was right
	silent uint64
}

type known struct {
	Entry
	told      time.Time // zero: never
	toldCount uint64
}

// New returns an empty Log.
func New(cfg Config) (*Log, error) {
	if cfg.Most <= 0 || cfg.Every <= 0 || cfg.Burst <= 0 || cfg.Pause <= 0 || cfg.Now == nil || cfg.Tell == nil {
		return nil, errors.New("a log of what is refused needs its limits, a clock, and whom to tell")
	}
	return &Log{cfg: cfg, of: map[Key]*list.Element{}, tokens: cfg.Burst, filled: cfg.Now()}, nil
}

// Seen counts one; let says that it was let through all the same.
func (l *Log) Seen(k Key, let bool) {
	k.Address = k.Address.Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	e, ok := l.of[k]
	if ok {
		l.order.MoveToFront(e)
	} else {
		if len(l.of) >= l.cfg.Most {
			last := l.order.Back()
			delete(l.of, l.order.Remove(last).(*known).Key)
			l.dropped++
		}
		e = l.order.PushFront(&known{Entry: Entry{Key: k, First: now}})
		l.of[k] = e
	}
	x := e.Value.(*known)
	x.Count++
	x.Last = now
	if let {
		x.Let++
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	l.tell(x, now)
}

// tell tells of an entry, if it is time. The caller holds l.mu.
func (l *Log) tell(x *known, now time.Time) {
	if !x.told.IsZero() && now.Sub(x.told) < l.cfg.Every {
		return
	}
	if full := int64(now.Sub(l.filled) / l.cfg.Pause); full > 0 {
		l.tokens = int(min(int64(l.cfg.Burst), int64(l.tokens)+full))
		l.filled = l.filled.Add(time.Duration(full) * l.cfg.Pause)
	}
	if l.tokens == 0 {
		l.silent++
		return
	}
	l.tokens--
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
	for e := l.order.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*known); network == "" || x.Network == network {
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
	for k, e := range l.of {
		if gone(k.Network) {
			l.order.Remove(e)
			delete(l.of, k)
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
