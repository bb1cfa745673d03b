package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/hosts"
)

var world1 = zone{
	"www.example.": {
		alias("www.example.", "Edge.cdn.test.", 300), alias("edge.cdn.test.", "pop.cdn.test.", 20),
		addr("pop.cdn.test.", "192.0.2.1", 60), addr("pop.cdn.test.", "192.0.2.2", 60), addr("other.test.", "192.0.2.99", 60),
	},
	"six.example.":    {addr("six.example.", "2001:db8::6", 60), addr("six.example.", "192.0.2.6", 60)},
	"watched.test.":   {addr("watched.test.", "192.0.2.7", 60)},
	"closed.example.": {addr("closed.example.", "192.0.2.8", 60)},
	"mail.example.": {
		rr("mail.example.", dnsmessage.TypeMX, 60, &dnsmessage.MXResource{Pref: 10, MX: nameOf("mx.example.")}),
		rr("mail.example.", dnsmessage.TypeTXT, 60, &dnsmessage.TXTResource{TXT: []string{"v=spf1 -all"}}),
		rr("mail.example.", 257, 60, &dnsmessage.UnknownResource{Type: 257, Data: []byte("\x00\x05issueca.example")}),
		rr("mail.example.", 65, 60, &dnsmessage.UnknownResource{Type: 65, Data: []byte{0, 1, 0, 0, 4, 0, 4, 192, 0, 2, 9}}),
	},
	"_sip._tcp.example.": {rr("_sip._tcp.example.", dnsmessage.TypeSRV, 60, &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 5060, Target: nameOf("sip.example.")})},
	"inside.example.":    {addr("inside.example.", "127.0.0.1", 60), addr("inside.example.", "172.18.0.1", 60)},
	"mixed.example.":     {addr("mixed.example.", "169.254.169.254", 60), addr("mixed.example.", "192.0.2.10", 60), addr("mixed.example.", "::ffff:192.0.2.11", 60)},
	"loop.example.":      {alias("loop.example.", "loop2.example.", 60), alias("loop2.example.", "loop.example.", 60)},
	"two.example.":       {alias("two.example.", "a.example.", 60), alias("two.example.", "b.example.", 60)},
}

// ownBridge is a range of the host's.
func ownBridge(a netip.Addr) bool { return netip.MustParsePrefix("172.18.0.0/16").Contains(a) }

func TestRealClient(t *testing.T) {
	w := start(t, &fake{zone: world1}, ownBridge)
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	c := w.client()
	if a, err := c.LookupNetIP(ctx, "ip4", "www.example."); err != nil || !slices.Equal(a, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}) {
		t.Errorf("www.example has %v, %v", a, err)
	}
	if a, err := c.LookupNetIP(ctx, "ip6", "six.example."); err != nil || !slices.Equal(a, []netip.Addr{netip.MustParseAddr("2001:db8::6")}) {
		t.Errorf("six.example has %v, %v", a, err)
	}
	if mx, err := c.LookupMX(ctx, "mail.example."); err != nil || len(mx) != 1 || mx[0].Host != "mx.example." {
		t.Errorf("the mail exchangers are %v, %v", mx, err)
	}
	if txt, err := c.LookupTXT(ctx, "mail.example."); err != nil || !slices.Equal(txt, []string{"v=spf1 -all"}) {
		t.Errorf("the texts are %v, %v", txt, err)
	}
	if _, srv, err := c.LookupSRV(ctx, "sip", "tcp", "example."); err != nil || len(srv) != 1 || srv[0].Port != 5060 {
		t.Errorf("the services are %v, %v", srv, err)
	}
	if n, err := c.LookupAddr(ctx, "192.0.2.2"); err != nil || !slices.Equal(n, []string{"www.example."}) {
		t.Errorf("192.0.2.2 has the names %v, %v", n, err)
	}
	if n, err := c.LookupAddr(ctx, "2001:db8::6"); err != nil || !slices.Equal(n, []string{"six.example."}) {
		t.Errorf("2001:db8::6 has the names %v, %v", n, err)
	}
	var e *net.DNSError
	if a, err := c.LookupNetIP(ctx, "ip4", "gone.example."); !errors.As(err, &e) || !e.IsNotFound {
		t.Errorf("gone.example has %v, %v", a, err)
	}
	asked := w.upstream.asked.Load()
	for _, name := range []string{"evil.test.", "pop.cdn.test.", "inside.example."} {
		if a, err := c.LookupNetIP(ctx, "ip4", name); err == nil {
			t.Errorf("%s has %v", name, a)
		}
	}
	if n, err := c.LookupAddr(ctx, "192.0.2.200"); err == nil {
		t.Errorf("192.0.2.200 has the names %v", n)
	}
	if n := w.upstream.asked.Load() - asked; n != 1 {
		t.Errorf("the resolver was asked %d times for names that are not listed", n-1)
	}
}

