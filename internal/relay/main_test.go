package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/nettest"
)

const patience = 10 * time.Second

func TestMain(m *testing.M) { nettest.Main(m) }

// start returns a Relay whose sessions must leave no goroutine and no socket behind.
func start(t *testing.T, cfg Config) *Relay {
	t.Helper()
	if cfg.Budget == nil {
		cfg.Budget = NewBudget(0, t.Logf)
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = patience
	}
	if cfg.UDPTimeout == 0 {
		cfg.UDPTimeout = time.Minute
	}
	before, sockets := goleak.IgnoreCurrent(), openSockets(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		nettest.Eventually(t, patience, func() error {
			if n := openSockets(t); n > sockets {
				return fmt.Errorf("%d sockets are open, %d were before", n, sockets)
			}
			return nil
		})
		if cfg.Budget.relayed != 0 {
			t.Errorf("%d descriptors are still counted", cfg.Budget.relayed)
		}
	})
	return New(cfg)
}

// serve relays what comes to a port of 127.0.0.1 to the container's, until the test ends.
func serve(t *testing.T, r *Relay, network string, port, to int) Session {
	t.Helper()
	var s Session
	var socket interface{ Close() error }
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if network == "tcp" {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		s, socket = r.TCP(l.(*net.TCPListener), at(to)), l
	} else {
		c, err := net.ListenPacket("udp4", address)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = r.UDP(c.(*net.UDPConn), at(to)); err != nil {
			t.Fatal(err)
		}
		socket = c
	}
	t.Cleanup(func() {
		s.Stop()
		socket.Close()
	})
	return s
}

// openSockets counts the descriptors of the process that are sockets.
func openSockets(t testing.TB) int { return descriptors(t, "socket:") }

// openPipes counts the ends of pipes that the process has.
func openPipes(t testing.TB) int { return descriptors(t, "pipe:") }

func descriptors(t testing.TB, kind string) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, kind) {
			n++
		}
	}
	return n
}

// withContainer wires a namespace that plays a container, 172.30.0.2, to the process's own.
func withContainer(t *testing.T) (host, container *nettest.Host) {
	t.Helper()
	host = nettest.Process(t)
	container = host.Peer("container")
	host.Connect(nettest.End{Name: "vh0", Addresses: []string{"172.30.0.1/24"}},
		container, nettest.End{Name: "eth0", Addresses: []string{"172.30.0.2/24"}})
	port := container.Echo("udp4", "0.0.0.0:0").Port()
	nettest.Eventually(t, patience, func() error { // a moment after a veth is up, it still drops
		_, err := host.Ask("udp", fmt.Sprintf("172.30.0.2:%d", port), 20*time.Millisecond)
		return err
	})
	return host, container
}

// at is a port of the container.
func at(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("172.30.0.2"), uint16(port))
}

func isTimeout(err error) bool {
	var nerr net.Error
	return errors.As(err, &nerr) && nerr.Timeout()
}
