package integration

import (
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// flushedWhileAway: while mybr is away all rules go and the host forwards everything. What
// begins then does not stay as it began: flows are translated, and intruders are out.
func flushedWhileAway(u *under) {
	const fault = "`iptables -F`, `-t nat -F` and `-P FORWARD ACCEPT` while mybr is away"
	w := u.w
	reliability.Try(u.t, fault, func() time.Duration {
		streams := w.Traffic(w.LAN.Flow(report.Stream, port8088), u.web.Flow(report.Stream, world.LANAddr+":7000"))
		w.KillMybr()
		w.Host.Run("iptables", "-P", "FORWARD", "ACCEPT")
		w.Host.Run("iptables", "-F")
		w.Host.Run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP") // flows are tracked on
		w.Host.Run("iptables", "-t", "nat", "-F")
		if w.Backend() == world.NFTables {
			w.Host.Run("nft", "delete", "table", "ip", "mybr")
		}
		tr := w.Traffic(
			u.web.Flow(report.UDP, world.LANAddr+":7000").Late(), u.web.Flow(report.Ping, world.LANAddr).Late(),
			u.web.Flow(report.Connects, world.LANAddr+":7000").Late(),
			w.LAN.Flow(report.UDP, port8088).Late(), w.LAN.Flow(report.Connects, port8088).Late(),
			u.intruder.Intrusion(report.Connects, "172.18.0.2:81"), u.intruder.Intrusion(report.UDP, "172.18.0.2:80"),
			u.intruder.Intrusion(report.Stream, "172.18.0.2:81"),
		)
		answered(u.t, "an intruder, without rules", u.intruder.Get("tcp", "172.18.0.2:81"))
		w.StartMybr()
		u.matches()
		began := tr.Stop()
		u.t.Logf("%s: flows that began without rules:\n%v", fault, began)
		if began.Unsettled() > 0 {
			u.t.Errorf("%s: %d flows are not as they ought to be:\n%v", fault, began.Unsettled(), began)
		}
		seen := streams.Stop()
		if seen.Broken() > 0 {
			u.t.Errorf("%s: %v", fault, seen)
		}
		return 0
	})
}
