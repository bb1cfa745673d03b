package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// under is a host with a network under traffic: mybr0 (172.18.0.0/16, fd00:18::/64) with the
// published port 8088. The LAN has a second host, which alone has a route to it.
type under struct {
	t             *testing.T
	w             *world.World
	web, intruder *world.Place
	more          []world.Flow // beside the usual ones
}

const port8088, port8088v6 = world.HostAddr + ":8088", "[" + world.HostAddr6 + "]:8088"

// underTraffic makes one. prepare is called before the network is made.
func underTraffic(t *testing.T, cfg world.Config, prepare ...func(*world.World)) *under {
	t.Helper()
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	cfg.LANs = []string{"192.0.2.10"}
	w := world.New(t, cfg)
	for _, f := range prepare {
		f(w)
	}
	u := &under{t: t, w: w, intruder: w.LANs[1]}
	u.serve()
	return u
}

// serve makes the network with what it serves.
func (u *under) serve() {
	u.t.Helper()
	w := u.w
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0", "-o", "com.docker.network.driver.mtu=1400", "--ipv6", "--subnet", "fd00:18::/64")
	u.web = w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80", "tcp:81")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	routeTo(u.t, u.intruder, "172.18.0.0/16")
	u.intruder.Run("ip", "-6", "route", "add", "fd00:18::/64", "via", world.HostAddr6)
}

// flows is all that must go on, and the intruders that must not get in: at the container's
// own address, where nothing is published.
func (u *under) flows() []world.Flow {
	lan := u.w.LAN
	return append([]world.Flow{
		lan.Flow(report.Stream, port8088), lan.Flow(report.Connects, port8088), lan.Flow(report.UDP, port8088),
		lan.Flow(report.Connects, port8088v6), u.web.Flow(report.Ping, world.LANAddr6),
		u.web.Flow(report.Ping, world.LANAddr), u.web.Flow(report.UDP, world.LANAddr+":7000"), u.web.Flow(report.Stream, world.LANAddr+":7000"),
		u.intruder.Intrusion(report.Connects, "172.18.0.2:81"), u.intruder.Intrusion(report.UDP, "172.18.0.2:80"),
		u.intruder.Intrusion(report.Connects, "[fd00:18::2]:81"),
	}, u.more...)
}

// fault has a fault happen under traffic, waits until the host matches what is recorded and
// gives the longest time that traffic was interrupted or an intruder got in.
func (u *under) fault(what string, do func()) {
	u.t.Helper()
	reliability.Try(u.t, what, func() time.Duration {
		u.t.Helper()
		tr := u.w.Traffic(u.flows()...)
		begun := time.Now()
		do()
		u.matches()
		healed := time.Since(begun)
		seen := tr.Stop()
		open, requests := seen.Open()
		gap := max(seen.Gap(), open)
		u.t.Logf("%s: healed after %d ms, longest gap %d ms", what, healed.Milliseconds(), gap.Milliseconds())
		if gap > time.Second { // what may be past the row's bound
			u.t.Logf("%v", seen)
		}
		if seen.Broken() > 0 || seen.Unsettled() > 0 {
			u.t.Errorf("%s: %d streams broke, %d flows are not as they were:\n%v", what, seen.Broken(), seen.Unsettled(), seen)
		}
		if open > 0 {
			u.t.Logf("%s: intruders got in for %v (%d requests)", what, open, requests)
		}
		return gap
	})
}

// run is a fault that is a command of a shell on the host.
func (u *under) run(what, command string) {
	u.t.Helper()
	u.fault(what, func() { u.w.Host.Run("sh", "-ec", command) })
}

// matches waits until the host matches what is recorded.
func (u *under) matches() {
	u.t.Helper()
	u.w.Eventually(healWithin, func() error { return mismatch(u.t, u.w) })
}

