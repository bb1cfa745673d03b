package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/world"
)

// TestManyPorts publishes as many ports as a SIP or TURN server has, which takes more than a
// quarter of a minute of Docker's own: one socket for each, reached wherever one asks, and
// nothing is left. More than the process may have descriptors for are refused by an error
// that names the limit, and leave nothing either.
func TestManyPorts(t *testing.T) {
	world.Full(t)
	if world.Driver() != "mybr" {
		t.Skip("counts mybr's descriptors")
	}
	t.Parallel()
	const first, count, limit = 20001, 10000, 20000
	const other = 5000 // below the ports that the kernel itself takes, as first
	w := world.New(t, world.Config{})
	article(w)
	if err := unix.Prlimit(w.MybrPID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	ports := func(n int) string { return fmt.Sprintf("%d-%d:%d-%d/udp", first, first+n-1, first, first+n-1) }
	rulesBefore, socketsBefore := len(rules(w)), sockets(t, w.MybrPID())

	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var chosen []int
	var servers []string
	for range 5 {
		port := first + random.IntN(count)
		chosen, servers = append(chosen, port), append(servers, fmt.Sprint("udp:", port))
	}
	w.Serve("sip", []string{"--net", "n0", "-p", ports(count)}, servers...)
	if n := sockets(t, w.MybrPID()) - socketsBefore; n > count+50 {
		t.Errorf("%d sockets hold %d ports", n, count)
	}
	for _, port := range chosen {
		seenAs(t, fmt.Sprint("from the LAN to port ", port), w.LAN.Get("udp", fmt.Sprintf("%s:%d", world.HostAddr, port)), world.LANAddr)
		answered(t, fmt.Sprint("from [::1] to port ", port), w.Host.Get("udp", fmt.Sprintf("[::1]:%d", port)))
	}
	more := w.DockerTry("run", "--name", "more", "--net", "n0", "-p", fmt.Sprintf("%[1]d-%[2]d:%[1]d-%[2]d/udp", other, other+count), world.Image, "sleep")
	for _, want := range []string{fmt.Sprint("RLIMIT_NOFILE is ", limit), "LimitNOFILE="} {
		if more.Code == 0 || !strings.Contains(more.Err, want) {
			t.Errorf("%d ports more: %d %s, want an error with %q", count+1, more.Code, more.Err, want)
		}
	}
	w.Docker("rm", "-f", "sip", "more")
	w.Eventually(10*time.Second, func() error {
		if n := sockets(t, w.MybrPID()); n > socketsBefore+5 {
			return fmt.Errorf("%d sockets are left, %d were before", n, socketsBefore)
		}
		if n := len(rules(w)); n != rulesBefore {
			return fmt.Errorf("%d rules are left, %d were before", n, rulesBefore)
		}
		return nil
	})
}

// sockets counts a process's descriptors that are sockets.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
