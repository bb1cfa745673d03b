package dockerproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.Exit(code) }))
}

// fake is an engine that answers as a test says, and a proxy before it.
type fake struct {
	t      *testing.T
	docker string // the engine's socket
	proxy  string // the proxy's

	handler   *Proxy
	mu        sync.Mutex
	endpoints map[string]Endpoint
	err       error // of mybr
	hangs     bool  // mybr does not answer
	asked     int   // times that mybr was asked
	log       []string
}

// newFake starts both. The engine is a server of its own socket.
func newFake(t *testing.T, engine http.Handler) *fake {
	t.Helper()
	return newFakeWithin(t, defaultLimits(), engine)
}

func newFakeWithin(t *testing.T, l limits, engine http.Handler) *fake {
	t.Helper()
	f := &fake{t: t, docker: filepath.Join(t.TempDir(), "docker.sock"), proxy: filepath.Join(t.TempDir(), "proxy.sock")}
	serve(t, f.docker, engine)
	f.handler = newProxy(Config{Docker: f.docker, Published: f.published, Info: f.note, Warn: f.note}, l)
	serve(t, f.proxy, f.handler)
	return f
}

// published is mybr's answer.
func (f *fake) published(ctx context.Context) (map[string]Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.hangs {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return nil, ctx.Err()
	}
	return f.endpoints, f.err
}

// serve serves a unix socket until the test ends.
func serve(t *testing.T, path string, h http.Handler) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

func (f *fake) logged() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.log...)
}

func (f *fake) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// set says what mybr has published; nil: it is not running.
func (f *fake) set(endpoints map[string]Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endpoints, f.err, f.hangs = endpoints, nil, false
	if endpoints == nil {
		f.err = errors.New("mybr is not running")
	}
}

// hang has mybr answer nothing from now on.
func (f *fake) hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs = true
}

// eventually calls fn until it succeeds.
func (f *fake) eventually(fn func() error) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal(err)
		}
	}
}

// dial connects to the engine or to the proxy.
func (f *fake) dial(socket string) *net.UnixConn {
	f.t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

// client asks through the proxy.
func (f *fake) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", f.proxy)
		},
	}}
}

// ports are bindings such as tcp("0.0.0.0:8080", "172.18.0.2:80", 1).
func ports(bindings ...Binding) Endpoint { return Endpoint{Ports: bindings} }

func tcp(host, container string, count uint16) Binding {
	b := Binding{Proto: "tcp", Container: netip.MustParseAddrPort(container), Count: count}
	if host != "" {
		b.Host = netip.MustParseAddrPort(host)
	}
	return b
}
