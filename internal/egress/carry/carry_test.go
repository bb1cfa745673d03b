package carry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/nettest"
)

var quiet = log.New(io.Discard, "", 0)

// The client is led to the server that it names, wherever it connects to, in both families.
func TestCarriesToTheNamedHost(t *testing.T) {
	w := start(t, Config{Destination: Redirected})
	site, port := w.site("[::]:0")
	w.redirect(port)
	w.allow("example.com", port, hosts.Allow)
	w.allow("www.example.com", port, hosts.Audit)
	for _, chosen := range []string{"192.0.2.77", "2001:db8::77"} {
		for _, has := range []string{"192.0.2.5", "2001:db8::5"} {
			for _, name := range []string{"example.com", "www.example.com"} {
				w.resolve(name, has)
				want := fmt.Sprintf("%s at %s", name, netip.AddrPortFrom(netip.MustParseAddr(has), port))
				if got, err := get(site, netip.AddrPortFrom(netip.MustParseAddr(chosen), port).String(), name); err != nil || got != want {
					t.Errorf("%s by %s: %q, %v, want %q", name, chosen, got, err, want)
				}
			}
		}
	}
	if _, audited, _ := w.seen(); len(audited) != 4 || audited[0].Name != "www.example.com" || audited[0].To != netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), port) {
		t.Errorf("%+v would have been refused", audited)
	}
}

// HTTP is led to the host that each request names, too, and ends with the list.
func TestCarriesHTTP(t *testing.T) {
	w := startWith(t, Config{Destination: Redirected}, true)
	held := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(held)
			<-r.Context().Done()
		}
		fmt.Fprintf(rw, "%s at %s", r.Host, r.Context().Value(http.LocalAddrContextKey))
	}))
	s.Listener.Close()
	s.Listener = w.host.Listen("tcp", "192.0.2.5:0")
	s.Start()
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	w.redirect(at.Port())
	w.resolve("example.com", "192.0.2.5")
	w.allow("example.com", at.Port(), hosts.Allow)
	chosen := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), at.Port()).String()
	host := fmt.Sprint("example.com:", at.Port())
	request := func(host, path string) string { return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

	b, err := answer(chosen, request(host, "/")+request("evil.test", "/"))
	if err != nil || !strings.Contains(string(b), host+" at "+at.String()) || !strings.Contains(string(b), "HTTP/1.1 403 Forbidden") {
		t.Errorf("%q, %v", b, err)
	}
	c, err := net.Dial("tcp", chosen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(enough))
	if _, err := io.WriteString(c, request(host, "/held")); err != nil {
		t.Fatal(err)
	}
	<-held
	w.allow("example.com", at.Port(), hosts.Refuse)
	w.Recheck()
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestRefuses(t *testing.T) {
	w := start(t, Config{Destination: Redirected})
	site, port := w.site("[::]:0")
	w.redirect(port)
	w.resolve("example.com", "192.0.2.5")
	w.resolve("www.example.com", "192.0.2.5")
	w.allow("example.com", port+1, hosts.Allow)
	w.allow("www.example.com", port, hosts.Allow)
	chosen := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), port)

	if got, err := get(site, chosen.String(), "example.com"); err == nil || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("a host that is listed with another port: %q, %v", got, err)
	}
	refused, _, _ := w.seen()
	if len(refused) != 1 || refused[0].Name != "example.com" || refused[0].To != chosen || refused[0].Reason != "the host is not on the list" || !refused[0].Client.IsValid() {
		t.Errorf("%+v was told", refused)
	}
	for what, c := range map[string]struct {
		address, says string
		alert         bool
		reason        string
	}{
		"a server that speaks first": {chosen.String(), "SSH-2.0-x\r\n", false, "neither TLS nor HTTP"},
		"HTTP without a Web":         {chosen.String(), "GET / HTTP/1.1\r\n\r\n", false, "neither TLS nor HTTP"},
		"binary":                     {chosen.String(), "\x00\x01", false, "neither TLS nor HTTP"},
		"SSL 2.0":                    {chosen.String(), "\x80\x2e\x01\x03\x01", true, "SSL 2.0"},
		"a broken hello":             {chosen.String(), "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", true, "malformed"},
		"a hello that ends":          {chosen.String(), "\x16\x03", false, "EOF"},
		"nothing":                    {chosen.String(), "", false, "EOF"},
		"one that nobody has led":    {netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), w.at.Port()).String(), string(greeting(t, "www.example.com")), false, "where nobody is led to"},
	} {
		before, _, _ := w.seen()
		b, err := answer(c.address, c.says)
		if c.alert != (err == nil && len(b) == 7 && b[0] == 21) || !c.alert && (len(b) > 0 || !errors.Is(err, syscall.ECONNRESET)) {
			t.Errorf("%s is answered by %x, %v", what, b, err)
		}
		nettest.Eventually(t, enough, func() error {
			if now, _, _ := w.seen(); len(now) != len(before)+1 || !strings.Contains(now[len(before)].Reason, c.reason) {
				return fmt.Errorf("%s: %+v was told", what, now[len(before):])
			}
			return nil
		})
	}
}

