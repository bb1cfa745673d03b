package iptables

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/fault"
)

// ownFor is how long a command's PID stands for it after it has ended: events about its
// changes may be read later. The kernel gives all other PIDs out first (pid_max of proc(5)).
const ownFor = 10 * time.Second

// commands runs the commands of iptables, and knows which processes they were.
type commands struct {
	mu    sync.Mutex
	ended map[int]time.Time // by PID; zero: it runs
}

// own reports whether a process is one of the commands. That of one that is just being
// started is waited for.
func (c *commands) own(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended, ok := c.ended[pid]
	return ok && (ended.IsZero() || time.Since(ended) < ownFor)
}

// start starts a command and notes its PID before anyone can ask about it.
func (c *commands) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	maps.DeleteFunc(c.ended, func(_ int, t time.Time) bool { return !t.IsZero() && time.Since(t) > ownFor })
	if c.ended == nil {
		c.ended = map[int]time.Time{}
	}
	c.ended[cmd.Process.Pid] = time.Time{}
	return nil
}

// wait waits for a command that start has started.
func (c *commands) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[cmd.Process.Pid] = time.Now()
	return err
}

// run executes a command and returns what it printed. Its complaint is in the error. The
// command ends with this process: one that still waited for the lock would apply an old
// difference after the next process has read the rules.
func (c *commands) run(ctx context.Context, input, command string, args ...string) (string, error) {
	program := filepath.Base(command)
	if err := fault.Point("iptables: before " + program); err != nil {
		return "", err
	}
	defer fault.Passed("iptables: after " + program)
	runtime.LockOSThread() // Pdeathsig is about the thread that started the command (prctl(2))
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := c.start(cmd)
	if err == nil {
		err = c.wait(cmd)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		complaint := strings.Join(strings.FieldsFunc(stderr.String(), func(r rune) bool { return r == '\n' }), "; ")
		if complaint == "" {
			return "", err
		}
		return "", fmt.Errorf("%w: %s", err, complaint)
	}
	return stdout.String(), nil
}
