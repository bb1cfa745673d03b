package plugin

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// limits bound what the clients of one socket can cost.
type limits struct {
	header time.Duration // how long a request's header may take to arrive
	body   time.Duration // how long its body may take
	answer time.Duration // how long its client may take to read the answer
	young  time.Duration // how long a connection is left alone that has sent no request yet

	idle   int   // connections at a time that have sent no request, beside young ones
	calls  int   // requests at a time
	free   int64 // bytes of each body that don't count
	bodies int64 // bytes of all bodies at a time that count
}

// defaultLimits are for each socket. Docker sends a request as soon as it has connected; it
// starts at most 128 containers at a time for each CPU, and their calls wait for the first
// pass. What a request of ordinary size takes, some 100 bytes for each published port, is
// always there; of the largest ones, four at a time are read.
func defaultLimits() limits {
	l := limits{
		header: 10 * time.Second, body: 30 * time.Second, answer: 30 * time.Second, young: time.Second,
		idle: 256, calls: 4096, free: 16 << 10, bodies: 4 * largestBody,
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		l.calls = int(min(uint64(l.calls), files.Cur/4)) // one descriptor each, and no more than a quarter of all
	}
	return l
}

// limitsKey is the key of the limits of a request's socket in the request's context.
type limitsKey struct{}

// limitsOf returns the limits that a request is served under.
func limitsOf(r *http.Request) limits {
	if l, ok := r.Context().Value(limitsKey{}).(limits); ok {
		return l
	}
	return defaultLimits() // no server, as in tests
}

// answering bounds how long the client may take to read the answer, from now on.
func answering(w http.ResponseWriter, r *http.Request) {
	// The error says that it is not supported, as by test recorders.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limitsOf(r).answer))
}

// gate lets requests to a handler within limits.
type gate struct {
	limits
	handler http.Handler
	warn    func(format string, args ...any)

	under  atomic.Int64 // requests that are being served
	bodies *semaphore.Weighted
}

func newGate(h http.Handler, l limits, warn func(format string, args ...any)) *gate {
	return &gate{limits: l, handler: h, warn: warn, bodies: semaphore.NewWeighted(l.bodies)}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(context.WithValue(r.Context(), limitsKey{}, g.limits))
	conn := http.NewResponseController(w)
	// A call may take as long as it needs: only its body has a deadline, see countedBody. What
	// the handler has left of it, net/http reads, and that must end.
	_ = conn.SetReadDeadline(time.Time{})
	defer func() { _ = conn.SetReadDeadline(time.Now()) }()
	defer g.under.Add(-1)
	if g.under.Add(1) > int64(g.calls) {
		err := fmt.Errorf("mybr is at %d requests, and serves no more at a time: try again", g.calls)
		g.warn("request for %s refused: %v", shorten(Printable(r.URL.Path)), err)
		answering(w, r)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(failure(err)) // a client that has gone reads nothing
		return
	}
	body := &countedBody{ReadCloser: r.Body, gate: g, ctx: r.Context(), conn: conn, length: r.ContentLength}
	defer body.release()
	r.Body = body
	g.handler.ServeHTTP(w, r)
}

// countedBody is a request's body, of which what is larger than usual counts for as long as
// the request is served, since what is decoded from it is several times as large.
type countedBody struct {
	io.ReadCloser
	gate   *gate
	ctx    context.Context
	conn   *http.ResponseController
	length int64 // -1: not known

	began   bool
	read    int64
	counted int64
}

func (b *countedBody) Read(p []byte) (n int, err error) {
	if b.read >= b.gate.free && b.counted == 0 {
		// Others may take their time with theirs.
		_ = b.conn.SetReadDeadline(time.Time{})
		size := min(b.gate.limits.bodies, largestBody)
		if b.length >= 0 {
			size = min(size, b.length)
		}
		if err := b.gate.bodies.Acquire(b.ctx, size); err != nil {
			return 0, err
		}
		b.counted, b.began = size, false
	}
	if !b.began {
		b.began = true
		_ = b.conn.SetReadDeadline(time.Now().Add(b.gate.body))
	}
	if left := b.gate.free - b.read; left > 0 && int64(len(p)) > left {
		p = p[:left]
	}
	n, err = b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil {
		// The deadline must not outlast the body: a connection that is read while its
		// call runs would end the call's context when the deadline passes.
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (b *countedBody) release() {
	if b.counted > 0 {
		b.gate.bodies.Release(b.counted)
	}
}

// idlers are the connections of a server that have sent no request yet. When there are too
// many, the oldest are closed, so that those that are used find room.
type idlers struct {
	limits
	warn func(format string, args ...any)

	mu    sync.Mutex
	order list.List // of idler, the oldest first
	of    map[net.Conn]*list.Element
}

type idler struct {
	conn  net.Conn
	since time.Time
}

// state is http.Server's ConnState: a connection is new until a request's header has arrived.
func (i *idlers) state(conn net.Conn, s http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s != http.StateNew {
		if e, ok := i.of[conn]; ok {
			i.order.Remove(e)
			delete(i.of, conn)
		}
		return
	}
	if i.of == nil {
		i.of = make(map[net.Conn]*list.Element)
	}
	now := time.Now()
	i.of[conn] = i.order.PushBack(idler{conn, now})
	closed := 0
	for i.order.Len() > i.idle {
		oldest := i.order.Front().Value.(idler)
		if now.Sub(oldest.since) < i.young {
			break
		}
		i.order.Remove(i.order.Front())
		delete(i.of, oldest.conn)
		oldest.conn.Close()
		closed++
	}
	if closed > 0 {
		i.warn("more than %d connections sent no request: the %d oldest were closed", i.idle, closed)
	}
}

// rarely passes on what is said, but once a minute at most.
func rarely(say func(format string, args ...any)) func(format string, args ...any) {
	var last atomic.Pointer[time.Time]
	return func(format string, args ...any) {
		now, before := time.Now(), last.Load()
		if (before == nil || now.Sub(*before) > time.Minute) && last.CompareAndSwap(before, &now) {
			say(format, args...)
		}
	}
}