// answer is all that is answered to what a client says before it ends. It may be reset as soon
// as it connects.
func answer(address, says string) ([]byte, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(enough))
	_, _ = c.Write([]byte(says))
	_ = c.(*net.TCPConn).CloseWrite()
	return io.ReadAll(c)
}

// A name that leads to the host itself leads nowhere, whoever has resolved it; neither does
// one that can't be resolved, or has nobody listening.
func TestUnreachable(t *testing.T) {
	w := start(t, Config{Destination: fixed(443)})
	for name, addresses := range map[string][]string{
		"loopback.example": {"127.0.0.1", "::1"}, "metadata.example": {"169.254.169.254", "::ffff:127.0.0.1"}, "gone.example": nil, "closed.example": {"192.0.2.3", "2001:db8::3"},
	} {
		w.allow(name, 443, hosts.Allow)
		w.resolve(name, addresses...)
		_, _, before := w.seen()
		c := w.say(greeting(t, name))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", name, err)
		}
		if _, _, failed := w.seen(); len(failed) != len(before)+1 {
			t.Errorf("%s: %v was told", name, failed)
		}
	}
}

// say connects to the Carrier and sends something.
func (w *world) say(b []byte) *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), w.at.Port()).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(6 * enough))
	if _, err := c.Write(b); err != nil {
		w.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// carried is a connection that is carried, and its other end, which has read the hello.
func carried(t testing.TB, w *world, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	hello := greeting(t, "example.com")
	client = w.say(hello)
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(enough))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(6 * enough))
	got := make([]byte, len(hello))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, hello) {
		t.Fatalf("the server got another hello: %v", err)
	}
	return client, c.(*net.TCPConn)
}

func listening(t testing.TB, cfg Config) (*world, net.Listener) {
	t.Helper()
	port := uint16(4430)
	cfg.Destination = fixed(port)
	w := start(t, cfg)
	w.resolve("example.com", "192.0.2.5")
	w.allow("example.com", port, hosts.Allow)
	return w, w.host.Listen("tcp", fmt.Sprint("192.0.2.5:", port))
}

func TestStreamIsWholeAndEndsHalfByHalf(t *testing.T) {
	w, l := listening(t, Config{})
	client, server := carried(t, w, l)
	const size = 32 << 20
	send := func(to *net.TCPConn, seed byte) {
		_, err := io.CopyN(to, rand.NewChaCha8([32]byte{seed}), size)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			t.Error(err)
		}
	}
	want := func(from *net.TCPConn, seed byte) {
		t.Helper()
		h, wanted := sha256.New(), sha256.New()
		_, _ = io.CopyN(wanted, rand.NewChaCha8([32]byte{seed}), size)
		if n, err := io.Copy(h, from); err != nil || n != size || !bytes.Equal(h.Sum(nil), wanted.Sum(nil)) {
			t.Errorf("%d bytes came, or other ones: %v", n, err)
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); send(client, 1) }()
	want(server, 1) // to the end, while the other direction is open
	<-done
	go send(server, 2)
	want(client, 2)
	nettest.Eventually(t, enough, func() error {
		if c := w.Counts(); c.Ended != 1 || c.In != size || c.Out <= size {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func isReset(c *net.TCPConn) error {
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%v, want a reset", err)
	}
	return nil
}

func TestBreaksArePassedOn(t *testing.T) {
	w, l := listening(t, Config{})
	client, server := carried(t, w, l)
	hosts.Reset(client)
	if err := isReset(server); err != nil {
		t.Error(err)
	}
	client, server = carried(t, w, l)
	hosts.Reset(server)
	if err := isReset(client); err != nil {
		t.Error(err)
	}
}

func TestChangedListEndsConnections(t *testing.T) {
	w, l := listening(t, Config{})
	client, server := carried(t, w, l)
	w.Recheck()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatalf("a list that has not changed ends a connection: %v", err)
	}
	w.allow("example.com", 4430, hosts.Refuse)
	w.Recheck()
	for _, c := range []*net.TCPConn{client, server} {
		if err := isReset(c); err != nil {
			t.Error(err)
		}
	}
	if refused, _, _ := w.seen(); len(refused) != 1 || refused[0].Name != "example.com" {
		t.Errorf("%+v was told", refused)
	}
}

// The policy is asked for a connection that Recheck sees: else one that a change of the list
// comes across would go on.
func TestNoChangeIsMissed(t *testing.T) {
	w, _ := listening(t, Config{})
	w.cfg.Policy = hosts.PolicyFunc(func(netip.Addr, string, uint16) hosts.Verdict {
		w.Carrier.mu.Lock()
		defer w.Carrier.mu.Unlock()
		if len(w.conns) != 1 {
			t.Error("the policy is asked for a connection that Recheck does not see")
		}
		return hosts.Refuse
	})
	b, err := io.ReadAll(w.say(greeting(t, "example.com")))
	if err != nil || len(b) != 7 {
		t.Errorf("%x, %v", b, err)
	}
}

func TestConnectionsOfAClientAreBounded(t *testing.T) {
	w, l := listening(t, Config{PerClient: 2})
	at := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), w.at.Port()).String()
	carried(t, w, l)
	first, _ := carried(t, w, l)
	if b, err := answer(at, string(greeting(t, "other.example"))); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a third connection is answered by %x, %v", b, err)
	}
	hosts.Reset(first)
	nettest.Eventually(t, enough, func() error {
		if b, err := answer(at, string(greeting(t, "other.example"))); err != nil || len(b) != 7 {
			return fmt.Errorf("a third connection, after one has ended, is answered by %x, %v", b, err)
		}
		return nil
	})
}

