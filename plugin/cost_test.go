package plugin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/go-plugins-helpers/network"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// cost is what the process has: of what clients have cost, nothing may be left.
type cost struct{ goroutines, files int }

func costs(t *testing.T) cost {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return cost{runtime.NumGoroutine(), len(files)}
}

// within polls until the process has at most what is given.
func (c cost) within(t *testing.T) {
	t.Helper()
	have := costs(t)
	for deadline := time.Now().Add(3 * testWithin); have.goroutines > c.goroutines || have.files > c.files; have = costs(t) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%+v is there, want at most %+v\n%s", have, c, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// quick are limits that a test can wait for.
func quick() limits {
	l := defaultLimits()
	l.header, l.body, l.answer, l.young = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond, 20*time.Millisecond
	return l
}

// bounded is a server with limits of its own.
func bounded(t *testing.T, l limits, calls map[string]call) *server {
	t.Helper()
	s := serve(t, calls)
	s.socket += "2"
	s.startWithin(l, s.handler)
	return s
}

// startWithin serves a new socket at s.socket.
func (s *server) startWithin(l limits, h http.Handler) {
	s.t.Helper()
	ln, err := listen(s.t.Context(), s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(ln, l.server(h, s.handler.log))
}

// operator serves the admin socket.
func operator(t *testing.T, l limits, list int) *server {
	t.Helper()
	s := serve(t, nil)
	s.socket = filepath.Join(t.TempDir(), "admin.sock")
	s.startWithin(l, testAdmin(list).handler())
	return s
}

func (s *server) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// sendRaw sends bytes on a connection of their own.
func (s *server) sendRaw(text string) net.Conn {
	s.t.Helper()
	conn := s.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// bothSockets runs a test on Docker's socket and on the operator's, with a request that each
// answers.
func bothSockets(t *testing.T, l limits, test func(t *testing.T, s *server, ask func() error)) {
	ask := func(s *server, method, path, body string) func() error {
		return func() error {
			resp, text, err := s.do(t.Context(), method, path, body)
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s %s", resp.Status, text)
			}
			return err
		}
	}
	t.Run("Docker", func(t *testing.T) {
		s := bounded(t, l, map[string]call{"/x": action(func(context.Context, *struct{}) error { return nil })})
		test(t, s, ask(s, http.MethodPost, "/x", "{}"))
	})
	t.Run("operator", func(t *testing.T) {
		s := operator(t, l, 0)
		test(t, s, ask(s, http.MethodGet, "/v1/status", ""))
	})
}

// Ten thousand connections that send nothing keep no call from being answered, and the
// process keeps a few of them.
func TestTenThousandIdleConnections(t *testing.T) {
	many := 10000
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	} else if files.Cur < 3*uint64(many) {
		many = int(files.Cur) / 3 // both ends are in this process
	}
	bothSockets(t, defaultLimits(), func(t *testing.T, s *server, ask func() error) {
		before := costs(t)
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
}

// A client that does not send its header, or its body, or does not read the answer, is given
// up, whatever it asked for.
func TestSilentClients(t *testing.T) {
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
			before := costs(t)
			conn := s.sendRaw(text)
			before.files++ // this end
			before.within(t)
			if have := readAll(t, conn); strings.Contains(name, "half a body") && !strings.Contains(have, "the request did not arrive within 200ms") {
				t.Errorf("the answer is %q", have)
			}
		})
	}
	t.Run("operator", func(t *testing.T) {
		s := operator(t, quick(), 100000)
		for _, text := range []string{"GET /v1/po", "GET /v1/ports HTTP/1.1\r\nHost:\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{", "PUT /v1/status HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\n{"} {
			before := costs(t)
			s.sendRaw(text)
			before.files++
			before.within(t)
		}
	})
}

// Of the largest requests, a few are read at a time; those of ordinary size never wait for
// them, and in the end all are answered.
func TestBodiesAreBounded(t *testing.T) {
	const clients = 20
	var under, most atomic.Int64
	begun, finish := make(chan struct{}, clients), make(chan struct{})
	s := bounded(t, defaultLimits(), map[string]call{
		"/large": action(func(_ context.Context, r *network.DeleteNetworkRequest) error {
			most.Store(max(most.Load(), under.Add(1))) // far apart enough: see begun
			begun <- struct{}{}
			<-finish
			under.Add(-1)
			return nil
		}),
		"/small": action(func(context.Context, *network.DeleteNetworkRequest) error { return nil }),
	})
	before := costs(t)
	body := `{"NetworkID":"` + strings.Repeat("a", largestBody-100) + `"}`
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
	l := quick()
	s := bounded(t, l, map[string]call{"/x": action(func(context.Context, *struct{}) error { return nil })})
	before := costs(t)
	for range 20 {
		s.sendRaw(fmt.Sprintf("POST /x HTTP/1.1\r\nHost:\r\nContent-Length: %d\r\n\r\n{%s", largestBody, strings.Repeat(" ", int(l.free)+1)))
	}
	if status, answer := s.post("/x", `{"a":"`+strings.Repeat("a", 1<<20)+`"}`); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	before.files += 20
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
	before := costs(t)
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

// testAdmin is an admin of a host on which everything is right, with a number of published
// ports.
func testAdmin(ports int) *admin {
	e := model.Endpoint{ID: "e", NetworkID: "n"}
	for i := range ports {
		e.Ports = append(e.Ports, model.PortBinding{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i)), Count: 1})
	}
	s := model.Snapshot{Networks: []model.Network{{ID: "n", Bridge: "br0"}}, Endpoints: []model.Endpoint{e}}
	right := func(context.Context) ([]reconcile.Difference, error) { return nil, nil }
	return &admin{
		version: "1", firewall: func() string { return "iptables" }, ready: closed(), snapshot: func() model.Snapshot { return s },
		lastError: func() error { return nil }, diff: right, diffNow: right,
		healings: func() map[string]reconcile.Healing { return nil },
	}
}
