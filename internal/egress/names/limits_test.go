package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// One client's queries, which nobody answers, keep no other client from being answered.
func TestClientsShareNothing(t *testing.T) {
	up := &fake{zone: world1, held: make(chan struct{})}
	w := start(t, up, nil)
	c, err := net.Dial("udp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline := time.Now().Add(enough)
	for sent := 0; up.asked.Load() < perClient; sent++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d queries are asked", up.asked.Load())
		}
		if _, err := c.Write(question(fmt.Sprintf("n%d.example.", sent), dnsmessage.TypeA, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if _, err := c.Write(question(fmt.Sprintf("more%d.example.", i), dnsmessage.TypeA, 0)); err != nil {
			t.Fatal(err)
		}
	}
	// Another client is refused what is not listed, for which nobody is asked: all before it
	// in the socket's queue have been looked at.
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	other, err := d.Dial("udp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	// What does not find room in the socket's queue is lost: clients ask again.
	for err = error(os.ErrDeadlineExceeded); errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline.Add(enough)); {
		if _, err := other.Write(question("evil.test.", dnsmessage.TypeA, 0)); err != nil {
			t.Fatal(err)
		}
		_ = other.SetReadDeadline(time.Now().Add(enough / 20))
		_, err = other.Read(make([]byte, 512))
	}
	if err != nil {
		t.Errorf("another client is not answered: %v", err)
	}
	if n := up.asked.Load(); n != perClient {
		t.Errorf("the resolver is asked %d queries of one client at a time, of %d", n, perClient)
	}
	close(up.held)
}

func TestConnectionsOfAClientAreBounded(t *testing.T) {
	w := start(t, &fake{zone: world1}, nil)
	for i := range connsClient + 1 {
		c, err := net.Dial("tcp", w.at)
		if err != nil && i < connsClient {
			t.Fatal(err)
		} else if err != nil {
			continue // it was reset before this has looked
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(enough))
		q := question("six.example.", dnsmessage.TypeA, 0)
		_, err = c.Write(append([]byte{0, byte(len(q))}, q...))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 2))
		}
		if (err == nil) != (i < connsClient) {
			t.Errorf("connection %d: %v", i+1, err)
		}
	}
}

// clock is a Resolver's time, which the test moves.
func clock(r *Resolver) func(time.Duration) {
	now := time.Now()
	r.now = func() time.Time { return now }
	return func(d time.Duration) { now = now.Add(d) }
}

