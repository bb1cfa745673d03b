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
	Rules  []string `json:"rules"` // as iptables prints them, each with what it did
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
func startTrace(ctx context.Context, condition string) (*tracer, error) {
	for _, program := range []string{"nft", "xtables-monitor"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("no trace without %s", program)
		}
	}
	t := &tracer{name: fmt.Sprintf("mybr-explain-%d", os.Getpid()), lines: make(chan string, 1024)}
	t.monitor = program(ctx, "xtables-monitor", "--trace")
	out, err := t.monitor.StdoutPipe()
	if err == nil {
		err = t.monitor.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("xtables-monitor: %w", err)
	}
	go t.read(out)
	t.table = program(ctx, "nft", "-i")
	if t.input, err = t.table.StdinPipe(); err == nil {
		err = t.table.Start()
	}
	if err != nil {
		t.table = nil
		t.stop("")
		return nil, fmt.Errorf("nft: %w", err)
	}
	// Priority -350 is before all that iptables has: its first table is raw, at -300
	// (linux/netfilter_ipv4.h).
	fmt.Fprintf(t.input, `add table inet %[1]s { flags owner; }
add chain inet %[1]s pre { type filter hook prerouting priority -350; }
add chain inet %[1]s out { type filter hook output priority -350; }
add rule inet %[1]s pre %[2]s meta nftrace set 1
add rule inet %[1]s out %[2]s meta nftrace set 1
`, t.name, condition)
	if err := t.ready(ctx); err != nil {
		t.stop("")
		return nil, err
	}
	return t, nil
}

func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// ready waits until the table is there and the monitor listens.
func (t *tracer) ready(ctx context.Context) error {
	end := time.Now().Add(readyWithin)
	for {
		out, err := run(ctx, "nft", "list", "table", "inet", t.name)
		if err == nil && strings.Count(out, "nftrace") == 2 && listens(t.monitor.Process.Pid) {
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
	lines := t.collect(expected, allWithin)
	if t.table != nil {
		_ = t.input.Close() // it ends
		_ = t.table.Wait()
	}
	_ = t.monitor.Process.Kill() // it knows no other end
	_ = t.monitor.Wait()
	return traced(lines, t.name)
}

// traced reads what xtables-monitor(8) prints: of each packet a line at each hook, and below
// it a line for each rule,
//
//	PACKET: 2 1beac99d OUT=lo SRC=192.0.2.1 DST=192.0.2.2 …
//	 TRACE: 2 1beac99d filter:OUTPUT:rule:0x2:ACCEPT  -4 -t filter -A OUTPUT -j ACCEPT
//
// Those of the table own are left out: its rule is the first that a packet meets, and the ID is
// another one behind a bridge.
func traced(lines []string, own string) (all []Traced) {
	packet := ""
	for _, line := range lines {
		kind, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
		f := strings.Fields(rest)
		if !ok || len(f) < 3 {
			continue
		}
		what := strings.Join(f[2:], " ")
		switch {
		case kind == "PACKET":
			packet = what
		case kind == "TRACE" && strings.HasPrefix(what, own+":"):
			if strings.Contains(what, ":rule:") {
				all = append(all, Traced{Packet: packet, Rules: []string{}})
			}
		case kind == "TRACE" && len(all) > 0:
			all[len(all)-1].Rules = append(all[len(all)-1].Rules, ruleText(what))
		}
	}
	return all[:min(1, len(all))]
}

// ruleText is a traced rule without the handle: "filter FORWARD ACCEPT: -A FORWARD -j ACCEPT".
func ruleText(what string) string {
	place, rule, _ := strings.Cut(what, " ")
	parts := strings.Split(place, ":")
	if len(parts) < 3 {
		return what
	}
	text := parts[0] + " " + parts[1]
	if len(parts) >= 4 && parts[2] == "policy" {
		return text + ": policy " + parts[3]
	}
	if _, from, ok := strings.Cut(rule, "-t "); ok {
		if _, rule, ok = strings.Cut(from, " "); ok && rule != "" {
			return text + ": " + rule
		}
	}
	// Not every rule is printed; its number is that of nft --handle list ruleset.
	if len(parts) >= 5 {
		return fmt.Sprintf("%s: the rule with the handle %s says %s", text, parts[3], parts[4])
	}
	return text + ": " + strings.Join(parts[2:], " ")
}
