package plugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// callerOf is what a server finds of a client that connects.
func callerOf(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return caller(withConn(context.Background(), conn))
}

// An engine is known by its process, as long as that runs.
func TestCaller(t *testing.T) {
	name := callerOf(t)
	if again := callerOf(t); name != again || name == "" {
		t.Errorf("one process is %q and %q", name, again)
	}
	var pid int
	var ticks uint64
	if n, err := fmt.Sscanf(name, "%d@%d", &pid, &ticks); n != 2 || pid != os.Getpid() || ticks == 0 {
		t.Errorf("have %q (%v), want the number of this process, %d, and when it began", name, err, os.Getpid())
	}
	if !lives(name) {
		t.Errorf("%s does not run", name)
	}
	for _, other := range []string{"", "x", fmt.Sprintf("%d@%d", pid, ticks+1), "0@0"} {
		if lives(other) {
			t.Errorf("%q runs", other)
		}
	}
	if got := caller(context.Background()); got != "" {
		t.Errorf("without a connection: %q", got)
	}

	// A name with brackets and blanks, as the kernel shows it, and the end of the process.
	program := filepath.Join(t.TempDir(), "a) S 1 (b")
	if err := os.Symlink("/bin/sleep", program); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(program, "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	at, err := began(child.Process.Pid)
	name = fmt.Sprintf("%d@%d", child.Process.Pid, at)
	if err != nil || at < ticks || !lives(name) {
		t.Errorf("a process that was started just now: %s, %v, runs: %v", name, err, lives(name))
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return !lives(name) }) // although it is there until it is waited for
	_ = child.Wait()                                // that it was killed
	if lives(name) {
		t.Errorf("%s runs after its end", name)
	}
}
