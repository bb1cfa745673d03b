package plugin

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
)

var errVanished = errors.New("the call that this one repeats did not end")

// flights carries out once what is asked again while it is still under way.
//
// Be aware: calls are equal when method and body are. It fits calls that name what
// they are about; "give me some free address" must not be shared.
type flights struct {
	mu  sync.Mutex
	now map[flightKey]*flight
}

type flightKey struct {
	method string
	body   [sha256.Size]byte
}

type flight struct {
	done    chan struct{}
	resp    []byte
	err     error
	waiters int // guarded by flights.mu
}

// do runs fn, or waits for an equal call's run and returns its answer. ctx ends the
// wait, not the run.
func (f *flights) do(ctx context.Context, method string, body []byte, fn func() ([]byte, error)) (resp []byte, shared bool, err error) {
	key := flightKey{method: method, body: sha256.Sum256(body)}
	f.mu.Lock()
	if f.now == nil {
		f.now = make(map[flightKey]*flight)
	}
	if fl, ok := f.now[key]; ok {
		fl.waiters++
		f.mu.Unlock()
		select {
		case <-fl.done:
			return fl.resp, true, fl.err
		case <-ctx.Done():
			return nil, true, context.Cause(ctx)
		}
	}
	fl := &flight{done: make(chan struct{}), err: errVanished}
	f.now[key] = fl
	f.mu.Unlock()

	defer func() {
		f.mu.Lock()
		delete(f.now, key)
		f.mu.Unlock()
		close(fl.done)
	}()
	fl.resp, fl.err = fn()
	return fl.resp, false, fl.err
}
