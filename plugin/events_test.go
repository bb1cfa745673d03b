package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/reconcile"
)

// eventful is an admin whose events are those that the test adds, and what ends it.
func eventful(t *testing.T) (*admin, context.CancelFunc) {
	a := testAdmin(0)
	stopping, stop := context.WithCancel(t.Context())
	a.events, a.followers, a.stopping = &event.Log{}, make(chan struct{}, maxFollowers), stopping
	return a, stop
}

// A client follows the events, with as many of those before as it asks for, escaped, until
// the process ends.
func TestEvents(t *testing.T) {
	a, stop := eventful(t)
	c := serveAdmin(t, a)
	for i := range 3 {
		a.events.Add(event.Event{Kind: event.Changed, Bridge: fmt.Sprint("br", i), Changes: []string{"bad \x1b[31m"}})
	}
	got, done := make(chan event.Event), make(chan error, 1)
	go func() {
		done <- c.Events(t.Context(), 2, func(e event.Event) error { got <- e; return nil })
	}()
	for _, want := range []string{"br1", "br2"} {
		if e := wait(t, "an event", got); e.Bridge != want || e.Version != event.Version || e.Changes[0] != `bad \x1b[31m` {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	a.events.Add(event.Event{Kind: event.Healed, Bridge: "br3"})
	if e := wait(t, "a new event", got); e.Bridge != "br3" || e.Seq != 3 {
		t.Errorf("%+v", e)
	}
	stop()
	if err := wait(t, "the end", done); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// fn's error ends it, and so does the client's context.
func TestEventsThatAreEnough(t *testing.T) {
	a, stop := eventful(t)
	defer stop()
	c := serveAdmin(t, a)
	a.events.Add(event.Event{Kind: event.Changed})
	enough := errors.New("enough")
	if err := c.Events(t.Context(), 1, func(event.Event) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Events(ctx, 1, func(event.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	waitFor(t, func() bool { return len(a.followers) == 0 })
}

// A client that does not read holds up nobody who adds, is told what it has missed, and does
// not keep the process from ending. There can be only so many.
func TestSlowFollowers(t *testing.T) {
	a, stop := eventful(t)
	defer stop()
	s := serve(t, nil)
	s.socket += "2"
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.run(ln, newServer(a.handler(), s.handler.log))
	slow := s.sendRaw("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	for range maxFollowers - 1 {
		s.sendRaw("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	waitFor(t, func() bool { return len(a.followers) == maxFollowers })
	if resp, body, err := s.do(t.Context(), "GET", "/v1/events", ""); err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "16 clients follow the events") {
		t.Errorf("%v %s %v", resp, body, err)
	}
	line := strings.Repeat("x", 1000)
	const many = 20_000 // more than sockets hold
	begun := time.Now()
	for range many {
		a.events.Add(event.Event{Kind: event.Changed, Changes: []string{line}})
	}
	if took := time.Since(begun); took > testWithin {
		t.Errorf("adding took %s", took)
	}
	stop()
	all := readAll(t, slow)
	if n := strings.Count(all, `"kind":"changed"`); !strings.Contains(all, `"kind":"lost"`) && n != many {
		t.Errorf("%d events, and no word of the others", n)
	}
	waitFor(t, func() bool { return len(a.followers) == 0 })
}

func TestEventsMisused(t *testing.T) {
	a, stop := eventful(t)
	defer stop()
	s := serve(t, nil)
	s.socket += "2"
	ln, err := listen(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.run(ln, newServer(a.handler(), s.handler.log))
	a.sync = func(context.Context) ([]reconcile.Difference, error) { t.Error("a pass was made"); return nil, nil }
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/v1/events?history=x", 400, `history \"x\": want a number from 0 to 1024`},
		{"GET", "/v1/events?history=-1", 400, `history \"-1\"`},
		{"GET", "/v1/events?history=1025", 400, `history \"1025\"`},
		{"POST", "/v1/events", 405, "method POST: want GET"},
		{"GET", "/v1/sync", 405, "method GET: want POST"},
		{"DELETE", "/v1/status", 405, "method DELETE: want GET"},
	} {
		resp, body, err := s.do(t.Context(), c.method, c.path, "")
		if err != nil || resp.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %v %s %v", c.method, c.path, resp, body, err)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: what is allowed is not told", c.method, c.path)
		}
	}
}

// A sync is answered with what it took, escaped.
func TestSync(t *testing.T) {
	a := testAdmin(0)
	a.sync = func(context.Context) ([]reconcile.Difference, error) {
		return []reconcile.Difference{{Aspect: "links", Changes: []string{"link \x1b"}, Err: errors.New("no \x1b")}}, nil
	}
	c := serveAdmin(t, a)
	d, err := c.Sync(t.Context())
	if err != nil || len(d) != 1 || d[0].Aspect != "links" || d[0].Changes[0] != `link \x1b` || d[0].Error != `no \x1b` {
		t.Errorf("%+v %v", d, err)
	}
	a.sync = func(context.Context) ([]reconcile.Difference, error) { return nil, errors.New("mybr is stopping") }
	if _, err := c.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "mybr is stopping") {
		t.Error(err)
	}
}
