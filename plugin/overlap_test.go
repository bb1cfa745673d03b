package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"
)

func TestCallsWaitForTheFirstPass(t *testing.T) {
	var ran atomic.Int32
	url, log, h := serve(t, map[string]call{
		"/early": constant(func(context.Context) (*struct{}, error) { return &struct{}{}, nil }),
		"/late":  action(func(context.Context, *struct{}) error { ran.Add(1); return nil }),
	})
	ready := make(chan struct{})
	h.ready = ready

	if status, _ := post(t, url+"/early", ""); status != 200 {
		t.Errorf("early: %d", status)
	}
	if status, _ := post(t, url+"/late", ""); status != 400 { // wrong requests need not wait
		t.Errorf("wrong: %d", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/late", strings.NewReader("{}"))
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) || ran.Load() != 0 {
		t.Fatalf("a call did not wait: %v, ran %d times", err, ran.Load())
	}
	// The one that gave up is never carried out.
	waitFor(t, func() bool { return strings.Contains(log.String(), "wait for the first pass: context canceled") })
	done := make(chan int)
	go func() {
		status, _ := post(t, url+"/late", "{}")
		done <- status
	}()
	close(ready)
	if status := <-done; status != 200 || ran.Load() != 1 {
		t.Errorf("%d, ran %d times", status, ran.Load())
	}
}

func TestStopReleasesThoseWhoWait(t *testing.T) {
	url, _, h := serve(t, map[string]call{"/late": action(func(context.Context, *struct{}) error { return nil })})
	h.ready = make(chan struct{})
	stopping := make(chan struct{})
	h.stopping = stopping
	close(stopping)
	if status, body := post(t, url+"/late", "{}"); status != 500 || body != both("mybr is stopping") {
		t.Errorf("%d %s", status, body)
	}
}

// A retry that comes while the call runs gets its answer; it is not run twice.
func TestEqualCallsThatOverlapRunOnce(t *testing.T) {
	var ran atomic.Int32
	began, finish := make(chan struct{}, 10), make(chan struct{})
	count := func(_ context.Context, r *network.JoinRequest) (*network.JoinResponse, error) {
		n := ran.Add(1)
		began <- struct{}{}
		<-finish
		return &network.JoinResponse{Gateway: fmt.Sprint(r.EndpointID, n)}, nil
	}
	url, log, h := serve(t, map[string]call{"/once": once(route(count)), "/each": route(count)})

	ask := func(path, body string) chan string {
		c := make(chan string, 1)
		go func() {
			_, answer := post(t, url+path, body)
			c <- answer
		}()
		return c
	}
	first := ask("/once", `{"EndpointID":"a"}`)
	arrived(t, began)
	second := ask("/once", `{"EndpointID":"a"}`)
	other := ask("/once", `{"EndpointID":"b"}`)
	arrived(t, began) // the other's; the second must not begin
	each1, each2 := ask("/each", `{"EndpointID":"a"}`), ask("/each", `{"EndpointID":"a"}`)
	arrived(t, began)
	arrived(t, began)
	waitFor(t, func() bool { return waiting(h) >= 1 })
	close(finish)
	if a, b := <-first, <-second; a != b {
		t.Errorf("answers %s and %s", a, b)
	}
	if a, b := <-each1, <-each2; a == b {
		t.Errorf("calls that must run each were shared: %s", a)
	}
	<-other
	if ran.Load() != 4 {
		t.Errorf("ran %d times, want 4", ran.Load())
	}
	waitFor(t, func() bool { return len(log.entries(t)) == 5 })
	if !strings.Contains(log.String(), `"shared":true`) {
		t.Errorf("no shared call in the log: %s", log)
	}
	// Afterwards nothing is remembered.
	finish = closed()
	if _, body := post(t, url+"/once", `{"EndpointID":"a"}`); !strings.Contains(body, `"a5"`) {
		t.Errorf("after: %s", body)
	}
}

// waiting counts the calls that wait for another's answer.
func waiting(h *handler) (n int) {
	h.flights.mu.Lock()
	defer h.flights.mu.Unlock()
	for _, f := range h.flights.now {
		n += f.waiters
	}
	return n
}

// A call that has begun is carried through, although the client hangs up.
func TestCallOutlivesItsClient(t *testing.T) {
	began, gone, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	url, _, _ := serve(t, map[string]call{"/x": action(func(ctx context.Context, _ *struct{}) error {
		close(began)
		<-gone
		// The server notices the closed connection while the call runs.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // the time that it has to go wrong
		}
		result <- ctx.Err()
		return nil
	})})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/x", strings.NewReader("{}"))
	go func() {
		arrived(t, began)
		cancel()
	}()
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gone)
	if err := <-result; err != nil {
		t.Errorf("the call was cancelled: %v", err)
	}
}

// arrived waits until a call has begun.
func arrived(t *testing.T, began <-chan struct{}) {
	t.Helper()
	select {
	case <-began:
	case <-time.After(testWithin):
		t.Fatal("the call has not begun")
	}
}