func TestWhatIsGivenIsToldFirst(t *testing.T) {
	w := start(t, &fake{zone: world1}, ownBridge)
	for _, c := range []struct {
		name, addresses string
		kind            dnsmessage.Type
		ttl             time.Duration
		verdict         hosts.Verdict
	}{
		{"WWW.example.", "[192.0.2.1 192.0.2.2]", dnsmessage.TypeA, 20 * time.Second, hosts.Allow},
		{"six.example.", "[2001:db8::6]", dnsmessage.TypeAAAA, time.Minute, hosts.Allow},
		{"watched.test.", "[192.0.2.7]", dnsmessage.TypeA, time.Minute, hosts.Audit},
		{"mixed.example.", "[192.0.2.10]", dnsmessage.TypeA, time.Minute, hosts.Allow},
	} {
		before, _, _, _ := w.seen()
		m := unpack(t, w.ask("udp", question(c.name, c.kind, 0)))
		if m.RCode != 0 || len(m.Answers) == 0 {
			t.Errorf("%s: %+v", c.name, m)
		}
		answered, _, _, _ := w.seen()
		if len(answered) != len(before)+1 {
			t.Fatalf("%s: %v was told", c.name, answered)
		}
		a := answered[len(before)]
		if a.Name != strings.ToLower(strings.TrimSuffix(c.name, ".")) || fmt.Sprint(a.Addresses) != c.addresses || a.TTL != c.ttl || a.Verdict != c.verdict || a.Client != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: %+v was told", c.name, a)
		}
	}
	if _, _, audited, _ := w.seen(); len(audited) != 1 || audited[0].Name != "watched.test" {
		t.Errorf("%v would have been refused", audited)
	}
	if m := unpack(t, w.ask("udp", question("closed.example.", dnsmessage.TypeA, 0))); m.RCode != dnsmessage.RCodeServerFailure || len(m.Answers) != 0 {
		t.Errorf("what has no way is answered by %+v", m)
	}
	if _, _, _, failed := w.seen(); len(failed) != 1 || !strings.Contains(failed[0].Error(), "the firewall fails") {
		t.Errorf("%v was told", failed)
	}
}

