package watch

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds how long an event takes that must come.
const within = 10 * time.Second

// told is what a Watcher has told.
type told struct {
	t       *testing.T
	h       *nettest.Host
	mu      sync.Mutex
	lines   []string
	changes []RuleChange
	own     map[int]bool
}

// watched runs a Watcher in the test's namespace until the test ends.
func watched(t *testing.T, h *nettest.Host) *told {
	t.Helper()
	told := &told{t: t, h: h, own: map[int]bool{}}
	w, err := Open(told.config())
	if err != nil {
		t.Fatal(err)
	}
	told.run(w)
	return told
}

func (w *told) run(watcher *Watcher) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { watcher.Run(ctx); close(done) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *told) config() Config {
	return Config{
		Link: func(name string) { w.note("link " + name) },
		ForwardingOff: func(ipv6 bool) {
			w.note(fmt.Sprintf("forwarding off, IPv6 %t", ipv6))
		},
		Matters: func(c RuleChange) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			c.Message = slices.Clone(c.Message)
			w.changes = append(w.changes, c)
			return strings.HasPrefix(c.Chain, "MYBR-") || strings.Contains(string(c.Message), "MYBR-")
		},
		Own: func(pid int) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.own[pid]
		},
		Rules:     func(by Process) { w.note("rules by " + by.String()) },
		LostLinks: func() { w.note("lost links") },
		LostRules: func() { w.note("lost rules") },
		Warn:      func(format string, args ...any) { w.note("warning: " + fmt.Sprintf(format, args...)) },
	}
}

func (w *told) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
}

func (w *told) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

