package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCallsWaitForTheFirstPass(t *testing.T) {
	var ran atomic.Int32
	s := serve(t, map[string]call{
		"/early": constant(func(context.Context) (*struct{}, error) { return &struct{}{}, nil }),
		"/late":  action(func(context.Context, *struct{}) error { ran.Add(1); return nil }),
	})
	ready := make(chan struct{})
	s.ready = ready

	if status, _ := s.post("/early", ""); status != 200 {
		t.Errorf("early: %d", status)
	}
	if status, _ := s.post("/late", ""); status != 400 { // wrong requests need not wait
		t.Errorf("wrong: %d", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.do(ctx, "POST", "/late", "{}"); !errors.Is(err, context.DeadlineExceeded) || ran.Load() != 0 {
		t.Fatalf("a call did not wait: %v, ran %d times", err, ran.Load())
	}
	// A call that was given up while it waited is never carried out.
	waitFor(t, func() bool { return strings.Contains(s.log.String(), "wait for the first pass: the client hung up") })
	done := make(chan int)
	go func() {
		status, _ := s.post("/late", "{}")
		done <- status
	}()
	close(ready)
	if status := <-done; status != 200 || ran.Load() != 1 {
		t.Errorf("%d, ran %d times", status, ran.Load())
	}
}

// Who stops mybr right behind its start, as two upgrades in a row do, stops no call.
func TestCallsWaitForTheFirstPassWhileMybrStops(t *testing.T) {
	s := serve(t, map[string]call{"/late": action(func(context.Context, *struct{}) error { return nil })})
	ready, stopping := make(chan struct{}), make(chan struct{})
	s.ready, s.stopping, s.linger = ready, stopping, time.Minute
	close(stopping)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, body, err := s.do(ctx, "POST", "/late", "{}"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a call did not wait: %s %v", body, err)
	}
	done := make(chan int)
	go func() {
		status, _ := s.post("/late", "{}")
		done <- status
	}()
	close(ready)
	if status := <-done; status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestStopReleasesWaitingCalls(t *testing.T) {
	s := serve(t, map[string]call{"/late": action(func(context.Context, *struct{}) error { return nil })})
	s.ready = make(chan struct{})
	stopping := make(chan struct{})
	s.stopping, s.linger = stopping, time.Millisecond
	close(stopping)
	if status, body := s.post("/late", "{}"); status != 500 || body != both("mybr is stopping") {
		t.Errorf("%d %s", status, body)
	}
}

// request sends a call on a connection of its own, and returns that.
func (s *server) request(path, body string) *net.UnixConn {
	s.t.Helper()
	return s.begin(path, len(body), body)
}

// begin sends a call whose body will have length bytes, or the first of them.
func (s *server) begin(path string, length int, body string) *net.UnixConn {
	s.t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: s.socket})
	if err == nil {
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost:\r\nContent-Length: %d\r\n\r\n%s", path, length, body)
	}
	if err != nil {
		s.t.Error(err)
		runtime.Goexit()
	}
	return conn
}

// When the client hangs up, the context of its call ends: the driver learns that nobody
// reads the answer.
func TestHangUpEndsTheContextOfACall(t *testing.T) {
	began, cause := make(chan struct{}), make(chan error, 1)
	s := serve(t, map[string]call{"/x": action(func(ctx context.Context, _ *struct{}) error {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})})
	conn := s.request("/x", "{}")
	wait(t, "the call begins", began)
	conn.Close()
	if err := wait(t, "the context ends", cause); !errors.Is(err, errHungUp) {
		t.Errorf("the context ended with %v", err)
	}
	waitFor(t, func() bool { return len(s.log.entries(t)) == 1 })
	if e := s.log.entries(t)[0]; e["msg"] != "call" || e["client"] != "hung up" {
		t.Errorf("log entry %v", e)
	}
}

// A client that closes only its sending side reads the answer: its call goes on, although
// net/http ends the request's own context.
func TestHalfClosedConnectionIsNoHangUp(t *testing.T) {
	began, finish := make(chan context.Context, 1), make(chan struct{})
	ended := make(chan error, 1)
	s := serve(t, map[string]call{"/x": action(func(ctx context.Context, _ *struct{}) error {
		<-finish
		ended <- ctx.Err()
		return nil
	})})
	s.socket += "2"
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.start(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- r.Context()
		s.ServeHTTP(w, r)
	}))
	conn := s.request("/x", "{}")
	request := wait(t, "the call begins", began)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wait(t, "net/http notices it", request.Done())
	if hungUp(request) {
		t.Error("the client counts as gone")
	}
	close(finish)
	if err := wait(t, "the call ends", ended); err != nil {
		t.Errorf("the call's context ended: %v", err)
	}
	if answer := readAll(t, conn); !strings.HasSuffix(answer, "\r\n\r\n{}\n") {
		t.Errorf("answer %q", answer)
	}
	conn.Close()
}

// What was asked by a client that has gone is not begun: neither when it was still in the
// socket's queue, nor when it waited for the first pass. But what such a client wanted
// removed goes, for it does not ask again.
func TestNothingIsBegunForClientsThatHaveGone(t *testing.T) {
	var ran, removed atomic.Int32
	s := serve(t, map[string]call{
		"/rm":    removal(func(ctx context.Context, _ *struct{}) error { removed.Add(1); return ctx.Err() }),
		"/x":     action(func(context.Context, *struct{}) error { ran.Add(1); return nil }),
		"/early": constant(func(context.Context) (*struct{}, error) { ran.Add(1); return &struct{}{}, nil }),
	})
	s.socket += "2"
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	const many = 20
	for range many {
		s.request("/x", "{}").Close()
		s.request("/early", "").Close()
		s.request("/rm", "{}").Close()
		half := s.request("/x", "{}")
		if err := half.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		half.Close()
	}
	s.start(ln, s.handler)
	waitFor(t, func() bool { return len(s.log.entries(t)) == 4*many })
	if ran.Load() != 0 || removed.Load() != many {
		t.Errorf("%d calls were carried out, and %d removals", ran.Load(), removed.Load())
	}
	for _, e := range s.log.entries(t) {
		if e["method"] == "rm" {
			if e["msg"] != "call" || e["client"] != "hung up" {
				t.Fatalf("log entry of a removal %v", e)
			}
			continue
		}
		if e["msg"] != "call given up" || e["error"] != "the call was not begun: the client hung up" || e["level"] != "warning" {
			t.Fatalf("log entry %v", e)
		}
	}
}

// readAll reads a connection to its end.
func readAll(t *testing.T, conn net.Conn) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(testWithin))
	for {
		n, err := conn.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// wait waits for a value of c, or for c to be closed.
func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testWithin):
		t.Errorf("waited in vain until %s", what)
		runtime.Goexit()
	}
	return v
}
