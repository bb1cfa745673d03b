package byname

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const enough = 10 * time.Second

// The addresses of the world. All are the host's own, and two of them are where clients are.
var (
	gateway  = netip.MustParseAddr("192.0.2.1")
	gateway6 = netip.MustParseAddr("2001:db8::1")
	app      = netip.MustParseAddr("192.0.2.11")
	app6     = netip.MustParseAddr("2001:db8::11")
	other    = netip.MustParseAddr("192.0.2.12")
	chosen   = netip.MustParseAddr("192.0.2.77") // what is sent to its ports 80 and 443 is led to the Server
	chosen6  = netip.MustParseAddr("2001:db8::77")
	site     = "192.0.2.5"
	site6    = "2001:db8::5"
)

// world is a namespace with a Server, and what it is given.
type world struct {
	*Server
	t    *testing.T
	host *nettest.Host

	mu       sync.Mutex
	zone     map[string][]string // addresses by name
	local    map[netip.Addr]bool
	recorded Ports
	led      Ports // where the rules lead
	refuse   error // to record
	closed   error // to open
	opened   []string
	seen     []denied.Key
	failed   []error
	lost     []error
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, host: nettest.Process(t), zone: map[string][]string{}, local: map[netip.Addr]bool{}}
	w.host.Run("ip", "address", "replace", "192.0.2.1/24", "dev", "lo")
	w.host.Run("ip", "address", "replace", "2001:db8::1/64", "dev", "lo", "nodad")
	for _, a := range []netip.Addr{app, other, app6, chosen6, netip.MustParseAddr(site6)} {
		w.host.Run("ip", "address", "replace", netip.PrefixFrom(a, a.BitLen()).String(), "dev", "lo", "nodad")
	}
	for _, iptables := range []string{"iptables", "ip6tables"} { // those of other tests
		w.host.Run(iptables, "-w", "-t", "nat", "-F", "OUTPUT")
	}
	before := goleak.IgnoreCurrent()
	var err error
	w.Server, err = New(Config{
		Resolvers: w, Local: w.isLocal, Recorded: w.ports, Record: w.record, Open: w.open,
		Seen:   func(k denied.Key, _ bool) { w.note(func() { w.seen = append(w.seen, k) }) },
		Failed: func(_ string, err error) { w.note(func() { w.failed = append(w.failed, err) }) },
		Lost:   func(err error) { w.note(func() { w.lost = append(w.lost, err) }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		if c := w.Counts(); c.TLS.Begun != c.TLS.Ended || c.HTTP.Begun != c.HTTP.Ended {
			t.Errorf("not all has ended: %+v", c)
		}
		goleak.VerifyNone(t, before)
	})
	return w
}

func (w *world) note(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) isLocal(a netip.Addr) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.local[a], nil
}

func (w *world) ports() (Ports, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.recorded, nil
}

// record fails if somebody could have come to the ports before.
func (w *world) record(p Ports) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse == nil {
		w.recorded = p
	}
	return w.refuse
}

func (w *world) open(_ context.Context, endpoint string, ways []Way, lasting time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, way := range ways {
		w.opened = append(w.opened, fmt.Sprintf("%s: %s at %s for %s", endpoint, way.Entry, way.To, lasting))
	}
	return w.closed
}

