package byname

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/nettest"
)

const kindA, kindAAAA = dnsmessage.TypeA, dnsmessage.TypeAAAA

// A client gets what its list has, by DNS, TLS and HTTP, in both families; nobody else gets it.
func TestServesTheListed(t *testing.T) {
	w := start(t)
	secure := w.sites()
	w.zone["example.com"] = []string{site, site6}
	w.zone["www.example.com"] = []string{site, site6}
	w.listed("example.com")
	for _, network := range []string{"udp", "tcp"} {
		for _, from := range []struct{ client, at netip.Addr }{{app, gateway}, {app6, gateway6}} {
			if code, got := w.ask(network, from.client, from.at, "Example.com", kindA); code != dnsmessage.RCodeSuccess || !slices.Equal(got, []string{site}) {
				t.Errorf("%s from %s: %v, %v", network, from.client, code, got)
			}
			if code, got := w.ask(network, from.client, from.at, "example.com", kindAAAA); code != dnsmessage.RCodeSuccess || !slices.Equal(got, []string{site6}) {
				t.Errorf("%s from %s: %v, %v", network, from.client, code, got)
			}
			if code, _ := w.ask(network, from.client, from.at, "www.example.com", kindA); code != dnsmessage.RCodeRefused {
				t.Errorf("%s from %s: a name that is not listed: %v", network, from.client, code)
			}
		}
		if code, _ := w.ask(network, other, gateway, "example.com", kindA); code != dnsmessage.RCodeRefused {
			t.Errorf("%s: somebody else's question: %v", network, code)
		}
	}
	for _, from := range []netip.Addr{app, app6} {
		for _, scheme := range []string{"http", "https"} {
			if got, err := w.get(secure, from, scheme+"://example.com/"); err != nil || !strings.HasPrefix(got, "example.com at ") {
				t.Errorf("%s from %s: %q, %v", scheme, from, got, err)
			}
		}
		if got, err := w.get(secure, from, "https://www.example.com/"); err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("a host that is not listed, from %s: %q, %v", from, got, err)
		}
		if got, err := w.get(secure, from, "http://www.example.com/"); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a host that is not listed, from %s: %q, %v", from, got, err)
		}
	}
	if got, err := w.get(secure, other, "https://example.com/"); err == nil {
		t.Errorf("somebody else gets %q", got)
	}
	c := w.Counts()
	if c.DNS.Answered != 8 || c.DNS.Refused != 6 || c.HTTP.Begun != 4 || c.Refused != 5 || c.In == 0 || c.Out == 0 {
		t.Errorf("counted: %+v", c)
	}
	var seen []string
	_, keys, _, _ := w.told()
	for _, k := range keys {
		seen = append(seen, k.Network+" "+k.Endpoint+" "+k.String())
	}
	slices.Sort(seen)
	want := []string{`n1 e1 dns "www.example.com"`, `n1 e1 tcp "www.example.com" port 443`, `n1 e1 tcp "www.example.com" port 80`}
	if got := slices.Compact(seen); !slices.Equal(got, want) {
		t.Errorf("%q were told, want %q", got, want)
	}
}

// Which name a client was given an address for is known of that client, in both families, as long as
// it may be used, and of nobody when nothing is served.
func TestGiven(t *testing.T) {
	w := start(t)
	w.zone["example.com"] = []string{site, site6}
	w.zone["example.org"] = []string{site}
	known := func(from netip.Addr, to, want string) {
		t.Helper()
		if got := w.Given(from, netip.MustParseAddr(to)); got != want {
			t.Errorf("%s of %s: %q, want %q", to, from, got, want)
		}
	}
	known(app, site, "")
	w.listed("example.com,example.org")
	known(app, site, "")
	w.ask("udp", app, gateway, "example.com", kindA)
	w.ask("udp", app6, gateway6, "example.com", kindAAAA)
	known(app, site, "example.com")
	known(app, "::ffff:"+site, "example.com")
	known(app6, site6, "example.com")
	known(app, "192.0.2.6", "")
	known(other, site, "")
	w.ask("udp", app, gateway, "example.org", kindA)
	known(app, site, "example.org") // what it was given last
	w.ask("udp", app, gateway, "www.example.net", kindA)
	known(app, site, "example.org")
	w.follow(Set{})
	w.Settled()
	known(app, site, "")
}

