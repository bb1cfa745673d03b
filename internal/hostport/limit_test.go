package hostport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/relay"
)

// singles asks for n single ports of 127.0.0.1.
func singles(first, n int) (reqs []model.PortRequest) {
	for i := range n {
		reqs = append(reqs, request(model.TCP, "127.0.0.1", first+i, first+i, 80))
	}
	return reqs
}

// A quarter of a small limit is left to the process; ports can have the rest, and what
// would need more is refused as a whole.
func TestPortsLeaveDescriptorsForTheProcess(t *testing.T) {
	nettest.Process(t)
	m := start(t, Config{Descriptors: 40})
	refused := func(reqs ...model.PortRequest) {
		t.Helper()
		before := len(bound(t))
		_, release, err := m.Reserve("b", reqs)
		release()
		var limit *relay.LimitError
		if !errors.As(err, &limit) || limit.Limit != 40 || limit.Reserve != 10 || !errors.Is(err, model.ErrConflict) ||
			!strings.Contains(err.Error(), "RLIMIT_NOFILE is 40") || !strings.Contains(err.Error(), "LimitNOFILE=") || !strings.Contains(err.Error(), "ulimit -n") {
			t.Errorf("%v", err)
		}
		if n := len(bound(t)); n != before {
			t.Errorf("%d ports are bound, %d were before", n, before)
		}
	}
	refused(singles(8000, 31)...)
	_, release := reserve(t, m, "a", singles(8000, 30)...)
	refused(request(model.TCP, "127.0.0.1", 9000, 9000, 80))
	refused(request(model.TCP, "127.0.0.1", 9000, 9010, 80)) // a range is not tried to its end
	refused(request(model.TCP, "127.0.0.1", 0, 0, 80))
	if _, _, err := m.Reserve("b", singles(8000, 1)); !errors.Is(err, model.ErrConflict) || strings.Contains(err.Error(), "RLIMIT") {
		t.Errorf("a port that is taken needs no descriptor: %v", err)
	}
	reserve(t, m, "a", singles(8000, 30)...) // again: nothing more is needed
	release()
	apply(t, m, setOf("a", mustReserve(t, m, "a", singles(8000, 30)...)))
	apply(t, m, Set{})
	reserve(t, m, "b", request(model.TCP, "127.0.0.1", 9000, 9029, 80))
}

func mustReserve(t *testing.T, m *Manager, owner string, reqs ...model.PortRequest) []model.PortBinding {
	t.Helper()
	bindings, _ := reserve(t, m, owner, reqs...)
	return bindings
}

// limitEnv makes the test binary a process with as many descriptors that publishes ports.
const limitEnv = "HOSTPORT_TEST_LIMIT"

// Clients that come to many ports of a process with few descriptors, and stay, leave it
// enough to work: files, and commands with their pipes.
func TestClientsLeaveDescriptorsForTheProcess(t *testing.T) {
	host, container := withContainer(t)
	container.Echo("tcp4", "0.0.0.0:80")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), limitEnv+"=256", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	lines := bufio.NewScanner(out)
	line := func() string {
		lines.Scan()
		return lines.Text()
	}
	if got := line(); got != "ready" {
		t.Fatal(got)
	}
	served := 0
	for i := range 300 {
		c, err := host.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", 8000+i%100), patience)
		if err != nil {
			continue // reset
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			served++
		} else if isTimeout(err) {
			t.Fatalf("client %d is neither served nor reset", i)
		}
	}
	if served < 10 { // 92 descriptors are left, 6 for each
		t.Errorf("%d clients were served", served)
	}
	fmt.Fprintln(in, "check")
	files, err := strconv.Atoi(line())
	if err != nil || files < 32 {
		t.Errorf("the process could open %d files (%v), want half of its reserve of 64", files, err)
	}
	if got := line(); got != "command: <nil>" {
		t.Error(got)
	}
	if got := line(); !strings.Contains(got, "too few file descriptors: RLIMIT_NOFILE is 256, of which") {
		t.Error(got)
	}
}

// limited is the other process: it publishes 100 ports, and when it is told to, says how
// many files it can open, whether a command can be run, and why 100 ports more are refused.
func limited(limit string) error {
	n, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		return err
	}
	m := New(Config{})
	defer m.Close()
	bindings, release, err := m.Reserve("a", singles(8000, 100))
	if err != nil {
		return err
	}
	defer release()
	if err := m.Apply(context.Background(), nil, setOf("a", bindings)); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var files []*os.File
	for range 64 {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		files = append(files, f)
	}
	fmt.Println(len(files))
	for _, f := range files {
		f.Close()
	}
	_, err = exec.Command("true").CombinedOutput()
	fmt.Println("command:", err)
	_, _, err = m.Reserve("b", singles(9000, 100))
	fmt.Println(err)
	return nil
}
