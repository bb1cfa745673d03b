package world_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/integration/world"
)

// victimEnv makes TestVictim do what TestWorldDiesWithItsTest then kills.
const victimEnv = "MYBR_TEST_VICTIM"

func TestMain(m *testing.M) {
	world.Main()
	os.Exit(m.Run())
}

// TestVictim makes a world, prints its PID namespace, and waits to be killed.
func TestVictim(t *testing.T) {
	if os.Getenv(victimEnv) == "" {
		t.Skip("runs only as the victim of TestWorldDiesWithItsTest")
	}
	w := world.New(t, world.Config{Driver: "bridge"})
	w.Network("n1")
	w.Serve("web", []string{"--net", "n1", "-p", "8088:80"}, "tcp:80")
	ns, err := os.Readlink(w.Path("/proc/1/ns/pid"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("world %s\n", ns)
	time.Sleep(time.Minute) // bounds the victim's life if nobody kills it
}

func TestWorldDiesWithItsTest(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	// The victim's orphans come here, and not to the machine's process 1: in a container
	// that may be a program that reaps no children, and a world doesn't end before that
	// (pid_namespaces(7), prctl(2)).
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	before := links(t)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ns string
	for s := bufio.NewScanner(out); ns == "" && s.Scan(); {
		_, ns, _ = strings.Cut(s.Text(), "world ")
		if strings.Contains(s.Text(), "SKIP") {
			cmd.Wait()
			t.Skip("the victim could not make a world here")
		}
	}
	alive := processes(t, ns)
	left := leftovers(t, cmd.Process.Pid)
	if len(alive) < 4 || len(left) < 2 { // process 1, dockerd, containerd, the container
		t.Fatalf("before the kill: %d processes, %v: want a whole world", len(alive), left)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	deadline := time.Now().Add(15 * time.Second)
	for len(alive)+len(left) > 0 && time.Now().Before(deadline) {
		for pid := 1; pid > 0; {
			pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		}
		alive, left = processes(t, ns), leftovers(t, cmd.Process.Pid)
		time.Sleep(20 * time.Millisecond)
	}
	if len(alive)+len(left) > 0 {
		t.Errorf("left after kill -9: processes %v, files %v", alive, left)
	}
	if after := links(t); after != before {
		t.Errorf("links of the machine: %s, before: %s", after, before)
	}
}

// processes lists the processes of a PID namespace. Zombies have ended: it's for
// their parent, or for the machine's process 1, to notice.
func processes(t *testing.T, ns string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil || len(all) == 0 {
		t.Fatalf("list /proc: %d found, %v", len(all), err)
	}
	for _, path := range all {
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(path)), "status")) // proc_pid_status(5)
		if at, err := os.Readlink(path); err == nil && at == ns && !strings.Contains(string(status), "\nState:\tZ") {
			found = append(found, path)
		}
	}
	return found
}

// leftovers lists the files and control groups of a test process.
func leftovers(t *testing.T, pid int) (found []string) {
	t.Helper()
	name := fmt.Sprintf("mybr-test-%d-*", pid)
	for _, pattern := range []string{
		filepath.Join(os.TempDir(), name), "/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name,
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	return found
}

func links(t *testing.T) string {
	t.Helper()
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range ifs {
		names = append(names, i.Name)
	}
	return strings.Join(names, " ")
}
