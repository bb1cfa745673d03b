package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// switching changes the backend there and back, while mybr is away and at once when it has
// been killed. No flow of either family is interrupted, new connections come in all the time,
// nobody gets in who may not, and nothing of the other backend stays.
func switching(t *testing.T, w *world.World, web *world.Place, works func(string)) {
	t.Helper()
	intruder := w.LANs[1]
	routeTo(t, intruder, "172.18.0.0/16")
	intruder.Run("ip", "-6", "route", "add", "fd00:18::/64", "via", world.HostAddr6)
	port, port6 := world.HostAddr+":8088", "["+world.HostAddr6+"]:8088"
	flows := w.Traffic(
		w.LAN.Flow(report.Stream, port), w.LAN.Flow(report.UDP, port), w.LAN.Flow(report.Connects, port),
		w.LAN.Flow(report.Stream, port6), w.LAN.Flow(report.Connects, port6), w.Host.Flow(report.Stream, port),
		web.Flow(report.Stream, world.LANAddr+":7000"), web.Flow(report.Ping, world.LANAddr), web.Flow(report.Ping, world.LANAddr6),
		web.Flow(report.Connects, world.LANAddr+":7000"), web.Flow(report.Stream, port),
		intruder.Intrusion(report.Connects, "172.18.0.2:80"), intruder.Intrusion(report.UDP, "172.18.0.2:80"),
		intruder.Intrusion(report.Connects, "[fd00:18::2]:80"),
	)
	for i, kind := range []string{world.IPTables, world.NFTables, world.IPTables, world.NFTables, world.IPTables} {
		w.Firewall(kind)
		if i < 3 {
			w.RestartMybr()
		} else {
			w.KillMybr()
			w.StartMybr()
		}
		w.Eventually(healWithin, func() error { return mismatch(t, w) })
		works(kind)
		if other := ofTheOther(w, kind); len(other) > 0 {
			t.Errorf("with %s there is\n%s", kind, strings.Join(other, "\n"))
		}
	}
	seen := flows.Stop()
	if open, _ := seen.Open(); seen.Broken() > 0 || seen.Unsettled() > 0 || open > 0 {
		t.Errorf("the backend changes: %v", seen)
	}
	t.Logf("the backend changes: %v", seen)
}

// ofTheOther is what there is of the backend that is not used. With nftables these are all
// chains of iptables but those that tell it what may pass.
func ofTheOther(w *world.World, kind string) []string {
	if kind == world.IPTables {
		return w.Host.Tables()
	}
	used := []string{"MYBR-FORWARD", "MYBR-ISOLATE", "MYBR-FORWARD-DROP"}
	var other []string
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(w.Host.Run(save)) {
			names := regexp.MustCompile(`MYBR-[A-Z-]+`).FindAllString(line, -1)
			if slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(used, name) }) {
				other = append(other, save+" "+strings.TrimSpace(line))
			}
		}
	}
	return other
}