// TestOthersChangeTheFirewall has other programs change the host's firewall.
func TestOthersChangeTheFirewall(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		acts func(*under)
		cfg  world.Config
		full bool
		prep []func(*world.World)
	}{
		{name: "flush", acts: flushes, cfg: world.Config{Variant: "nft"}},
		{name: "flush_legacy", acts: legacyFlushes, cfg: world.Config{Variant: "legacy"}, full: true},
		{name: "drop_on_top", acts: dropOnTop},
		{name: "flushed_while_away", acts: flushedWhileAway},
		{name: "500_ports", acts: flush500},
		{name: "firewalld", acts: reloads, prep: []func(*world.World){
			func(w *world.World) { startFirewalld(w) }, (*world.World).RestartDocker, // Docker looks for firewalld when it starts
		}},
		{name: "ufw", acts: ufwReloads},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.acts(underTraffic(t, test.cfg, test.prep...))
		})
	}
}

// snapshot saves the rules as they are without the published ports of web, and gives the
// command that restores them.
func (u *under) snapshot() string {
	u.t.Helper()
	u.w.Host.Run("sh", "-ec", "iptables-save | grep -v 8088 > /run/snapshot")
	return "iptables-restore < /run/snapshot"
}

// unpublish is a command that deletes the rule of a published port.
func (u *under) unpublish() string {
	if u.w.Backend() == world.NFTables {
		return "nft delete element ip mybr published '{ tcp . 8088 }'"
	}
	return "iptables -t nat -D MYBR-PORTS 1"
}

func flushes(u *under) {
	restore := u.snapshot()
	u.run("`iptables -F`", "iptables -F")
	u.run("`iptables -F` and `-X`", "iptables -F; iptables -X")
	u.run("`iptables -t nat -F`", "iptables -t nat -F")
	u.run("`iptables -F` and `iptables -t nat -F`", "iptables -F; iptables -t nat -F")
	u.run("`iptables-restore` of an old snapshot", restore)
	u.run("the rule of a published port is deleted", u.unpublish())
	u.run("a jump to mybr's chains is deleted", "iptables -D FORWARD -j MYBR-FORWARD")
	u.run("a jump to mybr's chains is put behind a rule that drops all",
		"iptables -A FORWARD -j DROP; iptables -D FORWARD -j MYBR-FORWARD; iptables -A FORWARD -j MYBR-FORWARD")
	u.run("`ip6tables -F`", "ip6tables -F")
	u.run("`ip6tables -t nat -F`", "ip6tables -t nat -F")
	u.run("`nft flush ruleset`", "nft flush ruleset")
}

func legacyFlushes(u *under) {
	restore := u.snapshot()
	u.run("`iptables-legacy -F`", "iptables -F")
	u.run("`iptables-legacy -F` and `-X`", "iptables -F; iptables -X")
	u.run("`iptables-legacy -t nat -F`", "iptables -t nat -F")
	u.run("`iptables-legacy-restore` of an old snapshot", restore)
	u.run("the rule of a published port is deleted (legacy)", u.unpublish())
}

// dropOnTop: the rule of an administrator stays where it was put, and mybr does not fight
// for the place.
func dropOnTop(u *under) {
	const fault = "another program's rule comes first in FORWARD and drops all, and goes"
	reliability.Try(u.t, fault, func() time.Duration {
		tr := u.w.Traffic(u.flows()...)
		before := len(u.w.Log())
		u.w.Host.Run("iptables", "-I", "FORWARD", "-j", "DROP")
		begun := time.Now()
		unanswered(u.t, "behind the rule", u.w.LAN.Get("tcp", port8088, "--timeout=500ms"))
		first := u.w.Host.Run("sh", "-ec", "iptables -S FORWARD | sed -n 2p")
		u.w.Host.Run("iptables", "-D", "FORWARD", "1")
		closed := time.Since(begun)
		seen := tr.Stop()
		if first != "-A FORWARD -j DROP" {
			u.t.Errorf("the first rule of FORWARD was %q, want the other program's", first)
		}
		if seen.Broken() > 0 || seen.Unsettled() > 0 {
			u.t.Errorf("behind the rule: %v", seen)
		}
		u.matches()
		if log := u.w.Log()[before:]; strings.Contains(log, "again and again") {
			u.t.Errorf("mybr fights for its place: %s", log)
		}
		return max(seen.Gap()-closed, 0)
	})
}
