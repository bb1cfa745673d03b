package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// What an administrator appends to DOCKER-USER sees the packets of established connections of mybr's
// networks as it does those of Docker's own, whichever jump of mybr's was there before.
func TestAppendedToDockerUser(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	for i, c := range []struct{ variant, backend string }{{"nft", world.IPTables}, {"legacy", world.IPTables}, {"nft", world.NFTables}} {
		t.Run(c.variant+", "+c.backend, func(t *testing.T) {
			if i > 0 {
				world.Full(t)
			}
			t.Parallel()
			appendedToDockerUser(t, world.New(t, world.Config{Engine: "28.5", Variant: c.variant, Firewall: c.backend}))
		})
	}
}

func appendedToDockerUser(t *testing.T, w *world.World) {
	bridges := map[string]string{"mybr0": "mybr", "other0": "bridge"}
	for bridge, driver := range bridges {
		w.Docker("network", "create", "-d", driver, "-o", bridgeName+bridge, bridge)
	}
	w.Serve("mine", []string{"--net", "mybr0", "-p", "8081:80"}, "tcp:80")
	w.Serve("others", []string{"--net", "other0", "-p", "8082:80"}, "tcp:80")
	traffic := w.Traffic(w.LANs[0].Flow(report.Stream, world.HostAddr+":8081"), w.LANs[0].Flow(report.Stream, world.HostAddr+":8082"))
	defer traffic.Stop()
	for bridge := range bridges { // without a target it counts
		w.Host.Run("iptables", "-A", "DOCKER-USER", "-i", bridge, "-m", "conntrack", "--ctstate", "ESTABLISHED")
	}
	for bridge, driver := range bridges {
		w.Eventually(healWithin, func() error {
			chain := w.Host.Run("iptables", "-L", "DOCKER-USER", "-v", "-x", "-n")
			for line := range strings.Lines(chain) {
				if f := strings.Fields(line); strings.Contains(line, " "+bridge+" ") && strings.Contains(line, "ESTABLISHED") && f[0] != "0" {
					return nil
				}
			}
			return fmt.Errorf("a rule behind all others sees nothing of what is established on a network of %s:\n%s", driver, chain)
		})
	}
}
