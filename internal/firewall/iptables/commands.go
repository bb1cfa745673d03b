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

	versions map[string]string // of programs that were asked, by their files; see findVariants
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

// run executes a command and returns what it printed. Its complaint is in the error.
func (c *commands) run(ctx context.Context, input, command string, args ...string) (string, error) {
	printed, errs := c.runAll(ctx, []call{{input, command, args}})
	return printed[0], errs[0]
}

// call is a command to run, and its input.
type call struct {
	input, command string
	args           []string
}

// runAll executes commands side by side, and returns what each has printed, and how it failed.
// All are started by the calling thread, for they are to be in its network namespace. They end
// with this process: one that still waited for the lock would apply an old difference after the
// next process has read the rules.
func (c *commands) runAll(ctx context.Context, calls []call) (printed []string, errs []error) {
	runtime.LockOSThread() // Pdeathsig is about the thread that started the command (prctl(2))
	defer runtime.UnlockOSThread()
	printed, errs = make([]string, len(calls)), make([]error, len(calls))
	running := make([]*running, len(calls))
	for i, one := range calls {
		if errs[i] = fault.Point("iptables: before " + filepath.Base(one.command)); errs[i] == nil {
			running[i], errs[i] = c.begin(ctx, one)
		}
	}
	for i, r := range running {
		if r != nil {
			printed[i], errs[i] = c.end(ctx, r)
			fault.Passed("iptables: after " + filepath.Base(calls[i].command))
		}
	}
	return printed, errs
}

// running is a command that has been started.
type running struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

func (c *commands) begin(ctx context.Context, one call) (*running, error) {
	r := &running{Cmd: exec.CommandContext(ctx, one.command, one.args...)}
	r.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.WaitDelay = time.Second
	r.Stdin = strings.NewReader(one.input)
	r.Stdout, r.Stderr = &r.stdout, &r.stderr
	if err := c.start(r.Cmd); err != nil {
		return nil, failed(ctx, err, "")
	}
	return r, nil
}

func (c *commands) end(ctx context.Context, r *running) (string, error) {
	if err := c.wait(r.Cmd); err != nil {
		return "", failed(ctx, err, r.stderr.String())
	}
	return r.stdout.String(), nil
}

// failed is the error of a command, with its complaint.
func failed(ctx context.Context, err error, complaint string) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	complaint = strings.Join(strings.FieldsFunc(complaint, func(r rune) bool { return r == '\n' }), "; ")
	if complaint == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, complaint)
}
