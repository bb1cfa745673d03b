package names

import (
	"context"
	"sync"
)

// flights has equal questions that are asked at the same time asked once, as one that many clients
// begin with is, and one that a client repeats. It is also what keeps who forges answers from having
// many of them open to guess at (RFC 5452, 5). golang.org/x/sync/singleflight would do with one
// question what its first asker's context says; here it goes on while somebody waits, and no
// goroutine outlives the last who does.
type flights struct {
	mu sync.Mutex
	of map[key]*flight
}

type flight struct {
	waiting int // guarded by flights.mu
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when what follows is there
	found   result
	err     error
}

// join returns what ask finds for the question: one call of it serves all who wait at the same time.
// It ends after patience at the latest, or when nobody waits any more.
func (f *flights) join(ctx context.Context, k key, ask func(context.Context) (result, error)) (result, error) {
	f.mu.Lock()
	x := f.of[k]
	if x == nil {
		x = f.begin(ctx, k, ask)
	}
	x.waiting++
	f.mu.Unlock()
	select {
	case <-x.done:
		return x.found, x.err
	case <-ctx.Done():
	}
	if !f.leave(k, x) {
		return result{}, ctx.Err()
	}
	x.cancel(ctx.Err())
	<-x.done
	return x.found, x.err // it names the resolvers
}

// begin has ask called. The caller holds f.mu.
func (f *flights) begin(ctx context.Context, k key, ask func(context.Context) (result, error)) *flight {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), patience)
	ctx, cancel := context.WithCancelCause(ctx)
	x := &flight{cancel: cancel, done: make(chan struct{})}
	if f.of == nil {
		f.of = map[key]*flight{}
	}
	f.of[k] = x
	go func() {
		defer end()
		defer cancel(nil)
		x.found, x.err = ask(ctx)
		f.mu.Lock()
		if f.of[k] == x { // else another one has begun since the last who waited left
			delete(f.of, k)
		}
		f.mu.Unlock()
		close(x.done)
	}()
	return x
}

// leave has one wait no more, and reports whether it was the last one. Who asks from then on begins
// anew.
func (f *flights) leave(k key, x *flight) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x.waiting--
	if x.waiting == 0 && f.of[k] == x {
		delete(f.of, k)
	}
	return x.waiting == 0
}