func TestCache(t *testing.T) {
	up := &fake{zone: world1}
	var told []Answered
	r := NewResolver(up, nil)
	s, err := New(Config{Policy: listed, Resolver: r, Answered: func(_ context.Context, a Answered) error { told = append(told, a); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	pass := clock(r)
	client := netip.MustParseAddr("192.0.2.200")
	for _, c := range []struct {
		name  string
		after time.Duration // since the one before
		asked int32
		ttl   uint32 // of the first record
	}{
		{"six.example.", 0, 1, 60}, {"six.example.", 10 * time.Second, 1, 50}, {"SIX.example.", 49500 * time.Millisecond, 1, 1}, {"six.example.", 500 * time.Millisecond, 2, 60},
		{"www.example.", 0, 3, 300}, {"www.example.", 19 * time.Second, 3, 281}, {"www.example.", time.Second, 4, 300}, // its shortest has 20 s
		{"gone.example.", 0, 5, 0}, {"gone.example.", 29 * time.Second, 5, 0}, {"gone.example.", time.Second, 6, 0}, // the SOA says 30 s
	} {
		pass(c.after)
		told = nil
		m := unpack(t, s.answer(t.Context(), client, question(c.name, dnsmessage.TypeA, 0), false))
		if n := up.asked.Load(); n != c.asked {
			t.Errorf("%s after %s: asked %d times, want %d", c.name, c.after, n, c.asked)
		}
		if len(m.Answers) > 0 && (m.Answers[0].Header.TTL != c.ttl || len(told) != 1) {
			t.Errorf("%s after %s: %d s, want %d, and %v was told", c.name, c.after, m.Answers[0].Header.TTL, c.ttl, told)
		}
	}
}

// An address that is forbidden later is not given any more, cached or not.
func TestForbiddenLater(t *testing.T) {
	forbidden := false
	r := NewResolver(&fake{zone: world1}, func(netip.Addr) bool { return forbidden })
	if a, err := r.Lookup(t.Context(), "six.example"); err != nil || len(a) != 2 || !a[0].Is6() {
		t.Fatalf("%v, %v", a, err)
	}
	forbidden = true
	var f *Forbidden
	if a, err := r.Lookup(t.Context(), "six.example"); !errors.As(err, &f) {
		t.Errorf("%v, %v", a, err)
	}
}

// However many addresses a name has, so many are looked at.
func TestAddressesAreBounded(t *testing.T) {
	for _, forbidden := range []bool{false, true} {
		var f result
		for i := range 4000 {
			f.answers = append(f.answers, dnsmessage.Resource{Body: &dnsmessage.AResource{A: [4]byte{10, 0, byte(i >> 8), byte(i)}}})
		}
		f.answers = append(f.answers, dnsmessage.Resource{Body: &dnsmessage.CNAMEResource{}})
		asked := 0
		answers, addresses, dropped := f.usable(func(netip.Addr) bool { asked++; return forbidden })
		want := maxAddresses
		if forbidden {
			want = 0
		}
		if asked != maxAddresses || len(addresses) != want || len(answers) != want+1 || len(addresses)+len(dropped) != 4000 {
			t.Errorf("forbidden %t: asked for %d, %d addresses in %d answers, %d dropped", forbidden, asked, len(addresses), len(answers), len(dropped))
		}
	}
}

func TestLookupErrors(t *testing.T) {
	r := NewResolver(&fake{zone: world1}, nil)
	for name, want := range map[string]string{
		"gone.example":   "look up gone.example: the resolver answers that it does not exist (NXDOMAIN)",
		"mail.example":   "look up mail.example: it has no addresses",
		"inside.example": "",
	} {
		a, err := r.Lookup(t.Context(), name)
		if want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	broken := errors.New("broken")
	if _, err := NewResolver(&fake{err: broken}, nil).Lookup(t.Context(), "six.example"); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	now := time.Now()
	put := func(i, size int) {
		c.put(key{name: string(spell(i))}, result{at: now, ttl: time.Minute, size: size})
		total := 0
		for _, r := range c.of {
			total += r.size
		}
		if len(c.of) > maxCached || total > maxCachedBytes || total != c.bytes {
			t.Fatalf("%d results of %d bytes, counted as %d", len(c.of), total, c.bytes)
		}
		if _, ok := c.get(key{name: string(spell(i))}, now); !ok {
			t.Fatal("what was put last is not there")
		}
	}
	for i := range maxCached + 10 {
		put(i, 100)
	}
	for i := range 300 {
		put(i, 64000)
	}
	c.put(key{}, result{at: now})
	if _, ok := c.get(key{}, now); ok {
		t.Error("what must not be kept is kept")
	}
}

func spell(i int) []byte { return []byte{byte(i >> 8), byte(i)} }

// BenchmarkRefused is what a question for a name that is not listed costs, without its sockets.
func BenchmarkRefused(b *testing.B) {
	s, err := New(Config{Policy: listed, Resolver: NewResolver(&fake{zone: world1}, nil), Refused: func(Refused, hosts.Verdict) {}})
	if err != nil {
		b.Fatal(err)
	}
	client, q := netip.MustParseAddr("192.0.2.200"), question("data.evil.test.", dnsmessage.TypeA, 1232)
	b.ReportAllocs()
	for b.Loop() {
		if s.answer(b.Context(), client, q, false) == nil {
			b.Fatal("it is not answered")
		}
	}
}

// Whatever comes from a client or a resolver, an answer can be read, is to the question, and
// has no address that is refused.
func FuzzAnswer(f *testing.F) {
	for name := range world1 {
		for _, kind := range []dnsmessage.Type{1, 28, 15, 16, 33, 65, 257} {
			q := question(name, kind, 1232)
			f.Add(q, world1.answer(q))
		}
	}
	f.Add(question("2.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, 0), []byte{})
	f.Fuzz(func(t *testing.T, query, upstream []byte) {
		var told []netip.Addr
		s, err := New(Config{
			Policy: listed,
			Resolver: NewResolver(upstreamFunc(func(q []byte) []byte {
				if len(upstream) < 12 {
					return nil
				}
				u := bytes.Clone(upstream)
				copy(u, q[:2])
				return u
			}), ownBridge),
			Answered: func(_ context.Context, a Answered) error { told = append(told, a.Addresses...); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, stream := range []bool{false, true} {
			told = nil
			b := s.answer(t.Context(), netip.MustParseAddr("192.0.2.200"), query, stream)
			if b == nil {
				continue
			}
			var m dnsmessage.Message
			if err := m.Unpack(b); err != nil || !m.Response || !bytes.Equal(b[:2], query[:2]) || !stream && len(b) > maxUDP {
				t.Fatalf("%x is answered by %x, %+v: %v", query, b, m, err)
			}
			for _, r := range m.Answers {
				var a netip.Addr
				switch body := r.Body.(type) {
				case *dnsmessage.AResource:
					a = netip.AddrFrom4(body.A)
				case *dnsmessage.AAAAResource:
					a = netip.AddrFrom16(body.AAAA)
				default:
					continue
				}
				ok := false
				for _, x := range told {
					ok = ok || x == a
				}
				if !ok || s.cfg.Resolver.refused(a) {
					t.Fatalf("%s is given, and told are %v", a, told)
				}
			}
		}
	})
}

type upstreamFunc func([]byte) []byte

func (f upstreamFunc) Exchange(_ context.Context, q []byte) ([]byte, error) {
	if a := f(q); a != nil {
		return a, nil
	}
	return nil, errors.New("no answer")
}
