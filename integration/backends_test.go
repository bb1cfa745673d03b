package integration

import (
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// withEachBackend plays a test that is about mybr alone with each backend of the firewall, on the
// newest engine, with further hosts of the LAN at these addresses.
func withEachBackend(t *testing.T, lans []string, play func(*testing.T, *world.World)) {
	t.Helper()
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	for _, backend := range []string{"iptables", "nftables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			play(t, world.New(t, world.Config{Engine: "28.5", Firewall: backend, LANs: lans}))
		})
	}
}
