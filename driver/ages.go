package driver

import (
	"sync"
	"time"
)

// ages is what this process knows of how long endpoints have been as they are.
type ages struct {
	now   func() time.Time
	begun time.Time // what is not known began with the process
	mu    sync.Mutex
	of    map[string]age // by endpoint ID
}

type age struct {
	noted    time.Time // when the endpoint was made, joined or left last
	attached time.Time // when its interface was seen in its sandbox last; zero: not since noted
}

// note says that an endpoint was made, has joined or has left just now.
func (a *ages) note(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[id] = age{noted: a.now()}
}

// attached says that an endpoint's interface was in its sandbox at a time.
func (a *ages) attached(id string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if have := a.of[id]; !at.Before(have.noted) {
		have.attached = at
		a.of[id] = have
	}
}

// since is how long an endpoint has been as it is.
func (a *ages) since(id string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Sub(a.start(id))
}

// detached is how long ago an endpoint's interface was seen in its sandbox last; ok is false
// if it was not.
func (a *ages) detached(id string) (ago time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.of[id].attached
	return a.now().Sub(at), !at.IsZero()
}

// keep drops what is known of all other endpoints, save those noted just now: one may be
// about to be recorded.
func (a *ages) keep(exists map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.of {
		if !exists[id] && a.now().Sub(a.start(id)) > joinedWithin {
			delete(a.of, id)
		}
	}
}

func (a *ages) start(id string) time.Time {
	if noted := a.of[id].noted; !noted.IsZero() {
		return noted
	}
	return a.begun
}
