package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// client is a UDP socket connected to address: it hears nobody but that very address.
func client(t *testing.T, host *nettest.Host, address string) net.Conn {
	t.Helper()
	c, err := host.Dial("udp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends one datagram and returns the line of the server and the echo.
func say(c net.Conn, what string) (greeting, echo string, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(what)); err != nil {
		return "", "", err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	greeting, echo, _ = strings.Cut(string(buf[:n]), "\n")
	return greeting, echo, err
}

func TestUDPClientsAreKeptApart(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	r := start(t, Config{})
	serve(t, r, "udp", 5353, 53)
	clients := make([]net.Conn, 50)
	for i := range clients {
		clients[i] = client(t, host, "127.0.0.1:5353")
	}
	seen := map[string]int{}
	for round := range 3 {
		for i, c := range clients {
			what := fmt.Sprintf("%d of %d", round, i)
			greeting, echo, err := say(c, what)
			if err != nil || echo != what {
				t.Fatalf("%q %v, want %q", echo, err, what)
			}
			seen[greeting]++
		}
	}
	if len(seen) != len(clients) {
		t.Errorf("the container saw %d clients, want %d, each three times", len(seen), len(clients))
	}
}

func TestUDPSurvivesContainerThatRefuses(t *testing.T) {
	host, container := withContainer(t)
	r := start(t, Config{})
	s := serve(t, r, "udp", 5353, 53)
	c := client(t, host, "127.0.0.1:5353")
	for range 20 {
		if _, err := c.Write([]byte("hello?")); err != nil {
			t.Fatal(err)
		}
	}
	f := waitForFlow(t, s)
	nettest.Eventually(t, patience, func() error { // the container's ICMP errors have come
		if out := container.Run("nstat", "-a", "-s", "-z", "UdpNoPorts"); strings.Contains(out, " 0 ") {
			return errors.New(out)
		}
		return nil
	})
	container.Echo("udp4", "0.0.0.0:53")
	if _, echo, err := say(c, "now?"); err != nil || echo != "now?" {
		t.Errorf("%q %v", echo, err)
	}
	if waitForFlow(t, s) != f {
		t.Error("the flow is another one")
	}
}

// flows returns the clients that a session remembers.
func flows(s Session) []*flow {
	c := s.(*udpSession)
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*flow
	for _, f := range c.flows {
		all = append(all, f)
	}
	return all
}

func waitForFlow(t *testing.T, s Session) (f *flow) {
	t.Helper()
	nettest.Eventually(t, patience, func() error {
		all := flows(s)
		if len(all) != 1 {
			return fmt.Errorf("%d flows", len(all))
		}
		f = all[0]
		return nil
	})
	return f
}

func TestUDPDropsIdleClientsButNotBusyOnes(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	r := start(t, Config{UDPTimeout: time.Second})
	s := serve(t, r, "udp", 5353, 53)
	sockets := openSockets(t)
	idle, busy := client(t, host, "127.0.0.1:5353"), client(t, host, "127.0.0.1:5353")
	first, _, err := say(busy, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := say(idle, "x"); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); {
		// The same client to the container, although far longer than the timeout.
		if greeting, _, err := say(busy, "x"); err != nil || greeting != first {
			t.Fatalf("%q %v, was %q", greeting, err, first)
		}
	}
	if n := len(flows(s)); n != 1 {
		t.Errorf("%d flows, want the busy one", n)
	}
	nettest.Eventually(t, patience, func() error {
		if n := len(flows(s)); n != 0 {
			return fmt.Errorf("%d flows", n)
		}
		if n := openSockets(t); n != sockets+2 { // the clients' own
			return fmt.Errorf("%d sockets, want %d", n, sockets+2)
		}
		return nil
	})
	if _, echo, err := say(idle, "again"); err != nil || echo != "again" {
		t.Errorf("%q %v", echo, err)
	}
}

func TestUDPClientsBeyondTheLimitReplaceTheSilent(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("udp4", "0.0.0.0:53")
	r := start(t, Config{})
	s := serve(t, r, "udp", 5353, 53)
	first, second := client(t, host, "127.0.0.1:5353"), client(t, host, "127.0.0.1:5353")
	silent, _, err := say(second, "x")
	if err != nil {
		t.Fatal(err)
	}
	talker, _, err := say(first, "x")
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxFlows {
		c := client(t, host, "127.0.0.1:5353") // left open, or its port number would come again
		if _, _, err := say(c, "x"); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			if greeting, _, err := say(first, "x"); err != nil || greeting != talker {
				t.Fatalf("%q %v, was %q", greeting, err, talker)
			}
		}
	}
	if n := len(flows(s)); n != maxFlows {
		t.Errorf("%d flows, want %d", n, maxFlows)
	}
	if greeting, _, err := say(second, "x"); err != nil || greeting == silent {
		t.Errorf("the silent client was to be dropped, but served afterwards: %q %v", greeting, err)
	}
}

func TestParseLocal(t *testing.T) {
	in4 := &unix.Inet4Pktinfo{Ifindex: 7, Spec_dst: [4]byte{192, 0, 2, 1}, Addr: [4]byte{192, 0, 2, 255}}
	in6 := func(addr string) []byte {
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr(addr).As16(), Ifindex: 7})
	}
	for _, c := range []struct {
		oob  []byte
		want local
	}{
		{nil, local{}},
		{[]byte{1, 2, 3}, local{}},
		{unix.PktInfo4(in4), local{addr: netip.MustParseAddr("192.0.2.1")}},
		{in6("fd00::1"), local{addr: netip.MustParseAddr("fd00::1")}},
		{in6("fe80::1"), local{addr: netip.MustParseAddr("fe80::1"), ifindex: 7}},
		{in6("ff02::1"), local{}},
		{unix.UnixRights(1), local{}},
	} {
		if got := parseLocal(c.oob); got != c.want {
			t.Errorf("%x: %v, want %v", c.oob, got, c.want)
		}
	}
}
