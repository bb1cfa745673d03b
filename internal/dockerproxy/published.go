package dockerproxy

import (
	"context"
	"sync"
	"time"
)

// Endpoint is what an endpoint of mybr's has published.
type Endpoint struct {
	Ports []Binding
}

// limits are how long the proxy waits for others.
type limits struct {
	// within is how long mybr may take to say what is published, and the engine what the
	// containers of a list expose. Both answer at once; one that doesn't, such as an engine
	// that waits for the lock of a container that hangs, must not hold up docker ps, which
	// the engine itself answers without these locks.
	within time.Duration
	// pause is how long who did not answer in time isn't asked again.
	pause time.Duration
	// glance is how long a client waits for the question with which mybr is tried again
	// after a pause: many times what mybr takes, and nothing that a user notices.
	glance time.Duration
}

func defaultLimits() limits {
	return limits{within: 5 * time.Second, pause: 5 * time.Second, glance: 250 * time.Millisecond}
}

// told is what mybr said last. Only mybr changes what is published, so that this stays
// true of the endpoints in it while mybr can't be asked; those that have ended are in no
// answer of the engine's any more.
//
// The first question that mybr does not answer in time ends the waiting of all clients.
// From then on they get what is known, and one question at a time tries mybr again, until it
// answers.
type told struct {
	limits

	mu       sync.Mutex
	last     map[string]Endpoint // nil: mybr has not said anything yet
	asked    uint64              // how many questions there were
	answered uint64              // which of them last was the answer to
	down     bool                // mybr could not be asked when it was last
	hung     chan struct{}       // closed: mybr let a question time out, and has answered none since
	again    time.Time           // while it hangs, mybr isn't asked before
}

func newTold(l limits) *told { return &told{limits: l, hung: make(chan struct{})} }

// published is what mybr has published, by endpoint; false: nothing is known of it.
func (p *Proxy) published(client context.Context) (map[string]Endpoint, bool) {
	number, enough := p.told.question()
	if number == 0 {
		return p.told.known()
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		// The question goes on when its client has gone: clients that wait for less time than
		// it may take would never let it be seen that mybr hangs.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(client), p.told.within)
		defer cancel()
		endpoints, err := p.Published(ctx)
		p.note(number, endpoints, err, err != nil && ctx.Err() != nil)
	}()
	select {
	case <-answered:
	case <-enough:
	case <-client.Done():
	}
	return p.told.known()
}

// question is the number of the next question to mybr, and what ends the waiting for its
// answer; 0: it is not to be asked now.
func (t *told) question() (number uint64, enough <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	enough = t.hung
	if t.hangs() {
		now := time.Now()
		if now.Before(t.again) {
			return 0, nil
		}
		t.again = now.Add(t.within + t.pause) // others don't ask at the same time
		enough = after(t.glance)
	}
	t.asked++
	return t.asked, enough
}

// after is closed when a time is over.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

func (t *told) known() (map[string]Endpoint, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.last != nil
}

// note records the outcome of a question, and says once in the log when mybr can't be asked,
// and when it can be again.
func (p *Proxy) note(number uint64, endpoints map[string]Endpoint, err error, late bool) {
	t := p.told
	t.mu.Lock()
	defer t.mu.Unlock()
	if number < t.answered {
		return // a later question has been answered
	}
	if err == nil {
		t.last, t.answered = endpoints, number
		if t.down {
			p.Info("published ports are shown again")
		}
		t.down = false
	} else if !t.down {
		t.down = true
		shown := "not shown"
		if t.last != nil {
			shown = "shown as mybr told them last"
		}
		p.Warn("published ports are %s until mybr can be asked: %v", shown, err)
	}
	t.waited(late)
}

// hangs reports whether mybr let a question time out, and has answered none since.
func (t *told) hangs() bool {
	select {
	case <-t.hung:
		return true
	default:
		return false
	}
}

// waited ends the waiting for mybr after a question that was not answered in time, and begins
// it again after one that was, if only by an error.
func (t *told) waited(late bool) {
	switch hangs := t.hangs(); {
	case late:
		t.again = time.Now().Add(t.pause)
		if !hangs {
			close(t.hung)
		}
	case hangs:
		t.hung = make(chan struct{})
	}
}
