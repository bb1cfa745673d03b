package driver

import (
	"sync"
	"time"
)

// ages are the times at which endpoints were made, joined or left last; of those that
// this process has not seen do so, its beginning.
type ages struct {
	now   func() time.Time
	begun time.Time
	mu    sync.Mutex
	at    map[string]time.Time // by endpoint ID
}

// note says that an endpoint was made, has joined or has left just now.
func (a *ages) note(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[id] = a.now()
}

// since is how long an endpoint has been as it is.
func (a *ages) since(id string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.at[id]; ok {
		return a.now().Sub(at)
	}
	return a.now().Sub(a.begun)
}

// keep drops what is known of all other endpoints, save those noted just now: one may be
// about to be recorded.
func (a *ages) keep(exists map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.at {
		if !exists[id] && a.now().Sub(at) > joinedWithin {
			delete(a.at, id)
		}
	}
}
