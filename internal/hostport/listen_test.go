package hostport

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// options asks the kernel about a socket. What does not apply is absent.
func options(t *testing.T, s *socket) map[string]int {
	t.Helper()
	got := map[string]int{}
	err := func(fd int) error {
		for name, opt := range map[string][2]int{
			"reuseaddr": {unix.SOL_SOCKET, unix.SO_REUSEADDR},
			"domain":    {unix.SOL_SOCKET, unix.SO_DOMAIN},
			"protocol":  {unix.SOL_SOCKET, unix.SO_PROTOCOL},
			"listens":   {unix.SOL_SOCKET, unix.SO_ACCEPTCONN},
		} {
			v, err := unix.GetsockoptInt(fd, opt[0], opt[1])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			got[name] = v
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		got["cloexec"] = flags & unix.FD_CLOEXEC
		if err != nil {
			return err
		}
		if got["domain"] == unix.AF_INET6 {
			got["v6only"], _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
			got["pktinfo"], _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
		} else {
			got["pktinfo"], _ = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO)
		}
		device, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		if err != nil {
			return err
		}
		if strings.TrimRight(device, "\x00") == "lo" {
			got["lo"] = 1
		}
		got["filter"] = filterLen(fd)
		return nil
	}(s.port.fd)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// filterLen is the number of instructions of the attached filter, -1 if the kernel
// doesn't say: getsockopt(SO_GET_FILTER) takes and returns a number of instructions
// as the length (net/core/sock.c), so no function of x/sys fits.
func filterLen(fd int) int {
	var room [8]unix.SockFilter
	n := uint32(len(room))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		uintptr(unsafe.Pointer(&room)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return -1
	}
	return int(n)
}

func TestSocketsHaveTheOptionsOfDockersAllocator(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	for _, c := range []struct {
		proto model.Proto
		ip    string
		want  map[string]int
	}{
		{model.TCP, "0.0.0.0", map[string]int{"reuseaddr": 1, "domain": unix.AF_INET, "protocol": unix.IPPROTO_TCP, "listens": 1, "cloexec": 1, "pktinfo": 0, "filter": 1}},
		{model.TCP, "127.0.0.3", map[string]int{"reuseaddr": 1, "domain": unix.AF_INET, "protocol": unix.IPPROTO_TCP, "listens": 1, "cloexec": 1, "pktinfo": 0, "filter": 1, "lo": 1}},
		{model.TCP, "::", map[string]int{"reuseaddr": 1, "domain": unix.AF_INET6, "protocol": unix.IPPROTO_TCP, "listens": 1, "cloexec": 1, "pktinfo": 0, "filter": 1, "v6only": 1}},
		{model.TCP, "::1", map[string]int{"reuseaddr": 1, "domain": unix.AF_INET6, "protocol": unix.IPPROTO_TCP, "listens": 1, "cloexec": 1, "pktinfo": 0, "filter": 1, "v6only": 1, "lo": 1}},
		{model.TCP, "", map[string]int{"reuseaddr": 1, "domain": unix.AF_INET6, "protocol": unix.IPPROTO_TCP, "listens": 1, "cloexec": 1, "pktinfo": 0, "filter": 1, "v6only": 0}},
		{model.UDP, "", map[string]int{"reuseaddr": 0, "domain": unix.AF_INET6, "protocol": unix.IPPROTO_UDP, "listens": 0, "cloexec": 1, "pktinfo": 1, "filter": 1, "v6only": 0}},
		{model.UDP, "0.0.0.0", map[string]int{"reuseaddr": 0, "domain": unix.AF_INET, "protocol": unix.IPPROTO_UDP, "listens": 0, "cloexec": 1, "pktinfo": 1, "filter": 1}},
		{model.UDP, "127.0.0.1", map[string]int{"reuseaddr": 0, "domain": unix.AF_INET, "protocol": unix.IPPROTO_UDP, "listens": 0, "cloexec": 1, "pktinfo": 1, "filter": 1, "lo": 1}},
		{model.UDP, "::", map[string]int{"reuseaddr": 0, "domain": unix.AF_INET6, "protocol": unix.IPPROTO_UDP, "listens": 0, "cloexec": 1, "pktinfo": 1, "filter": 1, "v6only": 1}},
	} {
		bindings, release := reserve(t, m, "a", request(c.proto, c.ip, 8080, 8080, 80))
		s := m.find(keyOf(bindings[0]))
		if got := options(t, s); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s on %s:\nhave %v\nwant %v", c.proto, c.ip, got, c.want)
		}
		apply(t, m, setOf("a", bindings))
		if got := options(t, s)["filter"]; got != 0 {
			t.Errorf("%s on %s: the filter is still there after Apply", c.proto, c.ip)
		}
		apply(t, m, Set{})
		release()
	}
}

func TestListenersHaveTheLongestBacklog(t *testing.T) {
	h := nettest.Process(t)
	m := start(t, Config{})
	reserve(t, m, "a", request(model.TCP, "0.0.0.0", 8080, 8080, 80))
	somaxconn := h.ReadSysctl("net/core/somaxconn")
	out := h.Run("ss", "-H", "-l", "-t", "-n", "sport", "=", ":8080")
	if fields := strings.Fields(out); len(fields) < 3 || fields[2] != somaxconn { // Send-Q of a listener
		t.Errorf("backlog is not %s: %s", somaxconn, out)
	}
}

