package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/mutate"
	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/world"
)

// reversal takes away what has mybr survive a fault.
type reversal struct {
	name string
	mutate.Mutation
	test  string // the test that must fail
	fault string // which it does not survive then
}

// reversals: make test plays the first one; make test-full plays all.
func reversals() []reversal {
	const flush = "TestOthersChangeTheFirewall/flush"
	return []reversal{
		{"changes by others are not noticed", mutate.Mutation{Pkg: "plugin", Function: "host.start", At: mutate.Condition("watcher"), With: "false"},
			flush, "`iptables -F`"},
		{"a jump stays where others have put it", mutate.Mutation{Pkg: "internal/firewall/iptables", Function: "jump.in",
			At: mutate.Condition("mine", "placed"), With: "len(mine) == 1 && (placed || true)"},
			flush, "a jump to mybr's chains is put behind a rule that drops all"},
		{"changes of IPv6 rules are not noticed", mutate.Mutation{Pkg: "internal/watch", Function: "ruleReader.handle",
			At: mutate.Condition("header"), With: "OLD || m.Data[0] == unix.AF_INET6"},
			flush, "`ip6tables -F`"},
		{"nothing is looked at without an event", mutate.Mutation{Pkg: "internal/reconcile", Function: "ticks", At: mutate.Condition("every"), With: "every < 0"},
			"TestResync", "a setting of a bridge is changed (resync every second)"},
		{"flows that began past the rules go on", mutate.Mutation{Pkg: "internal/conntrack", Function: "filter.pastRules", At: mutate.WholeBody(), With: "{ return false }"},
			"TestOthersChangeTheFirewall/flushed_while_away", "`iptables -F`, `-t nat -F` and `-P FORWARD ACCEPT` while mybr is away"},
		{"flows end with the rules", mutate.Mutation{Pkg: "internal/conntrack", Function: "keepMessages", At: mutate.Literal("ct"), With: `"none"`},
			flush, "`iptables -F` and `iptables -t nat -F`"},
		{"a pair that is put back is not announced", mutate.Mutation{Pkg: "internal/link", Function: "planner.reattached", At: mutate.WholeBody(), With: "{}"},
			"TestOthersChangeLinks", "a veth is set down"},
	}
}

// overlay writes the file for go build -overlay.
func (r reversal) overlay(t *testing.T) string {
	t.Helper()
	path, err := r.Overlay("..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReversalsApply builds the package of each: the function and the place are there, and
// the mistake is one that compiles. It needs no engine.
func TestReversalsApply(t *testing.T) {
	for _, r := range reversals() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if err := r.Build("..", t.TempDir()); err != nil {
				t.Error(err)
			}
			if !slices.ContainsFunc(reliability.Rows(), func(row reliability.Row) bool { return row.Fault == r.fault && row.Test == r.test }) {
				t.Errorf("%s has no row %q", r.test, r.fault)
			}
		})
	}
}

// TestReversals runs the tests on a mybr with one mistake after the other: they survive what
// comes before the fault, and not that.
func TestReversals(t *testing.T) {
	for i, r := range reversals() {
		t.Run(r.name, func(t *testing.T) {
			if i > 0 {
				world.Full(t)
			}
			record := filepath.Join(t.TempDir(), "record")
			run := exec.Command("/proc/self/exe", "-test.run=^"+strings.ReplaceAll(r.test, "/", "$/^")+"$", "-test.v")
			run.Env = append(os.Environ(), world.OverlayEnv+"="+r.overlay(t), reliability.FileEnv+"="+record, world.FirewallEnv+"="+world.IPTables)
			out, err := run.CombinedOutput()
			attempts, unread := reliability.Attempts(record)
			if err == nil || unread != nil || len(attempts) == 0 {
				t.Fatalf("%s: %v, record: %v\n%s", r.test, err, unread, out)
			}
			last := attempts[len(attempts)-1]
			if last.Fault != r.fault || last.Survived {
				t.Errorf("%s does not notice it in %q: %+v\n%s", r.test, r.fault, attempts, out)
			}
			for _, a := range attempts[:len(attempts)-1] {
				if !a.Survived {
					t.Errorf("%s was not survived either", a.Fault)
				}
			}
		})
	}
}
