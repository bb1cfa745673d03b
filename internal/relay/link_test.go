package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/nettest"
)

// Who is served can hang on the interface by which a client comes, whichever address of the host it
// asks; who is served no more ends, a connection that began before anybody asked about its interface
// included, and the others go on.
func TestLinks(t *testing.T) {
	host, container := withContainer(t)
	left, right := host.Peer("left"), host.Peer("right")
	host.Connect(nettest.End{Name: "left", Addresses: []string{"192.0.2.1/24", "2001:db8:1::1/64"}}, left, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24", "2001:db8:1::2/64"}})
	host.Connect(nettest.End{Name: "right", Addresses: []string{"198.51.100.1/24", "2001:db8:2::1/64"}}, right, nettest.End{Name: "eth0", Addresses: []string{"198.51.100.2/24", "2001:db8:2::2/64"}})
	right.Route("192.0.2.0/24", "198.51.100.1") // an address of the host's that is not the interface's
	right.Route("2001:db8:1::/64", "2001:db8:2::1")
	index := map[string]uint32{}
	for _, name := range []string{"left", "right"} {
		link, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		index[name] = uint32(link.Index)
	}
	for i, c := range []struct{ network, listen, ask string }{
		{"tcp", "0.0.0.0", "192.0.2.1"}, {"tcp", "::", "192.0.2.1"}, {"tcp", "::", "2001:db8:1::1"},
		{"udp", "0.0.0.0", "192.0.2.1"}, {"udp", "::", "192.0.2.1"}, {"udp", "::", "2001:db8:1::1"},
	} {
		t.Run(c.network+" "+c.ask+" at "+c.listen, func(t *testing.T) {
			to, port := 80+i, 8080+i
			container.Echo(c.network+"4", fmt.Sprintf("0.0.0.0:%d", to))
			where := netip.AddrPortFrom(netip.MustParseAddr(c.listen), uint16(port))
			fd := listen(t, c.network, where)
			if c.network == "udp" {
				tell(t, fd, where.Addr().Is6())
			}
			targets := Targets{V4: at(to), V6: at(to)}
			s := relayed(t, start(t, Config{}), c.network, where, fd, targets)
			address := netip.AddrPortFrom(netip.MustParseAddr(c.ask), uint16(port)).String()
			begin := func(from *nettest.Host) net.Conn {
				t.Helper()
				conn, err := from.Dial(c.network, address, patience)
				if errors.Is(err, syscall.ECONNRESET) {
					return nil // it was accepted, and reset at once
				} else if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return conn
			}
			asked := 0
			served := func(what string, conn net.Conn, want bool) {
				t.Helper()
				timeout := patience
				if !want {
					timeout = 300 * time.Millisecond
				}
				asked++
				err := error(net.ErrClosed)
				if conn != nil {
					err = echoed(conn, fmt.Sprintf("%s %d;", what, asked), timeout)
				}
				if (err == nil) != want {
					t.Errorf("%s: %v", what, err)
				}
			}
			first, second := begin(left), begin(right)
			served("left, at first", first, true)
			served("right, at first", second, true)
			targets.Admit = func(_ netip.Addr, link func() uint32) bool { return link() == index["right"] }
			s.Serve(targets)
			served("left, who is not served", first, false)
			served("right, who is", second, true)
			again := begin(left)
			served("left again", again, false)
			targets.Admit = func(_ netip.Addr, link func() uint32) bool { return link() == index["left"] }
			s.Serve(targets)
			served("right, who is not served any more", second, false)
			served("left, who is again", begin(left), true)
		})
	}
}

// The kernel is asked by which interface a connection came only where somebody's being served hangs
// on it, be it long after it began, and once.
func TestLinkIsNotAsked(t *testing.T) {
	_, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	s := serve(t, start(t, Config{}), "tcp", 8080, 80).(*tcpSession)
	conn, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	after := func(what string, want uint64) {
		t.Helper()
		if err := echoed(conn, what+";", patience); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			if got := c.link.Load(); got != want {
				t.Errorf("%s: the link is known as %#x, want %#x", what, got, want)
			}
		}
	}
	after("without a limit", 0)
	s.Serve(Targets{V4: at(80), Admit: func(client netip.Addr, _ func() uint32) bool { return client.IsLoopback() }})
	after("with a limit by addresses", 0)
	byLink := Targets{V4: at(80), Admit: func(_ netip.Addr, link func() uint32) bool { return link() == 1 }} // lo
	s.Serve(byLink)
	after("with a limit by interfaces", linkAsked|1)
	s.Serve(byLink)
	after("with the same limit", linkAsked|1)
}

// tell has a UDP socket tell by which interface datagrams come.
func tell(t *testing.T, fd int, ipv6 bool) {
	t.Helper()
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	if ipv6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
}
