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
	"golang.org/x/sys/unix"

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
		cfg.Budget.mu.Lock()
		defer cfg.Budget.mu.Unlock()
		if cfg.Budget.relayed != 0 {
			t.Errorf("%d descriptors are still counted", cfg.Budget.relayed)
		}
	})
	return New(cfg)
}

// serve relays what comes to a port of 127.0.0.1 to the container's, until the test ends.
func serve(t *testing.T, r *Relay, network string, port, to int) Session {
	t.Helper()
	where := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	return relayed(t, r, network, where, listen(t, network, where), Targets{V4: at(to)})
}

// relayed begins a session, which ends with the test.
func relayed(t *testing.T, r *Relay, network string, where netip.AddrPort, fd int, targets Targets) Session {
	t.Helper()
	begin := r.TCP
	if network == "udp" {
		begin = r.UDP
	}
	s, err := begin(fd, where, targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// listen makes a socket that is open until the test ends. One of [::] has both families.
func listen(t *testing.T, network string, where netip.AddrPort) int {
	t.Helper()
	domain, sa := sockaddr(where)
	kind := unix.SOCK_STREAM
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	steps := []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error {
			if domain == unix.AF_INET {
				return nil
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		},
		func() error { return unix.Bind(fd, sa) },
	}
	if network == "tcp" {
		steps = append(steps, func() error { return unix.Listen(fd, 128) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

// openSockets counts the descriptors of the process that are sockets.
func openSockets(t testing.TB) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
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
