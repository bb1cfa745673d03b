package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// under is a host with a network under traffic: mybr0 (172.18.0.0/16) with the published port
// 8088. The LAN has a second host, which alone has a route to it.
type under struct {
	t             *testing.T
	w             *world.World
	web, intruder *world.Place
}

const port8088 = world.HostAddr + ":8088"

func underTraffic(t *testing.T, cfg world.Config) *under {
	t.Helper()
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	cfg.LANs = []string{"192.0.2.10"}
	w := world.New(t, cfg)
	article(w)
	u := &under{t: t, w: w, intruder: w.LANs[1]}
	u.web = w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80", "tcp:81")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	routeTo(t, u.intruder, "172.18.0.0/16")
	return u
}

// flows is all that must go on, and the intruders that must not get in: at the container's
// own address, where nothing is published.
func (u *under) flows() []world.Flow {
	lan := u.w.LAN
	return []world.Flow{
		lan.Flow(report.Stream, port8088), lan.Flow(report.Connects, port8088), lan.Flow(report.UDP, port8088),
		u.web.Flow(report.Ping, world.LANAddr), u.web.Flow(report.UDP, world.LANAddr+":7000"), u.web.Flow(report.Stream, world.LANAddr+":7000"),
		u.intruder.Intrusion(report.Connects, "172.18.0.2:81"), u.intruder.Intrusion(report.UDP, "172.18.0.2:80"),
	}
}

// fault has a fault happen under traffic, waits for healed and gives the longest time that
// traffic was interrupted or an intruder got in, less what the fault itself has taken.
func (u *under) fault(what string, do func() (itself time.Duration), healed func() error) {
	u.t.Helper()
	reliability.Try(u.t, what, func() time.Duration {
		u.t.Helper()
		tr := u.w.Traffic(u.flows()...)
		itself := do()
		u.w.Eventually(30*time.Second, healed)
		seen := tr.Stop()
		open, requests := seen.Open()
		u.t.Logf("%s:\n%v", what, seen)
		if seen.Broken() > 0 || seen.Unsettled() > 0 {
			u.t.Errorf("%s: %d streams broke, %d flows have not recovered:\n%v", what, seen.Broken(), seen.Unsettled(), seen)
		}
		if open > reliability.Healed {
			u.t.Errorf("%s: intruders got in for %v (%d requests)", what, open, requests)
		}
		return max(seen.Gap()-itself, 0)
	})
}

// matches waits until the host matches what is recorded.
func (u *under) matches() {
	u.t.Helper()
	u.w.Eventually(30*time.Second, func() error {
		if got := differences(u.t, u.w); len(got) > 0 {
			return fmt.Errorf("the host differs: %s", strings.Join(got, "; "))
		}
		return nil
	})
}

// TestOthersChangeTheFirewall has other programs change the host's firewall.
func TestOthersChangeTheFirewall(t *testing.T) {
	t.Parallel()
	t.Run("drop_on_top", func(t *testing.T) {
		t.Parallel()
		dropOnTop(underTraffic(t, world.Config{}))
	})
	t.Run("flushed_while_away", func(t *testing.T) {
		t.Parallel()
		flushedWhileAway(underTraffic(t, world.Config{}))
	})
}

// dropOnTop: the rule of an administrator stays where it was put, and mybr does not fight
// for the place.
func dropOnTop(u *under) {
	var saved []string
	u.fault("a rule that drops all comes first in FORWARD, and goes", func() time.Duration {
		u.w.Host.Run("iptables", "-I", "FORWARD", "-j", "DROP")
		began := time.Now()
		unanswered(u.t, "behind the rule", u.w.LAN.Get("tcp", port8088, "--timeout=300ms"))
		saved = rules(u.w)
		u.w.Host.Run("iptables", "-D", "FORWARD", "1")
		return time.Since(began)
	}, func() error { return nil })
	first := ""
	for _, rule := range saved {
		if first == "" && len(rule) > 10 && rule[:10] == "-A FORWARD" {
			first = rule
		}
	}
	if first != "-A FORWARD -j DROP" {
		u.t.Errorf("the first rule of FORWARD was %q, want the administrator's", first)
	}
}
