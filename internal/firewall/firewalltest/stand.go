package firewalltest

import (
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// Alone is a host on which iptables has no tables.
const Alone = "alone"

// Stand is the variant of iptables that a test's host has, as what the commands `iptables`
// and `ip6tables` are, and the family that the test is about. Policies are for both.
type Stand struct {
	Name string // Alone, "nft" or "legacy"
	IP   model.Family
	Dir  string // with the commands, and those that save and restore
}

// NewStand finds the commands. Those of Alone are there, but not run.
func NewStand(t *testing.T, name string, ip model.Family) Stand {
	t.Helper()
	s := Stand{name, ip, t.TempDir()}
	variant := name
	if name == Alone {
		variant = "nft"
	}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(command + "-" + variant + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(s.Dir, command+suffix)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// Each runs a test on a host of its own for each name of a Stand, in the families that
// families says.
func Each(t *testing.T, names []string, test func(t *testing.T, h *nettest.Host, s Stand)) {
	for i, name := range names {
		for _, ip := range families(t, i, len(names)) {
			t.Run(name+" "+ip.String(), func(t *testing.T) {
				t.Parallel()
				h := nettest.New(t)
				test(t, h, NewStand(t, name, ip))
			})
		}
	}
}

// families are those in which a test is played in the i-th of n ways: both, or, with -short, one
// after the other, so that the test meets each way, and both families where there are two ways. With
// which one it begins hangs on its name: a way meets both among all tests.
func families(t *testing.T, i, n int) []model.Family {
	both := []model.Family{model.IPv4, model.IPv6}
	if !testing.Short() || n == 1 {
		return both
	}
	h := fnv.New32a()
	h.Write([]byte(t.Name()))
	at := (int(h.Sum32()>>1) + i) % 2
	return both[at : at+1]
}

// In is a text of addresses in the family that the test is about.
func (s Stand) In(text string) string { return In(s.IP, text) }

// command is that of iptables for the family.
func (s Stand) command() string {
	if s.IP == model.IPv6 {
		return "ip6tables"
	}
	return "iptables"
}

// Save is what iptables-save prints.
func (s Stand) Save(h *nettest.Host, args ...string) string {
	return h.Run(filepath.Join(s.Dir, s.command()+"-save"), args...)
}

// Do runs iptables commands, one for each line. They go through one iptables-restore:
// a process for each command is most of the time that a test takes.
func (s Stand) Do(h *nettest.Host, lines string) {
	var input strings.Builder
	open := ""
	for line := range strings.Lines(s.In(lines)) {
		table, command := "filter", strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(command, "-t "); ok {
			table, command, _ = strings.Cut(rest, " ")
		}
		if command != "" && table != open {
			input.WriteString(commit(open) + "*" + table + "\n")
			open = table
		}
		input.WriteString(command + "\n")
	}
	input.WriteString(commit(open))
	h.Feed(input.String(), filepath.Join(s.Dir, s.command()+"-restore"), "--noflush")
}

// commit ends a table, if there is one.
func commit(table string) string {
	if table == "" {
		return ""
	}
	return "COMMIT\n"
}
