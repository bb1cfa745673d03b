package integration

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/doctor"
)

// TestNftables is about what is mybr's in nf_tables, beside a Docker that uses iptables.
func TestNftables(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		test func(*testing.T, *world.World)
		cfg  world.Config
		full bool
	}{
		{name: "heals_and_switches", test: nftablesHeals, cfg: world.Config{Firewall: "nftables", Variant: "nft", LANs: []string{"192.0.2.10"}}},
		{name: "beside_legacy", test: nftablesHeals, cfg: world.Config{Firewall: "nftables", Variant: "legacy", LANs: []string{"192.0.2.10"}}, full: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("is about the mybr driver")
			}
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// nftablesHeals has others undo what is mybr's, and then changes the backend under traffic.
func nftablesHeals(t *testing.T, w *world.World) {
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0",
		"--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	w.Network("n1", "--subnet", "172.19.0.0/16")
	intruder := w.Idle("eve", "--net", "n1")
	w.LAN.Start("guest", "serve", "tcp:7000")
	matches(t, w)
	works := func(when string) {
		t.Helper()
		seenAs(t, when+": a port", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
		seenAs(t, when+": what leaves", web.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
		if o := intruder.Get("tcp", "172.18.0.2:80", soon); o.Code == report.Answered {
			t.Errorf("%s: another network gets in", when)
		}
	}
	works("at first")
	commands(t, w)
	healing(t, w, works)
	switching(t, w, web, works)
	w.Docker("rm", "--force", "web", "eve")
	w.Docker("network", "rm", "n0", "n1")
	w.Eventually(healWithin, func() error {
		if text := leftBehind(w, "table ip mybr", "table ip6 mybr", "table bridge mybr", "MYBR-"); text != "" {
			return fmt.Errorf("left:\n%s", text)
		}
		return nil
	})
}

// commands has the commands that look at rules say what they know of these.
func commands(t *testing.T, w *world.World) {
	t.Helper()
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w.MybrPID()))
	if err != nil {
		t.Fatal(err)
	}
	w.Eventually(healWithin, func() error { // while a pass is under way it can't tell
		for _, r := range examine(t, w, program, "doctor", "--state-dir", w.StateDir()).Results {
			if r.Verdict != doctor.OK && r.Verdict != doctor.Note {
				return fmt.Errorf("all is well, and %+v", r)
			}
		}
		return nil
	})
	rules := w.Host.Run(program, "rules")
	for _, line := range []string{"# nft list table ip mybr", "rule ip mybr forward iifname vmap @from", "element ip mybr published { tcp . 8088 : 172.18.0.2 . 80 }", " -t filter"} {
		if !strings.Contains(rules, line) {
			t.Errorf("mybr rules does not print %q:\n%s", line, rules)
		}
	}
	if r := w.Host.Try(program, "rules", "--diff"); r.Code != 0 {
		t.Errorf("mybr rules --diff: %+v", r)
	}
	published := regexp.MustCompile(`element ip mybr published \{ tcp \. 8088 : 172\.18\.0\.2 \. 80 \}\n    [1-9]\d* packets, `)
	if out := w.Host.Run(program, "rules", "--counters"); !published.MatchString(out) {
		t.Errorf("mybr rules --counters:\n%s", out)
	}
	// Beside the legacy variant of iptables, too: what is there is evaluated behind this.
	for to, verdict := range map[string]string{"host:8088": ": delivered", "172.18.0.2:80": ": dropped"} {
		if r := w.Host.Try(program, "explain", "lan", to); !strings.Contains(r.Out, verdict) {
			t.Errorf("mybr explain lan %s: %+v, want %s", to, r, verdict)
		}
	}
}

// healing has each of these put right at once, and told with who it was.
func healing(t *testing.T, w *world.World, works func(string)) {
	t.Helper()
	for _, fault := range []struct{ do, healed string }{
		{"iptables -D FORWARD -j MYBR-FORWARD", `-I FORWARD \d -j MYBR-FORWARD`},
		{"iptables -F MYBR-FORWARD", `-A MYBR-FORWARD -m mark`},
		{"nft delete table ip6 mybr", `add table ip6 mybr`},
		{"nft flush chain ip mybr forward", `add rule ip mybr forward iifname vmap @from`},
		{"nft delete element ip mybr published '{ tcp . 8088 }'", `add element ip mybr published \{ tcp \. 8088 : 172\.18\.0\.2 \. 80 \}`},
		{"nft add element ip mybr bridges '{ \"lo\" }'", `delete element ip mybr bridges \{ .*lo.* \}`},
		{"nft insert rule ip mybr pass drop", `flush chain ip mybr pass`},
		{"nft flush ruleset", `add table ip mybr.*changed by nft \(pid \d+\)`}, // and with it what Docker had, in that variant
		{"iptables -P FORWARD ACCEPT && iptables -P FORWARD DROP && iptables -F MYBR-FORWARD 2>/dev/null || true", `(MYBR-FORWARD -m mark|add table ip mybr.*changed by iptables)`},
	} {
		healed := regexp.MustCompile(`healed: .*` + fault.healed)
		told := len(w.Log())
		w.Host.Run("sh", "-c", fault.do)
		w.Eventually(healWithin, func() error {
			if log := w.Log()[told:]; !healed.MatchString(log) {
				return fmt.Errorf("%s: nothing is logged that matches %s, but\n%s", fault.do, healed, log)
			}
			return nil
		})
		w.Eventually(healWithin, func() error { return mismatch(t, w) })
		works(fault.do)
	}
}

// leftBehind is the lines of all rules that have one of the words.
func leftBehind(w *world.World, words ...string) string {
	var out strings.Builder
	for _, list := range [][]string{{"nft", "list", "tables"}, {"iptables-save"}, {"ip6tables-save"}} {
		for line := range strings.Lines(w.Host.Run(list...)) {
			for _, word := range words {
				stays := strings.Contains(line, "inet mybr") || strings.Contains(line, "MYBR-FORWARD-DROP") // while the host forwards for mybr
				if strings.Contains(line+" ", word) && !stays {
					out.WriteString(line)
				}
			}
		}
	}
	return out.String()
}
