package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/hosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const enough = 10 * time.Second

// zone is what a resolver of the host knows: name and type, and the records.
type zone map[string][]dnsmessage.Resource

func nameOf(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func rr(owner string, kind dnsmessage.Type, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: nameOf(owner), Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body}
}

func addr(owner, address string, ttl uint32) dnsmessage.Resource {
	a := netip.MustParseAddr(address)
	if a.Is4() {
		return rr(owner, dnsmessage.TypeA, ttl, &dnsmessage.AResource{A: a.As4()})
	}
	return rr(owner, dnsmessage.TypeAAAA, ttl, &dnsmessage.AAAAResource{AAAA: a.As16()})
}

func alias(owner, target string, ttl uint32) dnsmessage.Resource {
	return rr(owner, dnsmessage.TypeCNAME, ttl, &dnsmessage.CNAMEResource{CNAME: nameOf(target)})
}

// answer is a whole answer to a query: NXDOMAIN with an SOA where the zone has nothing of the
// name, what it has besides where its key is "also".
func (z zone) answer(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
	all, known := z[q.Name.String()]
	for _, r := range all {
		if r.Header.Type == q.Type || r.Header.Type == dnsmessage.TypeCNAME || r.Header.Name != q.Name {
			m.Answers = append(m.Answers, r)
		}
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	if len(m.Answers) == 0 {
		m.Authorities = []dnsmessage.Resource{rr("example.", dnsmessage.TypeSOA, 60, &dnsmessage.SOAResource{NS: nameOf("ns.example."), MBox: nameOf("root.example."), MinTTL: 30})}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// fake is an Upstream that answers from a zone.
type fake struct {
	zone  zone
	asked atomic.Int32
	err   error
	held  chan struct{} // not nil: an answer waits for it

	mu   sync.Mutex
	last []byte
}

func (f *fake) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	f.asked.Add(1)
	f.mu.Lock()
	f.last = query
	f.mu.Unlock()
	if f.held != nil {
		select {
		case <-f.held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.zone.answer(query), nil
}

// listed has some names of example, as a list with them would.
var listed = hosts.PolicyFunc(func(client netip.Addr, name string, port uint16) hosts.Verdict {
	switch {
	case port != 0:
		panic("DNS asks for any port")
	case name == "example.org", strings.HasSuffix(name, ".example"):
		return hosts.Allow
	case name == "watched.test":
		return hosts.Audit
	}
	return hosts.Refuse
})

// world is a server that listens on the loopback.
type world struct {
	*Server
	t        *testing.T
	at       string // address of both sockets
	upstream *fake

	mu       sync.Mutex
	answered []Answered
	refused  []Refused
	audited  []Refused
	failed   []error
}

func start(t *testing.T, up *fake, forbid func(netip.Addr) bool) *world {
	t.Helper()
	w := &world{t: t, upstream: up}
	var err error
	w.Server, err = New(Config{
		Policy:   listed,
		Resolver: NewResolver(up, forbid),
		Answered: func(_ context.Context, a Answered) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.answered = append(w.answered, a)
			if a.Name == "closed.example" {
				return errors.New("the firewall fails")
			}
			return nil
		},
		Refused: func(r Refused, v hosts.Verdict) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if v == hosts.Audit {
				w.audited = append(w.audited, r)
			} else {
				w.refused = append(w.refused, r)
			}
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
	udp, tcp := sockets(t)
	w.at = udp.LocalAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := w.ServePacket(ctx, udp); err != nil {
			t.Error(err)
		}
	})
	served.Go(func() {
		if err := w.ServeStream(ctx, tcp); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); served.Wait() })
	return w
}

// sockets are a UDP and a TCP one with the same port.
func sockets(t *testing.T) (*net.UDPConn, *net.TCPListener) {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp.(*net.UDPConn), tcp.(*net.TCPListener)
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// client is Go's own stub resolver, which follows truncation and aliases.
func (w *world) client() *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.at)
	}}
}

func (w *world) seen() (answered []Answered, refused, audited []Refused, failed []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(answered, w.answered...), append(refused, w.refused...), append(audited, w.audited...), append(failed, w.failed...)
}

// ask sends a message and reads the answer; nil: there is none.
func (w *world) ask(network string, query []byte) []byte {
	w.t.Helper()
	return exchange(w.t, network, w.at, query, enough)
}

func exchange(t *testing.T, network, at string, query []byte, within time.Duration) []byte {
	t.Helper()
	c, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65535)
	if network != "tcp" {
		n, err := c.Read(buf)
		if err != nil {
			return nil
		}
		return buf[:n]
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil
	}
	n := binary.BigEndian.Uint16(buf)
	if _, err := io.ReadFull(c, buf[:n]); err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// question is a query; edns of 0: it has no EDNS.
func question(name string, kind dnsmessage.Type, edns int) []byte {
	return build(dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: nameOf(name), Type: kind, Class: dnsmessage.ClassINET}},
	}, edns)
}

func build(m dnsmessage.Message, edns int) []byte {
	if edns > 0 {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(edns, 0, false); err != nil {
			panic(err)
		}
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{Options: []dnsmessage.Option{
			{Code: 8, Data: []byte{0, 1, 24, 0, 192, 0, 2}}, {Code: 10, Data: []byte("a cookie")},
		}}})
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func unpack(t *testing.T, b []byte) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return m
}

// resolvers writes a resolv.conf.
func resolvers(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
