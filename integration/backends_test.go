package integration

import (
	"cmp"
	"os"
	"slices"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// withEachBackend plays a test that is about mybr alone with each backend of the firewall, on the
// newest engine, with further hosts of the LAN at these addresses.
func withEachBackend(t *testing.T, lans []string, play func(*testing.T, *world.World)) {
	t.Helper()
	withBackends(t, []string{world.IPTables, world.NFTables}, lans, play)
}

// withBackend is withEachBackend, and with -short the test is played with one of them alone:
// $MYBR_TEST_FIREWALL, else that one. It is for what hangs on how packets are filtered in
// nothing but what the scenarios of firewalltest show with both.
func withBackend(t *testing.T, inShort string, lans []string, play func(*testing.T, *world.World)) {
	t.Helper()
	withBackends(t, []string{cmp.Or(os.Getenv(world.FirewallEnv), inShort)}, lans, play)
}

func withBackends(t *testing.T, inShort, lans []string, play func(*testing.T, *world.World)) {
	t.Helper()
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	for _, backend := range []string{world.IPTables, world.NFTables} {
		t.Run(backend, func(t *testing.T) {
			if !slices.Contains(inShort, backend) {
				world.Full(t)
			}
			t.Parallel()
			play(t, world.New(t, world.Config{Engine: "28.5", Firewall: backend, LANs: lans}))
		})
	}
}
