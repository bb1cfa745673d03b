package carry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/egress/web"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const enough = 10 * time.Second

// world is a namespace in which 192.0.2.0/24 and 2001:db8::/64 are the host's own, so that
// every address of them answers.
type world struct {
	*Carrier
	t    testing.TB
	host *nettest.Host
	at   netip.AddrPort // of the Carrier's socket, of both families

	mu        sync.Mutex
	verdicts  map[string]hosts.Verdict
	addresses map[string][]netip.Addr
	refused   []Refused
	audited   []Refused
	failed    []error
}

func (w *world) Allowed(_ netip.Addr, name string, port uint16) hosts.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verdicts[fmt.Sprint(name, ":", port)]
}

func (w *world) allow(name string, port uint16, v hosts.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdicts[fmt.Sprint(name, ":", port)] = v
}

func (w *world) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.addresses[name]; len(a) > 0 {
		return a, nil
	}
	return nil, errors.New("there is no such name")
}

func (w *world) resolve(name string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addresses[name] = nil
	for _, a := range addresses {
		w.addresses[name] = append(w.addresses[name], netip.MustParseAddr(a))
	}
}

func (w *world) seen() (refused, audited []Refused, failed []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(refused, w.refused...), append(audited, w.audited...), append(failed, w.failed...)
}

// start has a Carrier serve, until the test ends, and then nothing is left of it.
func start(t testing.TB, cfg Config) *world { return startWith(t, cfg, false) }

func startWith(t testing.TB, cfg Config, withWeb bool) *world {
	t.Helper()
	w := &world{t: t, host: nettest.Process(t), verdicts: map[string]hosts.Verdict{}, addresses: map[string][]netip.Addr{}}
	addresses(w.host)
	before, sockets := goleak.IgnoreCurrent(), openSockets(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		nettest.Eventually(t, enough, func() error {
			if n := openSockets(t); n > sockets {
				return fmt.Errorf("%d sockets are open, %d were before", n, sockets)
			}
			return nil
		})
	})
	cfg.Policy, cfg.Resolver = w, w
	if withWeb {
		var err error
		if cfg.Web, err = web.New(web.Config{Policy: w, Dial: w.dial}); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Refused = func(r Refused, v hosts.Verdict) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if v == hosts.Audit {
			w.audited = append(w.audited, r)
		} else {
			w.refused = append(w.refused, r)
		}
	}
	cfg.Failed = func(_ string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = append(w.failed, err)
	}
	var err error
	if w.Carrier, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	w.at = netip.MustParseAddrPort(l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Serve(ctx, l.(*net.TCPListener)); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if c := w.Counts(); c.Begun != c.Ended {
			t.Errorf("%d connections have begun, and %d ended", c.Begun, c.Ended)
		}
	})
	return w
}

// addresses has a namespace, which other tests have had before, as world says.
func addresses(h *nettest.Host) {
	h.Run("ip", "address", "replace", "192.0.2.1/24", "dev", "lo")
	h.Run("ip", "address", "replace", "2001:db8::1/64", "dev", "lo", "nodad")
	h.Run("ip", "-6", "route", "replace", "local", "2001:db8::/64", "dev", "lo")
	for _, iptables := range []string{"iptables", "ip6tables"} {
		h.Run(iptables, "-w", "-t", "nat", "-F", "OUTPUT")
		h.Run(iptables, "-w", "-F", "OUTPUT")
	}
}

// redirect leads what is sent to a port of some address to the Carrier.
func (w *world) redirect(port uint16) {
	for iptables, to := range map[string]string{"iptables": "192.0.2.77", "ip6tables": "2001:db8::77"} {
		w.host.Run(iptables, "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", to, "--dport", fmt.Sprint(port), "-j", "REDIRECT", "--to-ports", fmt.Sprint(w.at.Port()))
	}
}

// dial connects for a web.Server, as the Carrier does.
func (w *world) dial(ctx context.Context, name string, port uint16) (net.Conn, error) {
	c, err := Connect(ctx, w, &net.Dialer{Timeout: enough}, name, port)
	if err != nil {
		return nil, err // not c: a nil *net.TCPConn is a net.Conn
	}
	return c, nil
}

func fixed(port uint16) Destination {
	return func(*net.TCPConn) (netip.AddrPort, error) {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), port), nil
	}
}

func openSockets(t testing.TB) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// site serves HTTPS for example.com at an address, and says to whom.
func (w *world) site(address string) (*httptest.Server, uint16) {
	w.t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s at %s", r.TLS.ServerName, r.Context().Value(http.LocalAddrContextKey))
	}))
	s.Listener.Close()
	s.Listener = w.host.Listen("tcp", address)
	s.Config.ErrorLog = quiet
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s, netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
}

// get asks for a page at an address, by the name of a server.
func get(s *httptest.Server, address, name string) (string, error) {
	transport := s.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	transport.TLSClientConfig.ServerName = name
	r, err := (&http.Client{Transport: transport, Timeout: enough}).Get("https://" + name)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

// greeting is the first message of a TLS client.
func greeting(t testing.TB, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Client(a, &tls.Config{ServerName: name}).Handshake() }()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}
