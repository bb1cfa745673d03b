package plugin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/reliability"
)

// Ten thousand connections that send nothing keep no call from being answered, and the
// process keeps a few of them.
func TestTenThousandIdleConnections(t *testing.T) {
	reliability.Try(t, "10,000 connections are open", func() time.Duration {
		many := 10000
		var files unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
			t.Fatal(err)
		} else if files.Cur < 3*uint64(many) {
			many = int(files.Cur) / 3 // both ends are in this process
		}
		bothSockets(t, defaultLimits(), func(t *testing.T, s *server, ask func() error) {
			before := allCosts(t)
			conns := make([]net.Conn, many)
			for i := range conns {
				conns[i] = s.dial()
				if i%1000 == 0 {
					if err := ask(); err != nil {
						t.Fatalf("beside %d: %v", i, err)
					}
				}
			}
			l := defaultLimits()
			waitFor(t, func() bool { // young ones are left alone
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				return costs(t).files <= before.files+len(conns)+l.idle+10
			})
			if !strings.Contains(s.log.String(), fmt.Sprintf("more than %d connections sent no request", l.idle)) {
				t.Errorf("the log says %s", s.log)
			}
			for _, c := range conns {
				c.Close()
			}
			before.within(t)
		})
		return 0
	})
}

// A client that does not send its header, or its body, or does not read the answer, is given
// up, whatever it asked for.
func TestSilentClients(t *testing.T) {
	reliability.Try(t, "clients send a part of a request, or do not read the answer", func() time.Duration {
		large := map[string]call{
			"/x": action(func(context.Context, *struct{}) error { return nil }),
			"/large": route(func(context.Context, *struct{}) (*struct{ Value string }, error) {
				return &struct{ Value string }{strings.Repeat("x", largestBody)}, nil
			}),
		}
		for name, text := range map[string]string{
			"nothing":                       "",
			"half a header":                 "POST /x HTTP/1.1\r\nHost:",
			"half a body":                   "POST /x HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{",
			"half a chunk":                  "POST /x HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{",
			"more than is free":             "POST /x HTTP/1.1\r\nHost:\r\nContent-Length: 100000\r\n\r\n{" + strings.Repeat(" ", 50000),
			"the body of an unknown call":   "POST /unknown HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{",
			"the body of a wrong method":    "PUT /x HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{",
			"an answer that nobody reads":   "POST /large HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\n{}",
			"no body although it is waited": "POST /x HTTP/1.1\r\nHost:\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				s := bounded(t, quick(), large)
				before := allCosts(t)
				conn := s.sendRaw(text)
				before.files++ // this end
				before.within(t)
				if have := readAll(t, conn); strings.Contains(name, "half a body") && !strings.Contains(have, "the request did not arrive within 500ms") {
					t.Errorf("the answer is %q", have)
				}
			})
		}
		t.Run("operator", func(t *testing.T) {
			s := operator(t, quick(), 20000)
			for _, text := range []string{"GET /v1/pu", "GET /v1/published HTTP/1.1\r\nHost:\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{", "PUT /v1/status HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{"} {
				before := allCosts(t)
				s.sendRaw(text)
				before.files++
				before.within(t)
			}
		})
		return 0
	})
}

// Of the largest requests, a few are read at a time; those of ordinary size never wait for
// them, and in the end all are answered.
func TestBodiesAreBounded(t *testing.T) {
	const clients = 20
	var under, most atomic.Int64
	begun, finish := make(chan struct{}, clients), make(chan struct{})
	l := defaultLimits()
	l.bodies = 4 << 20
	s := bounded(t, l, map[string]call{
		"/large": action(func(_ context.Context, r *network.DeleteNetworkRequest) error {
			most.Store(max(most.Load(), under.Add(1))) // far apart enough: see begun
			begun <- struct{}{}
			<-finish
			under.Add(-1)
			return nil
		}),
		"/small": action(func(context.Context, *network.DeleteNetworkRequest) error { return nil }),
	})
	before := allCosts(t)
	body := `{"NetworkID":"` + strings.Repeat("a", 1<<20-100) + `"}`
	small := `{"NetworkID":"` + strings.Repeat("a", 10000) + `"}`
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			if status, answer := s.post("/large", body); status != http.StatusOK {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	for range 4 {
		wait(t, "a large request is read", begun)
	}
	for range 100 {
		if status, answer := s.post("/small", small); status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
	}
	if n := under.Load(); n != 4 {
		t.Errorf("%d large requests are served at a time", n)
	}
	close(finish)
	asking.Wait()
	if n := most.Load(); n > 4 {
		t.Errorf("%d large requests were served at a time", n)
	}
	before.within(t)
}

// A large request that is not sent to its end keeps others waiting for as long as its body
// may take, and no longer.
func TestLargeBodiesThatDoNotArrive(t *testing.T) {
	l := defaultLimits()
	l.body = 2 * time.Second // long enough for the one that arrives
	s := bounded(t, l, map[string]call{"/x": action(func(context.Context, *struct{}) error { return nil })})
	before := allCosts(t)
	for range 6 {
		s.sendRaw(fmt.Sprintf("POST /x HTTP/1.1\r\nHost:\r\nContent-Length: %d\r\n\r\n{%s", largestBody, strings.Repeat(" ", int(l.free)+1)))
	}
	if status, answer := s.post("/x", `{"a":"`+strings.Repeat("a", 1<<20)+`"}`); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	before.files += 6
	before.within(t)
}

// What can't be served at a time is refused with an error that says so.
func TestTooManyRequests(t *testing.T) {
	l := defaultLimits()
	l.calls = 2
	began, finish := make(chan struct{}), make(chan struct{})
	s := bounded(t, l, map[string]call{"/x": action(func(context.Context, *struct{}) error {
		began <- struct{}{}
		<-finish
		return nil
	})})
	before := allCosts(t)
	for range 2 {
		go s.post("/x", "{}")
		wait(t, "the call begins", began)
	}
	want := "mybr is at 2 requests, and serves no more at a time: try again"
	if status, answer := s.post("/x", "{}"); status != http.StatusServiceUnavailable || answer != both(want) {
		t.Errorf("%d %s", status, answer)
	}
	if e := s.log.entries(t); len(e) != 1 || e[0]["msg"] != "request for /x refused: "+want {
		t.Errorf("the log says %v", e)
	}
	close(finish)
	before.within(t)
	go s.post("/x", "{}")
	wait(t, "a call is served again", began)
	before.within(t)
}
