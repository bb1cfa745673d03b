package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/plugin"
)

// healWithin bounds how long a fault may last. It takes some 100 ms; more on a machine
// that does much else.
const healWithin = 10 * time.Second

// TestHeal has other programs undo what mybr has made: mybr puts it right at once, says so,
// and the host matches the records again.
func TestHeal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		test func(*testing.T, *world.World)
		cfg  world.Config
	}{
		{name: "everything", test: everythingHeals, cfg: world.Config{Variant: "nft"}},
		{name: "legacy", test: legacyHeals, cfg: world.Config{Variant: "legacy"}},
		{name: "pair_deleted", test: pairDeleted},
		{name: "bridge_of_others", test: othersBridge},
		{name: "fight", test: fight, cfg: world.Config{Variant: "nft"}},
		{name: "many_ports", test: manyPorts, cfg: world.Config{Variant: "nft"}},
		{name: "beside_docker", test: besideDocker, cfg: world.Config{Variant: "nft"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("is about the mybr driver")
			}
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// everythingHeals goes through all that happens on hosts.
func everythingHeals(t *testing.T, w *world.World) {
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "-o", "com.docker.network.driver.mtu=1450",
		"--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	w.Idle("ben", "--net", "n0")
	port := hostEnd(t, w, web, "eth0").Name
	snapshot := rulesNow(t, w)
	w.Serve("late", []string{"--net", "n0", "-p", "8089:80"}, "tcp:80")
	matches(t, w)

	ip := func(args string) func() {
		return func() { w.Host.Run(append([]string{"ip"}, strings.Fields(args)...)...) }
	}
	run := func(line string) func() {
		return func() { w.Host.Run("sh", "-c", line) }
	}
	faults := []fault{
		{"bridge set down", ip("link set mybr0 down"), `link mybr0: bring up`},
		{"address deleted", ip("addr del 172.18.0.1/16 dev mybr0"), `link mybr0: add address 172\.18\.0\.1/16`},
		{"IPv6 address deleted", ip("addr del fd00:18::1/64 dev mybr0"), `link mybr0: add address fd00:18::1/64`},
		{"MTU changed", ip("link set mybr0 mtu 1300"), `link mybr0: MTU 1300 -> 1450`},
		{"bridge renamed", run("ip link set mybr0 down && ip link set mybr0 name other0"), `link mybr0: name other0 -> mybr0`},
		{"bridge deleted", ip("link del mybr0"), `link mybr0: make bridge`},
		{"port set down", ip("link set " + port + " down"), `link ` + port + `: bring up`},
		{"port taken off", ip("link set " + port + " nomaster"), `link ` + port + `: put into bridge mybr0`},
		{"port renamed", run("ip link set " + port + " down && ip link set " + port + " name other1"), `link ` + port + `: name other1 -> ` + port},
		{"port isolated", run("bridge link set dev " + port + " isolated on"), `link ` + port + `: bridge port flag isolated`},

		{"forwarding turned off", run("echo 0 > /proc/sys/net/ipv4/ip_forward"), `net/ipv4/ip_forward: 0 -> 1`},
		{"IPv6 forwarding turned off", run("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"), `net/ipv6/conf/all/forwarding: 0 -> 1`},
	}
	for _, r := range ruleFaults(w, snapshot) {
		faults = append(faults, fault{r.name, run(r.line), r.healed})
	}
	for _, fault := range faults {
		healed := regexp.MustCompile(`healed: .*` + fault.healed)
		told := len(w.Log())
		begun := time.Now()
		fault.do()
		w.Eventually(healWithin, func() error {
			if log := w.Log()[told:]; !healed.MatchString(log) {
				return fmt.Errorf("%s: nothing is logged that matches %s, but\n%s", fault.name, healed, log)
			}
			return nil
		})
		t.Logf("%s: healed after %d ms", fault.name, time.Since(begun).Milliseconds())
		w.Eventually(healWithin, func() error { return mismatch(t, w) })
		seenAs(t, fault.name+": a port", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	}
	status, err := plugin.Client{RunDir: w.Path("/run/mybr")}.Status(t.Context())
	if err != nil || status.Healed["firewall"].Times < 7 || status.Healed["links"].Times < 9 || status.Healed["sysctls"].Times != 2 {
		t.Errorf("status: %+v, %v", status.Healed, err)
	}
}

// fault is what happens, and a pattern of what the log then says.
type fault struct {
	name   string
	do     func()
	healed string
}

// rulesNow keeps the rules as they are in a file, for whoever restores them later.
func rulesNow(t *testing.T, w *world.World) (path string) {
	t.Helper()
	text := either(w, "", "delete table ip mybr\n") + w.Host.Run(strings.Fields(either(w, "iptables-save", "nft list table ip mybr"))...)
	path = filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ruleFault is a fault that a line for a shell makes.
type ruleFault struct{ name, line, healed string }

// ruleFaults is what happens to rules, in iptables in both cases: with the other backend a few
// of mybr's are there.
func ruleFaults(w *world.World, snapshot string) []ruleFault {
	both := []ruleFault{
		{"a jump deleted", "iptables -D FORWARD -j MYBR-FORWARD", `-I FORWARD \d -j MYBR-FORWARD`},
		{"filter rules flushed", "iptables -F", `iptables filter: -A MYBR-FORWARD .*changed by iptables \(pid \d+\)`},
	}
	if w.Backend() == "nftables" {
		return append(both,
			ruleFault{"an element deleted", "nft delete element ip mybr published '{ tcp . 8088 }'", `nft: add element ip mybr published \{ tcp \. 8088 .*changed by nft \(pid \d+\)`},
			ruleFault{"ports flushed", "nft flush map ip mybr published", `nft: add element ip mybr published \{ tcp \. 808[89] `},
			ruleFault{"a chain flushed", "nft flush chain ip mybr to-protected", `nft: flush chain ip mybr to-protected`},
			ruleFault{"a rule inserted", "nft insert rule ip mybr forward drop", `nft: flush chain ip mybr forward`},
			ruleFault{"IPv6's table deleted", "nft delete table ip6 mybr", `nft: add table ip6 mybr`},
			ruleFault{"everything flushed", "nft flush ruleset", `nft: add table ip mybr.*changed by nft \(pid \d+\)`},
			ruleFault{"an old snapshot restored", "nft -f " + snapshot, `nft: .*ip mybr .*changed by nft`},
		)
	}
	return append(both,
		ruleFault{"IPv6 rules flushed", "ip6tables -F", `ip6tables filter: -A MYBR-FORWARD .*changed by ip6tables`},
		ruleFault{"nat rules flushed", "iptables -t nat -F", `iptables nat: -A MYBR-PORTS .*changed by iptables \(pid \d+\)`},
		ruleFault{"chains deleted", "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X || true", `iptables (filter|nat): -[AN] MYBR-`},
		ruleFault{"a rule deleted", "iptables -t nat -D MYBR-PORTS 1", `iptables nat: -A MYBR-PORTS`},
		ruleFault{"everything flushed", "nft flush ruleset", `iptables filter: -N MYBR-.*; and \d+ more; changed by nft \(pid \d+\)`},
		ruleFault{"an old snapshot restored", "iptables-restore < " + snapshot, `iptables .*MYBR-.*changed by iptables-resto`},
	)
}

// matches fails the test unless the host matches the records.
func matches(t *testing.T, w *world.World) {
	t.Helper()
	if err := mismatch(t, w); err != nil {
		t.Fatal(err)
	}
}

// mismatch is what mybr status --diff prints, as an error.
func mismatch(t *testing.T, w *world.World) error {
	t.Helper()
	got, err := askDifferences(t, w)
	if len(got) > 0 {
		return fmt.Errorf("the host differs: %s", strings.Join(got, "; "))
	}
	return err
}