// Exchange is the resolver of the host.
func (w *world) Exchange(_ context.Context, query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	w.mu.Lock()
	addresses, known := w.zone[strings.TrimSuffix(q.Name.String(), ".")]
	w.mu.Unlock()
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	if !known {
		out.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range addresses {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 300}
		switch a := netip.MustParseAddr(text); {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			out.Answers = append(out.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return out.Pack()
}

// told is what the Server has told of up to now.
func (w *world) told() (opened []string, seen []denied.Key, failed, lost []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.opened), slices.Clone(w.seen), slices.Clone(w.failed), slices.Clone(w.lost)
}

// clientWith is the client at app, and at app6, with a list.
func clientWith(names egress.Named) Client {
	return Client{Network: "n1", Endpoint: "e1", Bridge: "br0", Link: "veth1", V4: app, V6: app6, Names: names}
}

// follow has the Server follow a set, and the rules of the namespace lead to it.
func (w *world) follow(s Set) Ports {
	w.t.Helper()
	at, err := w.Follow(s)
	if err != nil {
		w.t.Fatal(err)
	}
	if at == w.led { // without a rule, for a moment, the kernel would not translate what has begun
		return at
	}
	w.led = at
	for iptables, a := range map[string][2]netip.Addr{"iptables": {chosen, gateway}, "ip6tables": {chosen6, gateway6}} {
		w.host.Run(iptables, "-w", "-t", "nat", "-F", "OUTPUT")
		if at != (Ports{}) {
			w.host.Run(iptables, "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", a[0].String(), "-m", "multiport", "--dports", "80,443",
				"-j", "DNAT", "--to-destination", netip.AddrPortFrom(a[1], at.TCP).String())
		}
	}
	return at
}

// listed has a Server follow one client, and a network of its own at 192.0.2.128/25.
func (w *world) listed(names egress.Named) Ports {
	w.t.Helper()
	return w.follow(Set{Listen: true, Clients: []Client{clientWith(names)}, Own: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}})
}

// ask asks for the addresses of a name, at an address of the host and from one.
func (w *world) ask(network string, from, at netip.Addr, name string, kind dnsmessage.Type) (dnsmessage.RCode, []string) {
	w.t.Helper()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		w.t.Fatal(err)
	}
	d := net.Dialer{Timeout: enough, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	c, err := d.Dial(network, netip.AddrPortFrom(at, w.Ports().DNS).String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(enough))
	if _, err := c.Write(b); err != nil {
		w.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if network == "tcp" && err == nil {
		size := int(binary.BigEndian.Uint16(buf))
		_, err = io.ReadFull(c, buf[n:max(n, 2+size)])
		buf, n = buf[2:], size
	}
	if err != nil {
		w.t.Fatalf("%s of %s, asked from %s at %s: %v", kind, name, from, at, err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil {
		w.t.Fatal(err)
	}
	var addresses []string
	for _, r := range m.Answers {
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			addresses = append(addresses, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			addresses = append(addresses, netip.AddrFrom16(b.AAAA).String())
		}
	}
	return m.RCode, addresses
}

// sites serves HTTP and HTTPS at 192.0.2.5 and 2001:db8::5, and says who was asked for.
func (w *world) sites() *httptest.Server {
	w.t.Helper()
	answer := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		at := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintf(rw, "%s at %s", r.Host, at)
	})
	var secure *httptest.Server
	for _, a := range []string{site, site6} {
		for _, port := range []string{"80", "443"} {
			s := httptest.NewUnstartedServer(answer)
			s.Listener.Close()
			s.Listener = w.host.Listen("tcp", net.JoinHostPort(a, port))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			if port == "443" {
				s.StartTLS()
				secure = s // all have httptest's certificate
			} else {
				s.Start()
			}
			w.t.Cleanup(s.Close)
		}
	}
	return secure
}

// get asks for a page from an address, at whatever address the client has chosen.
func (w *world) get(s *httptest.Server, from netip.Addr, url string) (string, error) {
	to := chosen
	if from.Is6() {
		to = chosen6
	}
	transport := s.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	transport.DialContext = func(ctx context.Context, _, at string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		return d.DialContext(ctx, "tcp", net.JoinHostPort(to.String(), port))
	}
	r, err := (&http.Client{Transport: transport, Timeout: enough}).Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(r.Status))
	}
	return string(b), err
}

// handshake begins TLS with a host, and leaves the connection open.
func (w *world) handshake(s *httptest.Server, from netip.Addr, name string) (*tls.Conn, error) {
	c := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	c.ServerName = name
	d := net.Dialer{Timeout: enough, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	return tls.DialWithDialer(&d, "tcp", net.JoinHostPort(chosen.String(), "443"), c)
}

// handshakeWith begins TLS with a host, as change says, and closes the connection.
func (w *world) handshakeWith(s *httptest.Server, from netip.Addr, name string, change func(*tls.Config)) error {
	c := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	c.ServerName = name
	change(c)
	d := net.Dialer{Timeout: enough, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := tls.DialWithDialer(&d, "tcp", net.JoinHostPort(chosen.String(), "443"), c)
	if err != nil {
		return err
	}
	return conn.Close()
}

// listening are the ports of the host at which somebody listens, of the ranges that are looked
// for first.
func listening(t *testing.T) (n int) {
	t.Helper()
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var slot int
			var addr string
			var port, remote, state uint64
			if k, _ := fmt.Sscanf(strings.ReplaceAll(line, ":", " "), "%d %s %x %s %x %x", &slot, &addr, &port, new(string), &remote, &state); k < 6 {
				continue
			}
			if (state == 10 || state == 7) && (port >= firstDNS && port < firstDNS+among || port >= firstTCP && port < firstTCP+among) {
				n++
			}
		}
	}
	return n
}