// A list that changes counts for what begins from then on, and ends what it has no longer; what
// others have begun goes on.
func TestListsChange(t *testing.T) {
	w := start(t)
	secure := w.sites()
	w.zone["example.com"] = []string{site}
	stays := Client{Endpoint: "e2", V4: other, Names: "example.com"}
	set := func(clients ...Client) { t.Helper(); w.follow(Set{Listen: true, Clients: clients}) }
	set(clientWith("example.com"), stays)
	ends, err := w.handshake(secure, app, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	goesOn, err := w.handshake(secure, other, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer goesOn.Close()
	set(clientWith("example.com,example.org"), stays)
	if _, err := fmt.Fprint(ends, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := ends.Read(make([]byte, 4096)); err != nil {
		t.Errorf("a list that has more ends a connection: %v", err)
	}
	set(clientWith("example.org"), stays)
	if _, err := ends.Read(make([]byte, 4096)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection to a host that is not listed any more: %v", err)
	}
	if c, err := w.handshake(secure, app, "example.com"); err == nil {
		c.Close()
		t.Error("a connection begins to a host that is not listed any more")
	}
	if _, err := fmt.Fprint(goesOn, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := goesOn.Read(make([]byte, 4096)); err != nil {
		t.Errorf("another one's connection: %v", err)
	}
	set(stays) // the other container has gone
	if code, _ := w.ask("udp", app, gateway, "example.org", kindA); code != dnsmessage.RCodeRefused {
		t.Errorf("a container that has gone: %v", code)
	}
}

// Nothing is listened for until something has names; then at the same ports, whoever asks, until
// nothing has names and no rules lead there any more.
func TestPortsStay(t *testing.T) {
	w := start(t)
	if at := w.follow(Set{}); at != (Ports{}) || listening(t) > 0 {
		t.Fatalf("it listens at %v for nobody", at)
	}
	first := w.follow(Set{Listen: true})
	if first.DNS == 0 || first.TCP == 0 || first != w.recorded || first != w.Ports() || listening(t) == 0 {
		t.Fatalf("it listens at %v, recorded are %v", first, w.recorded)
	}
	if at := w.listed("example.com"); at != first {
		t.Errorf("a client more, and it listens at %v, not %v", at, first)
	}
	if at := w.follow(Set{}); at != (Ports{}) || w.Ports() != (Ports{}) || listening(t) == 0 {
		t.Errorf("rules may lead there, and it listens at %v, in %d sockets", at, listening(t))
	}
	if at := w.follow(Set{Listen: true}); at != first {
		t.Errorf("names come again, and it listens at %v, not %v", at, first)
	}
	w.Settled()
	if listening(t) == 0 {
		t.Error("it has stopped though something has names")
	}
	w.follow(Set{})
	w.Settled()
	if n := listening(t); n > 0 {
		t.Errorf("%d sockets are left", n)
	}

	// Somebody else has the ports now.
	for network, port := range map[string]uint16{"udp": first.DNS, "tcp": first.TCP} {
		if network == "udp" {
			c := w.host.ListenPacket(network, netip.AddrPortFrom(gateway, port).String())
			defer c.Close()
			continue
		}
		l := w.host.Listen(network, netip.AddrPortFrom(gateway, port).String())
		defer l.Close()
	}
	second := w.follow(Set{Listen: true})
	if second.DNS == first.DNS || second.TCP == first.TCP || second.DNS == 0 || second.TCP == 0 || w.recorded != second {
		t.Errorf("it listens at %v, recorded are %v, and %v are in use", second, w.recorded, first)
	}
	w.Close()
	if at := w.follow(Set{Listen: true}); at != second {
		t.Errorf("the next process listens at %v, not %v", at, second)
	}
	w.Close()
	w.recorded, w.refuse = Ports{}, errors.New("the disk is full")
	others := listening(t)
	if at, err := w.Follow(Set{Listen: true}); at != (Ports{}) || !errors.Is(err, w.refuse) || listening(t) != others {
		t.Errorf("ports that can't be recorded: %v, %v, and %d sockets more", at, err, listening(t)-others)
	}
}

// What of a name is not carried is opened before the answer of DNS is sent, in the families that
// the client has, and no answer is sent if that fails.
func TestOpensWays(t *testing.T) {
	w := start(t)
	w.zone["git.example.com"] = []string{"198.51.100.7", "198.51.100.8", "2001:db8:7::7"}
	w.zone["example.com"] = []string{"198.51.100.9"}
	w.listed("*.example.com:22,example.com,git.example.com/udp")
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want []string
	}{
		{"git.example.com", kindA, []string{
			"e1: git.example.com/udp at 198.51.100.7 for 5m30s", "e1: *.example.com:22 at 198.51.100.7 for 5m30s",
			"e1: git.example.com/udp at 198.51.100.8 for 5m30s", "e1: *.example.com:22 at 198.51.100.8 for 5m30s",
		}},
		{"git.example.com", kindAAAA, []string{"e1: git.example.com/udp at 2001:db8:7::7 for 5m30s", "e1: *.example.com:22 at 2001:db8:7::7 for 5m30s"}},
		{"example.com", kindA, nil},
	} {
		w.note(func() { w.opened = nil })
		if code, got := w.ask("udp", app, gateway, c.name, c.kind); code != dnsmessage.RCodeSuccess || len(got) == 0 {
			t.Errorf("%s %v: %v, %v", c.name, c.kind, code, got)
		}
		if opened, _, _, _ := w.told(); !slices.Equal(opened, c.want) {
			t.Errorf("%s %v opens %q, want %q", c.name, c.kind, opened, c.want)
		}
	}
	w.note(func() { w.closed = errors.New("the rules can't be made") })
	if code, got := w.ask("udp", app, gateway, "git.example.com", kindA); code != dnsmessage.RCodeServerFailure || len(got) > 0 {
		t.Errorf("the way can't be opened: %v, %v", code, got)
	}
	if _, _, failed, _ := w.told(); len(failed) != 1 || !strings.Contains(failed[0].Error(), "the rules can't be made") {
		t.Errorf("%v was told", failed)
	}
	w.note(func() { w.opened, w.closed = nil, nil })
	only4 := clientWith("git.example.com:22")
	only4.V6 = netip.Addr{}
	w.follow(Set{Listen: true, Clients: []Client{only4}})
	code, _ := w.ask("udp", app, gateway, "git.example.com", kindAAAA)
	if opened, _, _, _ := w.told(); code != dnsmessage.RCodeSuccess || len(opened) > 0 {
		t.Errorf("addresses that the client can't send to: %v, %q", code, opened)
	}
}

// No name leads to the host or to a network of mybr's, whatever its DNS says (rebinding).
func TestLeadsNowhereInside(t *testing.T) {
	w := start(t)
	secure := w.sites()
	w.local[netip.MustParseAddr("192.0.2.6")] = true
	for name, addresses := range map[string][]string{
		"host.example.com": {"192.0.2.6"}, "neighbour.example.com": {"192.0.2.130"}, "loopback.example.com": {"127.0.0.1"}, "metadata.example.com": {"169.254.169.254"},
	} {
		w.zone[name] = addresses
	}
	w.listed("*.example.com")
	for name := range w.zone {
		if code, got := w.ask("udp", app, gateway, name, kindA); code != dnsmessage.RCodeRefused || len(got) > 0 {
			t.Errorf("DNS, %s: %v, %v", name, code, got)
		}
		if c, err := w.handshake(secure, app, name); err == nil {
			c.Close()
			t.Errorf("TLS, %s: it is reached", name)
		}
	}
	if n := w.Counts().Unreachable; n != uint64(len(w.zone)) {
		t.Errorf("%d could not be reached, want %d", n, len(w.zone))
	}
}

// A socket that fails is told of, and the next Follow has another.
func TestSocketThatFails(t *testing.T) {
	w := start(t)
	w.zone["example.com"] = []string{site}
	w.listed("example.com")
	w.Server.mu.Lock()
	broken := w.run
	w.Server.mu.Unlock()
	w.Server.lost(broken, errors.New("it was closed"))
	if _, _, _, lost := w.told(); len(lost) != 1 || w.Ports() != (Ports{}) {
		t.Errorf("%v was told, and it listens at %v", lost, w.Ports())
	}
	w.listed("example.com")
	if code, _ := w.ask("udp", app, gateway, "example.com", kindA); code != dnsmessage.RCodeSuccess {
		t.Errorf("afterwards: %v", code)
	}
}

// What names no host is told of by the address that it was meant for: TLS without a name or with an
// encrypted one, and what is neither TLS nor HTTP.
func TestTellsOfWhatNamesNoHost(t *testing.T) {
	w := start(t)
	secure := w.sites()
	w.zone["example.com"] = []string{site, site6}
	w.listed("example.com")
	anyServer := func(c *tls.Config) { c.InsecureSkipVerify = true }
	for i, c := range []struct {
		what string
		try  func() error
	}{
		{"no name", func() error { return w.handshakeWith(secure, app, site, anyServer) }}, // an address is not sent (RFC 6066, section 3)
		{"an encrypted name", func() error {
			return w.handshakeWith(secure, app, "example.com", func(c *tls.Config) { c.EncryptedClientHelloConfigList = encryptedBy(t, "example.com") })
		}},
		{"neither TLS nor HTTP", func() error {
			d := net.Dialer{Timeout: enough, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(app, 0))}
			c, err := d.Dial("tcp", net.JoinHostPort(chosen.String(), "443"))
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err = c.Write([]byte{0}); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			return err
		}},
	} {
		if err := c.try(); err == nil {
			t.Errorf("%s: nothing is refused", c.what)
		}
		_, seen, _, _ := w.told()
		if want := (denied.Key{Network: "n1", Endpoint: "e1", Address: chosen, Port: 443, Protocol: "tcp"}); len(seen) != i+1 || seen[i] != want {
			t.Errorf("%s: told %v, want %v once more", c.what, seen, want)
		}
	}
}

// encryptedBy is an ECHConfigList (RFC 9849, section 4) of a server with this public name, with a key
// of nobody's.
func encryptedBy(t *testing.T, public string) []byte {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{1, 0, 0x20, 0, 32} // config_id, DHKEM(X25519, HKDF-SHA256), and the length of the key
	b = append(b, key.PublicKey().Bytes()...)
	b = append(b, 0, 4, 0, 1, 0, 1, 0, byte(len(public))) // HKDF-SHA256 with AES-128-GCM; maximum_name_length
	b = append(append(b, public...), 0, 0)                // no extensions
	b = append([]byte{0xfe, 0x0d, 0, byte(len(b))}, b...)
	return append([]byte{0, byte(len(b))}, b...)
}

// Nobody is told of what was refused to whom no endpoint is known.
func TestTellsOfClientsAlone(t *testing.T) {
	w := start(t)
	w.listed("example.com")
	if code, _ := w.ask("udp", other, gateway, "example.com", kindA); code != dnsmessage.RCodeRefused {
		t.Errorf("somebody else's question: %v", code)
	}
	if code, _ := w.ask("udp", app, gateway, "a_b.example.org", kindA); code != dnsmessage.RCodeRefused {
		t.Errorf("a name that is not listed: %v", code)
	}
	nettest.Eventually(t, enough, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if want := []denied.Key{{Network: "n1", Endpoint: "e1", Name: "a_b.example.org", Protocol: "dns"}}; !slices.Equal(w.seen, want) {
			return fmt.Errorf("%v was told, want %v", w.seen, want)
		}
		return nil
	})
}
