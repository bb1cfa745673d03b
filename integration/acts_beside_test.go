package integration

import (
	"fmt"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// flush500 publishes 500 ports that no range can stand for, and has them flushed.
func flush500(u *under) {
	args := []string{"--net", "n0"}
	for n := range 500 {
		args = append(args, "-p", fmt.Sprintf("%d:80", 20001+2*n))
	}
	u.w.Serve("many", args, "tcp:80")
	u.more = []world.Flow{
		u.w.LAN.Flow(report.Connects, world.HostAddr+":20001"), u.w.LAN.Flow(report.Connects, world.HostAddr+":20999"),
	}
	u.run("`nft flush ruleset` with 500 published ports", "nft flush ruleset")
	u.run("`iptables -F` and `-t nat -F` with 500 published ports", "iptables -F; iptables -t nat -F")
}

func reloads(u *under) {
	u.run("`firewall-cmd --reload`", "firewall-cmd --reload")
	u.run("`firewall-cmd --complete-reload`", "firewall-cmd --complete-reload")
}

func ufwReloads(u *under) {
	u.run("`ufw enable`", "ufw --force enable")
	u.run("`ufw reload`", "ufw reload")
	u.run("`ufw disable`", "ufw disable")
}