func TestCodes(t *testing.T) {
	w := start(t, &fake{zone: world1}, ownBridge)
	chaos := build(dnsmessage.Message{Questions: []dnsmessage.Question{{Name: nameOf("version.bind."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassCHAOS}}}, 0)
	for _, c := range []struct {
		what  string
		query []byte
		code  dnsmessage.RCode
		asks  bool
	}{
		{"A", question("six.example.", dnsmessage.TypeA, 0), 0, true},
		{"an unknown type", question("mail.example.", 257, 0), 0, true},
		{"a name that is not there", question("gone.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeNameError, true},
		{"HTTPS", question("mail.example.", 65, 0), 0, false},
		{"SVCB", question("mail.example.", 64, 0), 0, false},
		{"a name that is not listed", question("evil.test.", dnsmessage.TypeA, 1232), dnsmessage.RCodeRefused, false},
		{"TXT of one", question("data.evil.test.", dnsmessage.TypeTXT, 0), dnsmessage.RCodeRefused, false},
		{"HTTPS of one", question("evil.test.", 65, 0), dnsmessage.RCodeRefused, false},
		{"ANY", question("six.example.", 255, 0), dnsmessage.RCodeRefused, false},
		{"AXFR", question("six.example.", 252, 0), dnsmessage.RCodeRefused, false},
		{"IXFR", question("six.example.", 251, 0), dnsmessage.RCodeRefused, false},
		{"MB", question("six.example.", 7, 0), dnsmessage.RCodeRefused, false},
		{"NULL", question("six.example.", 10, 0), dnsmessage.RCodeRefused, false},
		{"OPT as a question", question("six.example.", dnsmessage.TypeOPT, 0), dnsmessage.RCodeFormatError, false},
		{"CHAOS", chaos, dnsmessage.RCodeRefused, false},
		{"the root", question(".", dnsmessage.TypeNS, 0), dnsmessage.RCodeRefused, false},
		{"a name with other characters", question("a b.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeRefused, false},
		{"PTR of an address that was not given", question("1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, 0), dnsmessage.RCodeRefused, false},
		{"PTR of no address", question("1.in-addr.arpa.", dnsmessage.TypePTR, 0), dnsmessage.RCodeRefused, false},
		{"aliases that go round", question("loop.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeServerFailure, true},
		{"an alias of two", question("two.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeServerFailure, true},
		{"addresses inside", question("inside.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeRefused, true},
		{"an IPv4 address as an IPv6 one", question("mixed.example.", dnsmessage.TypeAAAA, 0), dnsmessage.RCodeRefused, true},
		{"another operation", build(dnsmessage.Message{Header: dnsmessage.Header{OpCode: 5}}, 0), dnsmessage.RCodeNotImplemented, false},
		{"no question", build(dnsmessage.Message{}, 0), dnsmessage.RCodeFormatError, false},
		{"half a question", question("six.example.", dnsmessage.TypeA, 0)[:20], dnsmessage.RCodeFormatError, false},
		{"an answer in the query", build(dnsmessage.Message{Questions: []dnsmessage.Question{{Name: nameOf("six.example."), Type: 1, Class: 1}}, Answers: []dnsmessage.Resource{addr("six.example.", "192.0.2.1", 1)}}, 0), dnsmessage.RCodeFormatError, false},
		{"two OPTs", build(dnsmessage.Message{Questions: []dnsmessage.Question{{Name: nameOf("six.example."), Type: 1, Class: 1}}, Additionals: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: nameOf("."), Type: dnsmessage.TypeOPT}, Body: &dnsmessage.OPTResource{}}}}, 512), dnsmessage.RCodeFormatError, false},
	} {
		for _, network := range []string{"udp", "tcp"} {
			asked := w.upstream.asked.Load()
			m := unpack(t, w.ask(network, c.query))
			if m.RCode != c.code || m.ID != uint16(c.query[0])<<8|uint16(c.query[1]) || !m.Response {
				t.Errorf("%s by %s: %+v, want code %s", c.what, network, m, c.code)
			}
			if c.code != 0 && len(m.Answers) > 0 {
				t.Errorf("%s by %s: has answers", c.what, network)
			}
			if n := w.upstream.asked.Load() - asked; n > 0 && !c.asks {
				t.Errorf("%s by %s: asks the resolver", c.what, network)
			}
			w.cfg.Resolver.cache.mu.Lock()
			w.cfg.Resolver.cache.of = nil
			w.cfg.Resolver.cache.mu.Unlock()
		}
	}
}

// What is wrong with a query can be read in the answer, where the client can have that.
func TestReasonIsTold(t *testing.T) {
	w := start(t, &fake{zone: world1}, ownBridge)
	m := unpack(t, w.ask("udp", question("evil.test.", dnsmessage.TypeA, 1232)))
	var why string
	for _, r := range m.Additionals {
		if o, ok := r.Body.(*dnsmessage.OPTResource); ok && len(o.Options) == 1 && o.Options[0].Code == 15 && bytes.HasPrefix(o.Options[0].Data, []byte{0, 18}) {
			why = string(o.Options[0].Data[2:])
		}
	}
	_, refused, _, _ := w.seen()
	if !strings.Contains(why, "not on the list") || len(refused) != 1 || refused[0].Reason != why || refused[0].Name != "evil.test" || refused[0].Type != "A" {
		t.Errorf("%q is answered, and %+v told", why, refused)
	}
}

func TestNothingForWhatIsNoQuery(t *testing.T) {
	w := start(t, &fake{zone: world1}, nil)
	response := question("six.example.", dnsmessage.TypeA, 0)
	response[2] |= 0x80
	for _, b := range [][]byte{nil, {1}, make([]byte, 11), response} {
		if a := w.answer(t.Context(), netip.MustParseAddr("192.0.2.200"), b, false); a != nil {
			t.Errorf("%x is answered by %x", b, a)
		}
	}
}

// Nothing of the client's message but the question reaches the resolver, and the client gets
// its own spelling back.
func TestWhatIsPassedOn(t *testing.T) {
	w := start(t, &fake{zone: world1}, nil)
	m := unpack(t, w.ask("udp", question("sIx.ExAmPlE.", dnsmessage.TypeA, 4096)))
	if m.Questions[0].Name.String() != "sIx.ExAmPlE." || m.Answers[0].Header.Name.String() != "sIx.ExAmPlE." {
		t.Errorf("%+v", m)
	}
	w.upstream.mu.Lock()
	last := w.upstream.last
	w.upstream.mu.Unlock()
	up := unpack(t, last)
	if up.Questions[0].Name.String() != "six.example." || len(up.Additionals) != 1 || len(up.Additionals[0].Body.(*dnsmessage.OPTResource).Options) != 0 {
		t.Errorf("the resolver was asked %+v", up)
	}
	for _, r := range m.Additionals {
		if o := r.Body.(*dnsmessage.OPTResource); len(o.Options) != 0 {
			t.Errorf("the answer has the options %v", o.Options)
		}
	}
}

// An alias's target is answered for its name, and records of others are not.
func TestAnswersAreOfTheQuestion(t *testing.T) {
	w := start(t, &fake{zone: world1}, nil)
	m := unpack(t, w.ask("udp", question("www.example.", dnsmessage.TypeA, 0)))
	var got []string
	for _, r := range m.Answers {
		got = append(got, r.Header.Name.String())
	}
	if want := []string{"www.example.", "edge.cdn.test.", "pop.cdn.test.", "pop.cdn.test."}; !slices.Equal(got, want) {
		t.Errorf("the answers are of %v, want %v", got, want)
	}
}

func TestLongAnswersAreTruncated(t *testing.T) {
	z := zone{}
	for i := range 200 {
		z["long.example."] = append(z["long.example."], addr("long.example.", fmt.Sprintf("192.0.2.%d", i), 60))
	}
	w := start(t, &fake{zone: z}, nil)
	for _, edns := range []int{0, 100, 1232, 65000} {
		b := w.ask("udp", question("long.example.", dnsmessage.TypeA, edns))
		if m := unpack(t, b); !m.Truncated || len(m.Answers) != 0 || len(b) > 512 {
			t.Errorf("EDNS %d: %d bytes, %+v", edns, len(b), m)
		}
	}
	a, err := w.client().LookupNetIP(t.Context(), "ip4", "long.example.")
	if err != nil || len(a) != maxAddresses {
		t.Errorf("a client gets %d addresses, %v", len(a), err)
	}
}

func TestConnectionServesManyQueries(t *testing.T) {
	w := start(t, &fake{zone: world1}, nil)
	c, err := net.Dial("tcp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(enough))
	q := question("six.example.", dnsmessage.TypeA, 0)
	for range 3 { // at once
		if _, err := c.Write(append([]byte{0, byte(len(q))}, q...)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		var size [2]byte
		if _, err := c.Read(size[:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size[1])
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		if m := unpack(t, b); len(m.Answers) != 1 {
			t.Errorf("%+v", m)
		}
	}
}
