package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/integration/world"
)

// removedWithoutMybr removes containers while mybr is away, which Docker gives up telling
// it: their ports and addresses can be had again.
func removedWithoutMybr(t *testing.T, w *world.World) {
	if testing.Short() {
		t.Skip("takes more than a minute, for Docker and mybr both wait")
	}
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/29")
	stays := w.Serve("stays", []string{"--net", "n0", "--ip", "10.77.0.2", "-p", "8089:80"}, "tcp:80")
	w.Idle("wished", "--net", "n0", "--ip", "10.77.0.3", "-p", "8088:80")
	for last := 4; last <= 6; last++ {
		w.Idle(fmt.Sprint("c", last), "--net", "n0")
	}
	w.KillMybr()
	together(func() { w.DockerTry("rm", "-f", "wished") }, func() { w.DockerTry("rm", "-f", "c5") })
	w.StartMybr()
	w.Eventually(driver.CheckInterval+20*time.Second, func() error {
		if list := published(t, w); len(list) != 2 {
			return fmt.Errorf("still published is %+v", list)
		}
		return nil
	})
	w.Serve("wished", []string{"--net", "n0", "--ip", "10.77.0.3", "-p", "8088:80"}, "tcp:80")
	w.Idle("next", "--net", "n0")
	has(t, w, "next", "n0", "10.77.0.5")
	pingBoth(t, stays, w.Container("next"))
	pingBoth(t, stays, w.Container("wished"))
	for _, port := range []string{"8088", "8089"} {
		seenAs(t, "port "+port, w.LAN.Get("tcp", world.HostAddr+":"+port), world.LANAddr)
	}
	if got := len(ports(t, w, "br-"+w.Docker("network", "inspect", "-f", "{{.Id}}", "n0")[:12])); got != 6-1 {
		t.Errorf("the bridge has %d ports, want 5", got)
	}
}
