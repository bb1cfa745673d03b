package nettest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestHostsTalk(t *testing.T) {
	h := New(t)
	lan := h.Peer("lan")
	h.Connect(End{Name: "eth0", Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}, MAC: "02:00:00:00:00:01", MTU: 1400},
		lan, End{Name: "eth0", Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"}})
	lan.Route("0.0.0.0/0", "192.0.2.1")
	h.Address("lo", "198.51.100.1/32")

	for _, c := range []struct{ network, listen, ask, from string }{
		{"tcp4", "0.0.0.0:80", "198.51.100.1:80", "192.0.2.2"},
		{"udp4", "0.0.0.0:80", "192.0.2.1:80", "192.0.2.2"},
		{"tcp6", "[::]:81", "[2001:db8::1]:81", "2001:db8::2"},
		{"udp6", "[::]:81", "[2001:db8::1]:81", "2001:db8::2"},
	} {
		h.Echo(c.network, c.listen)
		a, err := lan.Ask(c.network, c.ask, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if a.Server != "host" || a.Client.Addr() != netip.MustParseAddr(c.from) {
			t.Errorf("%s %s: answer %+v", c.network, c.ask, a)
		}
	}
	if _, err := lan.Ask("tcp4", "192.0.2.1:9", 5*time.Second); err == nil {
		t.Error("nobody listens there, and yet somebody answered")
	}
	if out := h.Run("ip", "link", "show", "eth0"); !strings.Contains(out, "02:00:00:00:00:01") || !strings.Contains(out, "mtu 1400") {
		t.Error(out)
	}
}

// A namespace's settings and links are its own, for the locked thread, for commands
// and for what Go starts.
func TestIsolation(t *testing.T) {
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	h := New(t)
	inside, _ := os.Readlink("/proc/thread-self/ns/net")
	if inside == outside {
		t.Fatal("the test is not in a namespace of its own")
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != outside {
		t.Error("the process's first thread has changed its namespace")
	}
	peer := h.Peer("peer")
	h.Sysctl("net/ipv4/ip_forward", "1")
	peer.Sysctl("net/ipv4/ip_forward", "0")
	if h.ReadSysctl("net/ipv4/ip_forward") != "1" || peer.ReadSysctl("net/ipv4/ip_forward") != "0" {
		t.Error("the namespaces share settings")
	}
	if out := h.Run("cat", "/proc/sys/net/ipv4/ip_forward"); strings.TrimSpace(out) != "1" {
		t.Errorf("a command sees %q", out)
	}
	seen := make(chan string)
	h.Go(func() {
		ns, _ := os.Readlink("/proc/thread-self/ns/net")
		seen <- ns
	})
	if ns := <-seen; ns != inside {
		t.Errorf("Go ran in %s instead of %s", ns, inside)
	}
	h.Fresh(func(f *Host) {
		if ns, _ := os.Readlink("/proc/thread-self/ns/net"); ns == inside || ns == outside {
			t.Errorf("Fresh ran in %s", ns)
		}
	})
	if ns, _ := os.Readlink("/proc/thread-self/ns/net"); ns != inside {
		t.Errorf("in %s after Fresh", ns)
	}
	if _, err := h.Try("false"); err == nil {
		t.Error("false succeeds")
	}
}

func TestAdopt(t *testing.T) {
	h := New(t)
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v0c")
	h.Run("ip", "link", "set", "v0", "master", "br0", "up")
	h.Run("ip", "link", "set", "br0", "up")
	h.Address("br0", "172.18.0.1/16")
	box := h.Peer("box")
	box.Adopt(h, "v0c", End{Name: "eth0", Addresses: []string{"172.18.0.2/16"}})
	lan := h.Peer("lan")
	h.Connect(End{Name: "v1", Master: "br0"}, lan, End{Name: "eth0", Addresses: []string{"172.18.0.3/16"}})
	box.Echo("tcp", "172.18.0.2:80")
	if a, err := lan.Ask("tcp", "172.18.0.2:80", 5*time.Second); err != nil || a.Server != "box" {
		t.Error(a, err)
	}
}

// A bridge that gets its carrier late, since its port listens for other bridges first (IEEE
// 802.1D, 4.4), can send as well when a pair is ready: nothing has to be asked twice.
func TestBridgeIsReady(t *testing.T) {
	const least = "200" // of forward_delay, in 10 ms: twice that passes
	for name, join := range map[string]func(h, box *Host, there End){
		"Adopt": func(h, box *Host, there End) {
			h.Run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v0c")
			h.Run("ip", "link", "set", "v0", "master", "br0", "up")
			box.Adopt(h, "v0c", there)
		},
		"Connect": func(h, box *Host, there End) { h.Connect(End{Name: "v0", Master: "br0"}, box, there) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := New(t)
			h.Run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "1", "forward_delay", least)
			h.Address("br0", "172.18.0.1/16")
			h.Run("ip", "link", "set", "br0", "up")
			box := h.Peer("box")
			box.Echo("tcp", "0.0.0.0:80")
			join(h, box, End{Name: "eth0", Addresses: []string{"172.18.0.2/16"}})
			if _, err := h.Ask("tcp", "172.18.0.2:80", 500*time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEventually(t *testing.T) {
	n := 0
	Eventually(t, time.Minute, func() error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if n != 3 {
		t.Errorf("called %d times", n)
	}
}

// A connection keeps its namespace whichever goroutine uses it.
func TestDialStays(t *testing.T) {
	h := New(t)
	at := h.Echo("tcp", "127.0.0.1:0")
	c, err := h.Dial("tcp", at.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := make(chan error)
	go func(c net.Conn) { _, err := AskOn(c, 5*time.Second); answers <- err }(c)
	if err := <-answers; err != nil {
		t.Error(err)
	}
}

// With a test its echo servers' connections end, and the goroutines that serve them, also
// where the client is still there.
func TestEchoEndsWithItsTest(t *testing.T) {
	var c net.Conn
	t.Run("served", func(t *testing.T) {
		h := New(t)
		at := h.Echo("tcp", "127.0.0.1:0")
		var err error
		if c, err = h.Dial("tcp", at.String(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := AskOn(c, 5*time.Second); err != nil {
			t.Error(err)
		}
	})
	if c == nil {
		t.SkipNow() // as the subtest was
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is there still: %v", err)
	}
}

func TestMain(m *testing.M) { Main(m) }

// After Main, goroutines that know nothing of namespaces are in the process's.
func TestProcess(t *testing.T) {
	h := Process(t)
	lan := h.Peer("lan")
	h.Connect(End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, lan, End{Name: "eth0", Addresses: []string{"192.0.2.2/24"}})
	lan.Echo("tcp", "192.0.2.2:80")
	answers := make(chan error)
	go func() {
		c, err := net.DialTimeout("tcp", "192.0.2.2:80", 5*time.Second)
		if err == nil {
			defer c.Close()
			_, err = AskOn(c, 5*time.Second)
		}
		answers <- err
	}()
	if err := <-answers; err != nil {
		t.Error(err)
	}
}
