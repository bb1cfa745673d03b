package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/mybr/mybr/integration/world"
)

// startTracer has strace(1) write what a process syncs to a file, and returns when it does.
func startTracer(pid int, to string) (*exec.Cmd, error) {
	cmd := exec.Command("strace", "-f", "-e", "trace=fsync,fdatasync", "-o", to, "-p", strconv.Itoa(pid))
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(said)
	line, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(line, "attached") {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("strace of %d: %q %v", pid, line, err)
	}
	go io.Copy(io.Discard, lines) // which threads come and go
	return cmd, nil
}

// openNetns opens a named network namespace of a world's host.
func openNetns(w *world.World, name string) (*os.File, error) {
	return os.Open(w.Path("/run/netns/" + name))
}

// cpuNanoseconds is what a process has had of processors so far, by its threads
// (Documentation/scheduler/sched-stats.rst of the kernel).
func cpuNanoseconds(proc string) (total float64, err error) {
	tasks, err := os.ReadDir(proc + "/task")
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(proc + "/task/" + task.Name() + "/schedstat")
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		var ran float64
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			return 0, fmt.Errorf("%s/task/%s/schedstat: %q: %w", proc, task.Name(), text, err)
		}
		total += ran
	}
	return total, nil
}