// until waits until all of the lines were told, and returns and forgets all.
func (w *told) until(lines ...string) (all []string) {
	w.t.Helper()
	nettest.Eventually(w.t, within, func() error {
		all := w.all()
		for _, line := range lines {
			if !slices.Contains(all, line) {
				return fmt.Errorf("not told: %q; only %q", line, all)
			}
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	all, w.lines = w.lines, nil
	return all
}

// links has every earlier event about links told, and returns what was told since until.
func (w *told) links() []string {
	w.t.Helper()
	w.h.Run("ip", "link", "add", "mark0", "type", "bridge")
	told := w.until("link mark0")
	w.h.Run("ip", "link", "del", "mark0")
	return slices.DeleteFunc(append(told, w.until("link mark0")...), func(l string) bool { return l == "link mark0" })
}

func TestLinks(t *testing.T) {
	h := nettest.New(t)
	h.Run("ip", "link", "add", "old0", "type", "bridge")
	h.Run("ip", "link", "add", "other0", "type", "bridge")
	w := watched(t, h)
	w.links()
	for _, c := range []struct {
		ip   string
		want []string
	}{
		{"link add br0 type bridge", []string{"link br0"}},
		{"link add veth0 type veth peer name veth1", []string{"link veth0", "link veth1"}},
		{"link set br0 up", []string{"link br0"}},
		{"link set br0 mtu 1400", []string{"link br0"}},
		{"addr add 172.18.0.1/16 dev br0", []string{"link br0"}},
		{"addr del 172.18.0.1/16 dev br0", []string{"link br0"}},
		{"addr add fd00::1/64 dev br0", []string{"link br0"}},
		{"addr del fd00::1/64 dev br0", []string{"link br0"}},
		{"link set veth0 master br0", []string{"link veth0"}},
		{"link set veth0 up", []string{"link veth0"}},
		{"link set veth0 type bridge_slave isolated on", []string{"link veth0"}},
		{"link set veth0 nomaster", []string{"link veth0"}},
		{"link set br0 down", []string{"link br0"}},
		{"link set br0 name br1", []string{"link br0", "link br1"}},
		{"link set old0 name old1", []string{"link old0", "link old1"}}, // it was there before
		{"link del veth0", []string{"link veth0", "link veth1"}},
		{"link del br1", []string{"link br1"}},
	} {
		h.Run("ip", strings.Fields(c.ip)...)
		t.Log("ip " + c.ip)
		w.until(c.want...)
		if slices.Contains(w.links(), "link other0") { // a bridge changes with its ports, and later
			t.Errorf("ip %s: also told of other0", c.ip)
		}
	}
}

// Only that the host as a whole has ceased to forward is told.
func TestForwarding(t *testing.T) {
	h := nettest.New(t)
	w := watched(t, h)
	for path, line := range map[string]string{
		"net/ipv4/ip_forward":          "forwarding off, IPv6 false",
		"net/ipv6/conf/all/forwarding": "forwarding off, IPv6 true",
		"net/ipv4/conf/all/forwarding": "forwarding off, IPv6 false",
	} {
		h.Sysctl(path, "1")
		h.Sysctl(strings.Replace(path, "all", "lo", 1), "1")
		if all := slices.DeleteFunc(w.links(), isLink); len(all) > 0 {
			t.Errorf("%s turned on: %q", path, all)
		}
		h.Sysctl(path, "0")
		w.until(line)
	}
}

func isLink(line string) bool { return strings.HasPrefix(line, "link ") }

// A transaction with a change that matters is told of with who made it; those of others
// that don't matter are not.
func TestRules(t *testing.T) {
	h := nettest.New(t)
	w := watched(t, h)
	var want []string
	for _, c := range []struct {
		command string
		matters bool
	}{
		{"iptables-nft -N MYBR-FORWARD", true},
		{"iptables-nft -A FORWARD -j MYBR-FORWARD", true},
		{"iptables-nft -A FORWARD -j ACCEPT", false},
		{"iptables-nft -N DOCKER", false},
		{"iptables-nft -A DOCKER -j ACCEPT", false},
		{"iptables-nft -F DOCKER", false},
		{"iptables-nft -D FORWARD -j MYBR-FORWARD", true},
		{"iptables-nft -F", false}, // no rule is there that matters
		{"iptables-nft -X MYBR-FORWARD", true},
		{"ip6tables-nft -t nat -N MYBR-PORTS", true},
		{"ip6tables-nft -t nat -A OUTPUT -j MYBR-PORTS", true},
		{"ip6tables-nft -t nat -F", true},
		{"nft flush ruleset", true},
	} {
		argv := strings.Fields(c.command)
		if pid := w.pid(argv); c.matters {
			want = append(want, fmt.Sprintf("rules by %s (pid %d)", argv[0], pid))
		}
	}
	nettest.Eventually(t, within, func() error {
		if all := w.all(); !slices.Equal(all, want) {
			return fmt.Errorf("told\n%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.ContainsFunc(w.changes, func(c RuleChange) bool { return c.Table == "filter" && c.Chain == "DOCKER" }) {
		t.Error("a rule of Docker's was not even looked at")
	}
}

// pid runs a command and returns the PID that it had.
func (w *told) pid(argv []string) (pid int) {
	w.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var out []byte
	var err error
	w.h.In(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		w.t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return cmd.Process.Pid
}

func TestOwnRules(t *testing.T) {
	h := nettest.New(t)
	w := watched(t, h)
	const commands = 20
	for i := range commands { // one's own, started before anyone can know of its PID
		w.mu.Lock()
		cmd := exec.Command("iptables-nft", "-N", fmt.Sprintf("MYBR-%d", i))
		var err error
		h.In(func() { err = cmd.Start() })
		if err != nil {
			w.mu.Unlock()
			t.Fatal(err)
		}
		w.own[cmd.Process.Pid] = true
		w.mu.Unlock()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	foreign := w.pid([]string{"iptables-nft", "-X", "MYBR-0"})
	line := fmt.Sprintf("rules by iptables-nft (pid %d)", foreign)
	nettest.Eventually(t, within, func() error {
		if all := w.all(); !slices.Contains(all, line) {
			return fmt.Errorf("not told: %s", line)
		}
		return nil
	})
	if all := w.all(); len(all) != 1 {
		t.Errorf("told %q, want the foreign one alone", all)
	}
}
