package hostport

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// group makes a control group, or skips the test where there can be none.
func group(t *testing.T, name string) *os.File {
	t.Helper()
	mount := controlGroupMount()
	if mount == "" {
		t.Skip("control groups of version 2 are not mounted")
	}
	path := filepath.Join(mount, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Skipf("a control group can't be made: %v", err)
	}
	t.Cleanup(func() { // once its last process has ended
		nettest.Eventually(t, patience, func() error { return os.Remove(path) })
	})
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func TestControlGroupOfASocket(t *testing.T) {
	nettest.Process(t)
	name := fmt.Sprintf("mybr-hostport-test-%d", os.Getpid())
	dir := group(t, name)
	for _, c := range []struct{ network, address string }{{"tcp4", "0.0.0.0:80"}, {"tcp6", "[::]:80"}, {"udp4", "127.0.0.1:80"}, {"udp6", "[::1]:81"}} {
		programWith(t, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}, c.network, c.address)
		proto := model.TCP
		if strings.HasPrefix(c.network, "udp") {
			proto = model.UDP
		}
		sockets := socketsAt(proto, netip.MustParseAddrPort(c.address))
		if len(sockets) == 0 {
			t.Errorf("%s %s is not found", c.network, c.address)
			continue
		}
		if got := controlGroupOf(sockets[0].family, sockets[0].protocol, sockets[0].inode); got != "/"+name {
			t.Errorf("%s %s is of group %q, want /%s", c.network, c.address, got, name)
		}
	}
}

func TestControlGroupOfThisProcess(t *testing.T) {
	nettest.Process(t)
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, own, ok := strings.Cut("\n"+string(text), "\n0::")
	if !ok || controlGroupMount() == "" {
		t.Skip("control groups of version 2 are not mounted")
	}
	own, _, _ = strings.Cut(own, "\n")
	ln, err := net.Listen("tcp4", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := socketsAt(model.TCP, netip.MustParseAddrPort("127.0.0.1:80"))
	if len(s) != 1 {
		t.Fatalf("have %+v, want one socket", s)
	}
	if got := controlGroupOf(s[0].family, s[0].protocol, s[0].inode); got != strings.TrimSuffix(own, "/") {
		t.Errorf("have %q, want %q", got, own)
	}
	if got := controlGroupOf(s[0].family, s[0].protocol, s[0].inode+1); got != "" {
		t.Errorf("of a socket that is not there: %q", got)
	}
}

// The kernel is not asked for the connections of a busy host.
func TestSocketsThatHavePorts(t *testing.T) {
	nettest.Process(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, network := range []string{"tcp4", "udp4"} {
		c, err := net.Dial(network, "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		if all, err := diagnose(unix.AF_INET, protocol); err != nil || len(all) != 1 {
			t.Errorf("protocol %d: have %d sockets, %v", protocol, len(all), err)
		}
	}
}
