package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/integration/world"
)

// TestVPN has a tunnel come whose route overlaps a network: the network is used on, the log
// says once what comes of it, and new networks avoid the route.
func TestVPN(t *testing.T) {
	world.Full(t) // it waits for mybr to look at the routes
	t.Parallel()
	u := underTraffic(t, world.Config{MybrArgs: []string{"--address-pool", "base=172.16.0.0/12,size=16", "--address-pool", "base=10.99.0.0/16,size=24"}})
	w := u.w
	u.run("a VPN's route comes to overlap a network",
		"ip link add tun0 type veth peer name tunnel; ip link set tunnel up; ip addr add 10.7.0.2/24 dev tun0; ip link set tun0 up; ip route add 172.16.0.0/12 dev tun0")
	w.Docker("network", "create", "-d", "mybr", "--ipam-driver", "mybr", "later")
	later := w.Idle("later", "--net", "later")
	if got := ipv4(t, later, "eth0"); !strings.HasPrefix(got, "10.99.") {
		t.Errorf("the new network's container has %s, want an address that the route does not take", got)
	}
	answered(t, "out of the new network", later.Ping(world.LANAddr))
	const warning = "which a route to 172.16.0.0/12 by tun0 has come to overlap"
	w.Eventually(2*driver.CheckInterval, func() error {
		if !strings.Contains(w.Log(), warning) {
			return fmt.Errorf("the log does not warn of the route: %s", w.Log())
		}
		return nil
	})
	w.RestartMybr() // it looks at once, and says it once more
	w.Eventually(2*driver.CheckInterval, func() error {
		if n := strings.Count(w.Log(), warning); n != 2 {
			return fmt.Errorf("after a restart the log warns %d times in all, want 2", n)
		}
		return nil
	})
	seenAs(t, "the published port", w.LAN.Get("tcp", port8088), world.LANAddr)
}
