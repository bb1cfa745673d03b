package hostport

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// bindEnv makes the test binary another process that tries to bind: "tcp4 0.0.0.0:80".
const bindEnv = "HOSTPORT_TEST_BIND"

func TestMain(m *testing.M) {
	if what := os.Getenv(bindEnv); what != "" {
		network, address, _ := strings.Cut(what, " ")
		if err := plainBind(network, address); err != nil {
			fmt.Print(reason(err))
		}
		os.Exit(0)
	}
	if what := os.Getenv(listenEnv); what != "" {
		network, address, _ := strings.Cut(what, " ")
		if err := listenUntilKilled(network, address); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if limit := os.Getenv(limitEnv); limit != "" {
		if err := limited(limit); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	nettest.Main(m)
}

// plainBind binds as any program would, and closes again.
func plainBind(network, address string) error {
	if strings.HasPrefix(network, "tcp") {
		l, err := net.Listen(network, address)
		if err == nil {
			l.Close()
		}
		return err
	}
	c, err := net.ListenPacket(network, address)
	if err == nil {
		c.Close()
	}
	return err
}

// otherProcess tries to bind in another process and returns the kernel's words, ""
// for success.
func otherProcess(t *testing.T, network, address string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	// The race detector would let every process sleep for a second at its end.
	cmd.Env = append(os.Environ(), bindEnv+"="+network+" "+address, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// start returns a Manager that must leave no goroutine and no socket behind.
func start(t *testing.T, cfg Config) *Manager {
	t.Helper()
	before := goleak.IgnoreCurrent()
	sockets := openSockets(t)
	m := New(cfg)
	t.Cleanup(func() {
		m.Close()
		goleak.VerifyNone(t, before)
		nettest.Eventually(t, 5*time.Second, func() error {
			if n := openSockets(t); n > sockets {
				return fmt.Errorf("%d sockets are open, %d were before", n, sockets)
			}
			return nil
		})
	})
	return m
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

// The addresses of the host that withContainer makes.
const (
	containerAddr  = "172.30.0.2"
	containerAddr6 = "fd00:30::2"
)

// withContainer wires a namespace that plays a container to the process's own. Where its
// IPv6 address is asked, that is to be warmed up.
func withContainer(t *testing.T) (host, container *nettest.Host) {
	t.Helper()
	host = nettest.Process(t)
	container = host.Peer("container")
	host.Connect(nettest.End{Name: "vh0", Addresses: []string{"172.30.0.1/24", "fd00:30::1/64", "fe80::30:1/64"}},
		container, nettest.End{Name: "eth0", Addresses: []string{containerAddr + "/24", containerAddr6 + "/64", "fe80::30:2/64"}})
	warm(t, host, container, containerAddr)
	return host, container
}

// withLAN wires a namespace that plays a host of the LAN, 192.0.2.2, fd00:5::2 and
// fe80::5:2, to the process's own, which has .1 and .9 there.
func withLAN(t *testing.T, host *nettest.Host) *nettest.Host {
	t.Helper()
	lan := host.Peer("lan")
	host.Connect(nettest.End{Name: "lan0", Addresses: []string{"192.0.2.1/24", "192.0.2.9/24", "fd00:5::1/64", "fd00:5::9/64", "fe80::5:1/64"}},
		lan, nettest.End{Name: "eth0", Addresses: []string{"192.0.2.2/24", "fd00:5::2/64", "fe80::5:2/64"}})
	warm(t, host, lan, "192.0.2.2")
	warm(t, host, lan, "fd00:5::2")
	return lan
}

// warm waits until peer answers at addr: for a moment after a veth is up the kernel
// still drops what is sent (the queue is attached when the carrier is seen).
func warm(t *testing.T, host, peer *nettest.Host, addr string) {
	t.Helper()
	port := peer.Echo("udp", "[::]:0").Port() // an IPv6 address can't be bound until then
	where := net.JoinHostPort(addr, fmt.Sprint(port))
	nettest.Eventually(t, 10*time.Second, func() error {
		_, err := host.Ask("udp", where, 20*time.Millisecond)
		return err
	})
}

func at(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(containerAddr), uint16(port))
}

// request asks for host ports first to last on ip ("" for everywhere), for the
// container's port to.
func request(proto model.Proto, ip string, first, last, to int) model.PortRequest {
	req := model.PortRequest{Proto: proto, First: uint16(first), Last: uint16(last)}
	target := func(ip string) model.Target { return model.Target{Host: netip.MustParseAddr(ip), Container: at(to)} }
	switch {
	case ip == "":
		req.V4, req.V6 = target("0.0.0.0"), target("::")
	case netip.MustParseAddr(ip).Unmap().Is4():
		req.V4 = target(ip)
	default:
		req.V6 = target(ip)
	}
	return req
}

func reserve(t *testing.T, m *Manager, owner string, reqs ...model.PortRequest) ([]model.PortBinding, func()) {
	t.Helper()
	got, release, err := m.Reserve(owner, reqs)
	if err != nil {
		t.Fatal(err)
	}
	return got, release
}

func apply(t *testing.T, m *Manager, want Set) {
	t.Helper()
	if err := m.Apply(t.Context(), nil, want); err != nil {
		t.Fatal(err)
	}
}

// publish reserves and applies, with nothing else wanted.
func publish(t *testing.T, m *Manager, reqs ...model.PortRequest) Set {
	t.Helper()
	bindings, _ := reserve(t, m, "a", reqs...)
	want := setOf("a", bindings)
	apply(t, m, want)
	return want
}

// sockets lists what is held, in no order.
func sockets(m *Manager) (all []*socket) {
	for _, o := range m.owners {
		all = slices.AppendSeq(all, maps.Keys(o.sockets))
	}
	return all
}

func set(bindings ...Binding) Set { return Set{Bindings: bindings} }

func setOf(owner string, bindings []model.PortBinding) Set {
	var all []Binding
	for _, b := range bindings {
		all = append(all, Binding{Owner: owner, Link: "veth" + owner, PortBinding: b})
	}
	return set(all...)
}

func text(bindings []model.PortBinding) string {
	var lines []string
	for _, b := range bindings {
		lines = append(lines, b.String())
	}
	return strings.Join(lines, "\n")
}

// bound lists what the kernel has bound in the namespace, as "tcp 0.0.0.0:80",
// sorted: listening TCP sockets and UDP sockets without a peer. A socket of this process that
// has both families is two.
func bound(t testing.TB) []string {
	t.Helper()
	both := socketsOfBothFamilies(t)
	var all []string
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, err := os.Open("/proc/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			listening, idle := "0A", "07" // TCP_LISTEN, TCP_CLOSE (include/net/tcp_states.h)
			if fields[3] != listening && file[0] == 't' || fields[3] != idle && file[0] == 'u' {
				continue
			}
			at := procAddr(t, fields[1])
			all = append(all, file[:3]+" "+at.String())
			if both["socket:["+fields[9]+"]"] {
				all = append(all, fmt.Sprintf("%s 0.0.0.0:%d", file[:3], at.Port()))
			}
		}
		f.Close()
	}
	slices.Sort(all)
	return all
}

// socketsOfBothFamilies lists the process's sockets that have IPv4 besides IPv6 (ipv6(7)), as
// /proc/self/fd names them.
func socketsOfBothFamilies(t testing.TB) map[string]bool {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, path := range fds {
		to, err := os.Readlink(path)
		fd, errNumber := strconv.Atoi(filepath.Base(path))
		if err != nil || errNumber != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || domain != unix.AF_INET6 {
			continue
		}
		if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil && only == 0 {
			all[to] = true
		}
	}
	return all
}

// procAddr reads an address as /proc/net/tcp has it: 32-bit words in the host's
// order, here little endian.
func procAddr(t testing.TB, field string) netip.AddrPort {
	t.Helper()
	addr, port, _ := strings.Cut(field, ":")
	b, err := hex.DecodeString(addr)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b)
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(a, uint16(p))
}
