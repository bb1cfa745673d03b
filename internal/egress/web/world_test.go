package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/egress/hosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const enough = 10 * time.Second

// world is a Server on the loopback, before one host that has every listed name.
type world struct {
	*Server
	t  *testing.T
	at string

	mu       sync.Mutex
	verdicts map[string]hosts.Verdict
	dialed   []string
	refused  []Refused
	failed   []error
}

func (w *world) Allowed(_ netip.Addr, name string, port uint16) hosts.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if port != 8080 {
		return hosts.Refuse
	}
	return w.verdicts[name]
}

func (w *world) allow(name string, v hosts.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdicts[name] = v
}

func (w *world) seen() (dialed []string, refused []Refused, failed []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(dialed, w.dialed...), append(refused, w.refused...), append(failed, w.failed...)
}

// start has a Server pass requests on to what listens at an address.
func start(t *testing.T, host string) *world {
	t.Helper()
	w := &world{t: t, verdicts: map[string]hosts.Verdict{"example.com": hosts.Allow, "www.example.com": hosts.Allow, "watched.test": hosts.Audit}}
	var err error
	w.Server, err = New(Config{
		Policy: w,
		Dial: func(ctx context.Context, name string, port uint16) (net.Conn, error) {
			w.mu.Lock()
			w.dialed = append(w.dialed, fmt.Sprint(name, ":", port))
			w.mu.Unlock()
			if host == "" {
				return nil, errors.New("nobody is there")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", host)
		},
		Refused: func(r Refused, v hosts.Verdict) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if v == hosts.Audit {
				r.Reason = "audit"
			}
			w.refused = append(w.refused, r)
		},
		Failed: func(_ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failed = append(w.failed, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.at = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	gate := &hosts.Gate{Each: 100, All: 100}
	go func() {
		defer close(done)
		err := hosts.Accept(ctx, l.(*net.TCPListener), gate, func(ctx context.Context, client netip.Addr, c *net.TCPConn) {
			w.Serve(ctx, client, netip.MustParseAddrPort("192.0.2.77:8080"), c)
		})
		if err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// site is a host; it ends with the test, and so does all that it serves.
func site(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	s := &http.Server{ReadHeaderTimeout: enough, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		busy.Add(1)
		defer busy.Done()
		h(rw, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done; busy.Wait() })
	return l.Addr().String()
}

// client is one of net/http that connects to an address, whatever it asks for.
func client(t *testing.T, at string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}, ExpectContinueTimeout: enough}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: enough}
}

func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(enough))
	return c.(*net.TCPConn)
}

// say sends requests as they are and reads the answers, "CODE BODY" each, to the end.
func (w *world) say(requests string) (answers []string) {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	if _, err := io.WriteString(c, requests); err != nil {
		w.t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				w.t.Errorf("%q: %v", requests, err)
			}
			return answers
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.t.Errorf("%q: %v", requests, err)
		}
		answers = append(answers, fmt.Sprint(r.StatusCode, " ", strings.TrimSpace(string(b))))
	}
}
