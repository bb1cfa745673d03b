package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestOthersChangeLinks has other programs change mybr's links and the host's settings.
func TestOthersChangeLinks(t *testing.T) {
	t.Parallel()
	u := underTraffic(t, world.Config{})
	veth := hostEnd(t, u.w, u.web, "eth0").Name
	u.run("a bridge is deleted", "ip link del mybr0")
	// mybr may be quick enough to set it up in between, which the kernel lets nobody rename then.
	u.run("a bridge is renamed", "for i in $(seq 100); do ip link set mybr0 down; ip link set mybr0 name other0 && break; done")
	u.run("a bridge is set down", "ip link set mybr0 down")
	u.run("a bridge's address is removed", "ip addr del 172.18.0.1/16 dev mybr0")
	u.run("a bridge's IPv6 address is removed", "ip addr del fd00:18::1/64 dev mybr0")
	u.run("a bridge's MTU is changed", "ip link set mybr0 mtu 1280")
	u.askingOnce(func() {
		u.run("a veth is set down", "ip link set "+veth+" down")
		u.run("a veth is taken off its bridge", "ip link set "+veth+" nomaster")
	})
	u.run("ip_forward is turned off", "echo 0 > /proc/sys/net/ipv4/ip_forward")
	u.vethDeleted()
}

// askingOnce has a neighbour that does not answer at once be asked again after 20 s instead of
// one (retrans_time_ms in arp(7)), in both directions between the host and web, while do runs:
// mybr tells both of each other when it has put a pair back. What else comes to the bridge is
// not talked to meanwhile: a question to a pair that has just come up may get lost.
func (u *under) askingOnce(do func()) {
	u.t.Helper()
	for place, link := range map[*world.Place]string{u.web: "eth0", u.w.Host: "mybr0"} {
		for _, family := range []string{"ipv4", "ipv6"} {
			path := "net/" + family + "/neigh/" + link + "/retrans_time_ms"
			before := place.Sysctls(path)[path]
			place.Sysctl(path, "20000")
			defer place.Sysctl(path, before)
		}
	}
	do()
}

// vethDeleted: with its host end the container's end is gone, which mybr can't make again.
// The log says what to do, and that helps; others notice nothing.
func (u *under) vethDeleted() {
	w := u.w
	ben := w.Serve("ben", []string{"--net", "n0", "-p", "8089:80"}, "tcp:80")
	veth := hostEnd(u.t, w, ben, "eth0").Name
	u.fault("a veth is deleted, and its container connected anew", func() {
		before := len(w.Log())
		w.Host.Run("ip", "link", "del", veth)
		w.Eventually(healWithin, func() error {
			if log := w.Log()[before:]; !strings.Contains(log, "docker network disconnect") {
				return fmt.Errorf("the log doesn't say what to do: %s", log)
			}
			return nil
		})
		w.Docker("network", "disconnect", "n0", "ben")
		w.Docker("network", "connect", "n0", "ben")
	})
	w.Docker("restart", "-t", "0", "ben")
	w.Ready("ben")
	seenAs(u.t, "the published port of the container that lost its interface", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
}

// TestResync has something change of which the kernel tells nobody.
func TestResync(t *testing.T) {
	t.Parallel()
	u := underTraffic(t, world.Config{MybrArgs: []string{"--resync-interval=1s"}})
	u.run("a setting of a bridge is changed (resync every second)", "echo 1 > /proc/sys/net/ipv6/conf/mybr0/accept_ra")
}
