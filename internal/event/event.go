// Package event keeps what has happened lately, and hands it to whoever follows: what mybr
// changed on the host, what it put right and who had changed it, what failed, and which
// networks and endpoints came and went.
//
// Nobody who follows can hold up who adds: the latest events are kept in a ring, of which
// each reader knows its place, and a reader that the ring has overtaken is told how many
// events it has missed.
//
// Be aware: nothing outlasts the process. Texts are those of others, such as names of links
// and programs; they are shortened here, and not escaped.
package event

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// The kinds of event.
const (
	Started   = "started"   // the first pass has ended
	Changed   = "changed"   // mybr changed the host, as it was asked to
	Healed    = "healed"    // mybr put right what others had changed
	Fight     = "fight"     // that too, but they do it again and again: it is done later and later
	Failed    = "failed"    // the host could not be made to match; it is tried again
	Recovered = "recovered" // and now it does

	NetworkCreated  = "network-created"  // as Docker asked for
	NetworkRemoved  = "network-removed"  // as Docker asked for, or because Docker has given it up
	EndpointCreated = "endpoint-created" // likewise
	EndpointRemoved = "endpoint-removed" // likewise
	PortPublished   = "port-published"   // by one endpoint; those of one moment are one event
	PortWithdrawn   = "port-withdrawn"   // likewise

	Lost = "lost" // the reader was too slow for some events
)

// Kept is how many events the ring holds.
const Kept = 1024

// Of one event, as many lines are kept, and as many bytes of each text.
const (
	maxLines = 50
	maxText  = 1024
)

// Version is that of the JSON form.
const Version = 1

// Event is one thing that has happened. Its JSON form is an interface: fields and kinds are
// added without a word, and Version grows when one is removed or means something else.
type Event struct {
	Version   int       `json:"version"`
	Seq       uint64    `json:"seq"` // one more for each; those of a Lost event are missing
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"`
	Aspect    string    `json:"aspect,omitempty"`  // of the host, such as "links" or "firewall"
	Network   string    `json:"network,omitempty"` // ID
	Bridge    string    `json:"bridge,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`  // ID
	Addresses []string  `json:"addresses,omitempty"` // a network's subnets, an endpoint's addresses
	Ports     []string  `json:"ports,omitempty"`     // such as "tcp 0.0.0.0:8080 -> 172.18.0.2:80"
	Changes   []string  `json:"changes,omitempty"`   // one line each, as in `mybr status --diff`
	More      int       `json:"more,omitempty"`      // lines that are left out of a list, being too many
	By        string    `json:"by,omitempty"`        // who had changed it, as far as it is known
	Error     string    `json:"error,omitempty"`
	Missed    uint64    `json:"missed,omitempty"` // how many events a Lost one stands for
}

// Log is the latest events. Its zero value is an empty one; its methods may be called from
// any goroutine.
type Log struct {
	mu    sync.Mutex
	ring  []Event
	next  uint64        // number of the next event; those of the ring are the ones before it
	added chan struct{} // closed with the next event; nil: nobody waits
}

// Shortened is the event as it is kept: with so many lines and bytes of each text that a log has
// a bound. It shares nothing with e.
func (e Event) Shortened() Event {
	for _, list := range []*[]string{&e.Addresses, &e.Ports, &e.Changes} {
		e.More += max(0, len(*list)-maxLines)
		*list = slices.Clone((*list)[:min(len(*list), maxLines)])
		for i, s := range *list {
			(*list)[i] = model.Shorten(s, maxText)
		}
	}
	e.By, e.Error = model.Shorten(e.By, maxText), model.Shorten(e.Error, maxText)
	return e
}

// Add adds an event: its number is given here, and its time, unless it has one. It does not
// wait for anybody.
func (l *Log) Add(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e = e.Shortened()
	e.Version = Version
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = l.next
	l.next++
	if len(l.ring) < Kept {
		l.ring = append(l.ring, e)
	} else {
		l.ring[e.Seq%Kept] = e
	}
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
}

// Reader reads the events of a log in their order.
type Reader struct {
	log  *Log
	next uint64
}

// Follow returns a reader of the events from now on, and of up to so many before.
func (l *Log) Follow(before int) *Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Reader{l, l.next - uint64(min(max(before, 0), len(l.ring)))}
}

// Next returns the next event as soon as there is one. After some that the reader was too
// slow for, that is a Lost one. The error is that of ctx.
func (r *Reader) Next(ctx context.Context) (Event, error) {
	for {
		e, added := r.read()
		if added == nil {
			return e, nil
		}
		select {
		case <-added:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// read returns an event, or what is closed when there is one.
func (r *Reader) read() (e Event, added <-chan struct{}) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.next - uint64(len(l.ring))
	switch {
	case r.next < oldest:
		e = Event{Version: Version, Seq: r.next, Time: time.Now(), Kind: Lost, Missed: oldest - r.next}
		r.next = oldest
		return e, nil
	case r.next < l.next:
		e = l.ring[r.next%Kept]
		r.next++
		return e, nil
	}
	if l.added == nil {
		l.added = make(chan struct{})
	}
	return e, l.added
}

// Escape applies fn to all texts.
func (e *Event) Escape(fn func(string) string) {
	for _, s := range []*string{&e.Kind, &e.Aspect, &e.Network, &e.Bridge, &e.Endpoint, &e.By, &e.Error} {
		*s = fn(*s)
	}
	for _, list := range []*[]string{&e.Addresses, &e.Ports, &e.Changes} {
		*list = slices.Clone(*list) // the log has it, too
		for i := range *list {
			(*list)[i] = fn((*list)[i])
		}
	}
}