func TestOrder(t *testing.T) {
	var all []netip.Addr
	for _, a := range strings.Fields("192.0.2.1 192.0.2.2 127.0.0.1 2001:db8::1 fe80::1 192.0.2.3 ::ffff:10.0.0.1") {
		all = append(all, netip.MustParseAddr(a))
	}
	if got := fmt.Sprint(order(all)); got != "[2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3 ::ffff:10.0.0.1]" {
		t.Error(got)
	}
	if n := len(order(append(make([]netip.Addr, 5), repeat(all[0], 40)...))); n != most {
		t.Errorf("%d addresses are tried", n)
	}
}

func repeat(a netip.Addr, n int) (all []netip.Addr) {
	for range n {
		all = append(all, a)
	}
	return all
}

// An address that is silent holds up for a moment only, and one that refuses not at all.
func TestRace(t *testing.T) {
	w, l := listening(t, Config{})
	w.host.Run("iptables", "-w", "-A", "OUTPUT", "-p", "tcp", "-d", "192.0.2.9", "-j", "DROP")
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("192.0.2.5")}
	begin := time.Now()
	c, err := race(t.Context(), &net.Dialer{Timeout: enough}, addresses, 4430)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if took := time.Since(begin); took < stagger || took > enough/2 {
		t.Errorf("it took %s", took)
	}
	if c.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("connected to %s", c.RemoteAddr())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if c, err := race(ctx, &net.Dialer{}, addresses[:1], 4430); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := race(t.Context(), &net.Dialer{}, addresses[1:2], 4430); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v", c, err)
	}
}

// What TPROXY leads to a socket has the client's destination as its local address.
func TestTransparent(t *testing.T) {
	addresses(nettest.Process(t))
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	destination := Transparent(func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") })
	for address, ok := range map[string]bool{"192.0.2.77": true, "192.0.2.1": false} {
		want := netip.AddrPortFrom(netip.MustParseAddr(address), netip.MustParseAddrPort(l.Addr().String()).Port())
		c, err := net.Dial("tcp", want.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if to, err := destination(got.(*net.TCPConn)); (err == nil) != ok || ok && to != want {
			t.Errorf("%s: %s, %v", address, to, err)
		}
	}
}

func benchmark(b *testing.B, open func(*world, net.Listener) (client, server *net.TCPConn)) {
	w, l := listening(b, Config{})
	client, server := open(w, l)
	const size = 256 << 20
	buf, into := make([]byte, 1<<20), make([]byte, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		go func() {
			for n := 0; n < size; n += len(buf) {
				if _, err := client.Write(buf); err != nil {
					return
				}
			}
		}()
		for n := 0; n < size; {
			m, err := server.Read(into)
			if n += m; err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCarried(b *testing.B) {
	benchmark(b, func(w *world, l net.Listener) (*net.TCPConn, *net.TCPConn) { return carried(b, w, l) })
}

func BenchmarkPlain(b *testing.B) {
	benchmark(b, func(w *world, l net.Listener) (*net.TCPConn, *net.TCPConn) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close(); s.Close() })
		_ = c.SetDeadline(time.Now().Add(6 * enough))
		_ = s.SetDeadline(time.Now().Add(6 * enough))
		return c.(*net.TCPConn), s.(*net.TCPConn)
	})
}
