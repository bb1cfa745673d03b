package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// cost is what the process has: of what clients have cost, nothing may be left.
type cost struct {
	goroutines, files int
	heap              uint64 // bytes in use, without garbage
}

// someHeap is what the heap may have more than before: caches, and what other tests left.
const someHeap = 16 << 20

func costs(t *testing.T) cost {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return cost{goroutines: runtime.NumGoroutine(), files: len(files)}
}

// allCosts is costs with the heap.
func allCosts(t *testing.T) cost {
	t.Helper()
	c := costs(t)
	runtime.GC()
	runtime.GC() // what pools keep goes with the second one (sync.Pool)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.heap = m.HeapAlloc
	return c
}

// within polls until the process has at most what is given.
func (c cost) within(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(3 * testWithin)
	for {
		have := costs(t)
		rest := have.goroutines <= c.goroutines && have.files <= c.files
		if rest && c.heap > 0 {
			have = allCosts(t)
			rest = have.heap <= c.heap+someHeap
		}
		if rest {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%+v is there, want at most %+v\n%s", have, c, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// quick are limits that a test can wait for, and within which what has been sent is read on
// busy processors too.
func quick() limits {
	l := defaultLimits()
	l.header, l.body, l.answer, l.young = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond, 20*time.Millisecond
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

// sendRaw sends bytes on a connection of their own, unless the server closes it before.
func (s *server) sendRaw(text string) net.Conn {
	s.t.Helper()
	conn := s.dial()
	if _, err := io.WriteString(conn, text); err != nil && !errors.Is(err, unix.EPIPE) {
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

// testAdmin is an admin of a host on which everything is right, with a number of published
// ports.
func testAdmin(ports int) *admin {
	e := model.Endpoint{ID: "e", NetworkID: "n"}
	for i := range ports {
		e.Ports = append(e.Ports, model.PortBinding{Proto: model.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i)), Count: 1})
	}
	s := model.Snapshot{Networks: []model.Network{{ID: "n", Bridge: "br0"}}, Endpoints: []*model.Endpoint{&e}}
	right := func(context.Context) ([]reconcile.Difference, error) { return nil, nil }
	return &admin{
		version: "1", firewall: func() string { return "iptables" }, ready: closed(), compares: closed(), snapshot: func() model.Snapshot { return s },
		lastError: func() error { return nil }, diff: right, diffNow: right,
		healings:  func() map[string]reconcile.Healing { return nil },
		late:      func() error { return nil },
		unheard:   func() error { return nil },
		resources: func() (Runtime, error) { return Runtime{}, nil },
	}
}
