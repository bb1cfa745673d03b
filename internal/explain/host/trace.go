package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/explain"
)

// Traced is a packet that the kernel has traced, and the rules that it has met.
type Traced struct {
	Packet string   `json:"packet"`
	Rules  []string `json:"rules"` // as iptables or nft prints them, each with what it did
}

// tracer is a table of nf_tables that has the kernel trace one flow, and the program that
// prints what it traces. The table is owned by the program that made it: it is gone when
// that ends, however it does (nft(8), flag owner; Linux 5.12). Both end with this process.
type tracer struct {
	table   *exec.Cmd
	input   io.WriteCloser
	monitor *exec.Cmd
	name    string
	lines   chan string
	words   words
}

// words is a program that prints what the kernel traces, and how it does.
type words struct {
	command []string
	place   func(r *explain.RuleAt) string            // what a line of the rule has
	traced  func(lines []string, own string) []Traced // own is the table that has the kernel trace
}

// readyWithin bounds the start of the two programs. The monitor reads each rule anew and takes
// its time: what is expected comes within traceWithin of the line before. Behind that nothing
// more must come for quietFor. The monitor prints what others have traced, too, without an end
// perhaps: all is over after allWithin.
const (
	readyWithin = 5 * time.Second
	traceWithin = 3 * time.Second
	quietFor    = 300 * time.Millisecond
	allWithin   = 15 * time.Second
)

// rule is the condition by which nf_tables knows the packet, in its namespace or where it
// comes into the host with its own source.
func (p *probe) rule(src netip.Addr) string {
	family, proto := "ip", "icmp"
	if p.q.Dst.Is6() {
		family, proto = "ip6", "icmpv6"
	}
	of := fmt.Sprintf("%s daddr %s", family, p.q.Dst.WithZone(""))
	if src.IsValid() {
		of += fmt.Sprintf(" %s saddr %s", family, src)
	}
	if p.q.Proto == explain.ICMP {
		return fmt.Sprintf("%s %s id %d", of, proto, p.local.Port())
	}
	return fmt.Sprintf("%s %[2]s sport %[3]d %[2]s dport %[4]d", of, p.q.Proto, p.local.Port(), p.q.Dport)
}

// startTrace begins to trace, in the namespace of the calling thread.
func startTrace(ctx context.Context, of words, condition string) (*tracer, error) {
	for _, program := range []string{"nft", of.command[0]} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("no trace without %s", program)
		}
	}
	t := &tracer{name: fmt.Sprintf("mybr-explain-%d", os.Getpid()), lines: make(chan string, 1024), words: of}
	err := t.makeTable(ctx, condition)
	if err == nil {
		err = t.startMonitor(ctx)
	}
	if err != nil {
		t.stop("")
		return nil, err
	}
	return t, nil
}

// makeTable has the kernel trace. Priority -350 is before all that iptables has: its first table
// is raw, at -300 (linux/netfilter_ipv4.h).
func (t *tracer) makeTable(ctx context.Context, condition string) error {
	table := program(ctx, "nft", "-i")
	input, err := table.StdinPipe()
	if err == nil {
		err = table.Start()
	}
	if err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	t.table, t.input = table, input
	fmt.Fprintf(t.input, `add table inet %[1]s { flags owner; }
add chain inet %[1]s pre { type filter hook prerouting priority -350; }
add chain inet %[1]s out { type filter hook output priority -350; }
add rule inet %[1]s pre %[2]s meta nftrace set 1
add rule inet %[1]s out %[2]s meta nftrace set 1
`, t.name, condition)
	return ready(ctx, func() (bool, error) {
		out, err := run(ctx, "nft", "list", "table", "inet", t.name)
		return err == nil && strings.Count(out, "nftrace") == 2, err
	})
}

// startMonitor begins behind makeTable: nft(8) reads the rules when it starts, and prints none
// of those that have come since.
func (t *tracer) startMonitor(ctx context.Context) error {
	monitor := program(ctx, t.words.command[0], t.words.command[1:]...)
	out, err := monitor.StdoutPipe()
	if err == nil {
		err = monitor.Start()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(t.words.command, " "), err)
	}
	t.monitor = monitor
	go t.read(out)
	return ready(ctx, func() (bool, error) { return listens(monitor.Process.Pid), nil })
}

func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ready waits until a condition holds.
func ready(ctx context.Context, holds func() (bool, error)) error {
	end := time.Now().Add(readyWithin)
	for {
		ok, err := holds()
		if ok {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(errors.New("the kernel's trace could not be turned on"), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// nftrace is the bit of the group in which the kernel tells of what it traces
// (NFNLGRP_NFTRACE, linux/netfilter/nfnetlink.h).
const nftrace = 1 << (9 - 1)

// listens reports whether a process listens to what the kernel traces. The columns are
// address, protocol, port ID, groups in hexadecimal, …, and at last the inode.
func listens(pid int) bool {
	text, _ := os.ReadFile("/proc/thread-self/net/netlink") // what can't be read now is read again
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != strconv.Itoa(unix.NETLINK_NETFILTER) {
			continue
		}
		if groups, err := strconv.ParseUint(f[3], 16, 64); err != nil || groups&nftrace == 0 {
			continue
		}
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == "socket:["+f[len(f)-1]+"]" {
				return true
			}
		}
	}
	return false
}

func (t *tracer) read(out io.Reader) {
	defer close(t.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		select {
		case t.lines <- s.Text():
		default: // more than anybody would read
		}
	}
}

// collect gathers what is printed until all is there, nothing more comes, or the time is up.
func (t *tracer) collect(expected string, within time.Duration) (lines []string) {
	end := time.NewTimer(within)
	defer end.Stop()
	for quiet := time.NewTimer(min(traceWithin, within)); ; {
		select {
		case line, ok := <-t.lines:
			if !ok {
				return lines
			}
			lines = append(lines, line)
			if expected != "" && strings.Contains(line, expected) {
				expected = ""
			}
			quiet.Reset(map[bool]time.Duration{true: quietFor, false: traceWithin}[expected == ""])
		case <-quiet.C:
			return lines
		case <-end.C:
			return lines
		}
	}
}

// stop waits for the last of the trace, which has expected in it ("": it isn't known), and ends
// both programs: with them the table goes.
func (t *tracer) stop(expected string) []Traced {
	var lines []string
	if t.monitor != nil {
		lines = t.collect(expected, allWithin)
	}
	if t.table != nil {
		_ = t.input.Close() // it ends
		_ = t.table.Wait()
	}
	if t.monitor != nil {
		_ = t.monitor.Process.Kill() // it knows no other end
		_ = t.monitor.Wait()
	}
	return t.words.traced(lines, t.name)
}