func TestNobodyElseCanBind(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	for _, proto := range []model.Proto{model.TCP, model.UDP} {
		for _, c := range []struct {
			ip, other string
			refused   bool
		}{
			{"", "4 0.0.0.0:8080", true},
			{"", "4 127.0.0.1:8080", true},
			{"", "6 [::]:8080", true},
			{"", "6 [::1]:8080", true},
			{"0.0.0.0", "4 0.0.0.0:8080", true},
			{"0.0.0.0", "4 127.0.0.1:8080", true},
			{"0.0.0.0", "6 [::1]:8080", false},
			{"::", "6 [::]:8080", true},
			{"::", "6 [::1]:8080", true},
			{"::", "4 0.0.0.0:8080", false},
			{"127.0.0.1", "4 127.0.0.1:8080", true}, // although tied to lo, which the other is not
			{"127.0.0.1", "4 0.0.0.0:8080", true},
			{"127.0.0.1", "4 127.0.0.2:8080", false},
			{"::1", "6 [::1]:8080", true},
			{"::1", "6 [::]:8080", true},
		} {
			network, address, _ := strings.Cut(proto.String()+c.other, " ")
			bindings, release := reserve(t, m, "a", request(proto, c.ip, 8080, 8080, 80))
			for _, when := range []string{"reserved", "adopted"} {
				got := otherProcess(t, network, address)
				if (got == "address already in use") != c.refused || !c.refused && got != "" {
					t.Errorf("%s %s %s: %s %s: %q", when, proto, c.ip, network, address, got)
				}
				apply(t, m, setOf("a", bindings))
			}
			apply(t, m, Set{})
			release()
			if got := otherProcess(t, network, address); got != "" {
				t.Errorf("released %s %s: %s %s: %s", proto, c.ip, network, address, got)
			}
		}
	}
}

func TestPortOfAnotherProgramTiedToNoDeviceIsSeenFromLoopback(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	for _, address := range []string{"0.0.0.0:8080", "127.0.0.1:8080"} {
		tcp, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp4", address)
		if err != nil {
			t.Fatal(err)
		}
		for _, proto := range []model.Proto{model.TCP, model.UDP} {
			_, _, err := m.Reserve("a", []model.PortRequest{request(proto, "127.0.0.1", 8080, 8080, 80)})
			if !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%s beside %s: %v", proto, address, err)
			}
		}
		tcp.Close()
		udp.Close()
	}
}

func TestSCTPWithoutTheKernelIsGuardedByTheTableAndSaidOnce(t *testing.T) {
	nettest.Process(t)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err == nil {
		unix.Close(fd)
		t.Skip("this kernel has SCTP")
	}
	var warnings []string
	m := start(t, Config{Warn: func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }})
	bindings, _ := reserve(t, m, "a", request(model.SCTP, "", 3868, 3868, 3868))
	if want := "sctp 0.0.0.0:3868 -> 172.30.0.2:3868\nsctp [::]:3868 -> 172.30.0.2:3868"; text(bindings) != want {
		t.Error(text(bindings))
	}
	apply(t, m, setOf("a", bindings))
	_, _, err := m.Reserve("b", []model.PortRequest{request(model.SCTP, "127.0.0.1", 3868, 3868, 80)})
	if want := "Bind for 127.0.0.1:3868 failed: port is already allocated"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	apply(t, m, Set{})
	_, release := reserve(t, m, "b", request(model.SCTP, "127.0.0.1", 3868, 3868, 80))
	release()
	if len(warnings) != 1 || !strings.Contains(warnings[0], "no SCTP sockets (protocol not supported)") {
		t.Errorf("%q", warnings)
	}
}

// A neighbour routes packets for 127.0.0.1 to the host, which has been told to let
// them in: they reach other programs, but not what was published on 127.0.0.1.
func TestLoopbackPortsAreOutOfReachOfRoutedMartians(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	lan := withLAN(t, host)
	host.Sysctl("net/ipv4/conf/lan0/route_localnet", "1")
	lan.Sysctl("net/ipv4/conf/eth0/route_localnet", "1")
	lan.Run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
	lan.Route("127.0.0.1/32", "192.0.2.1")
	host.Echo("tcp4", "127.0.0.1:8081")
	m := start(t, Config{})
	publish(t, m, request(model.TCP, "127.0.0.1", 8080, 8080, 80))
	if answer, err := lan.Ask("tcp", "127.0.0.1:8081", patience); err != nil || answer.Server != "host" {
		t.Fatalf("the route there: %v %v", answer, err)
	}
	if answer, err := lan.Ask("tcp", "127.0.0.1:8080", patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("reached: %v %v", answer, err)
	}
	if answer, err := host.Ask("tcp", "127.0.0.1:8080", patience); err != nil || answer.Server != "container" {
		t.Errorf("from the host itself: %v %v", answer, err)
	}
}

func TestDescriptorsAreNotInherited(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{})
	publish(t, m, request(model.TCP, "", 8080, 8080, 80), request(model.UDP, "", 8080, 8080, 80))
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil || strings.Contains(string(out), "socket:") {
		t.Errorf("%v\n%s", err, out)
	}
}
