package integration

import (
	"strings"
	"testing"

	"github.com/moby/sys/capability"

	"github.com/mybr/mybr/integration/world"
)

// TestCapabilities takes each capability that the unit leaves to mybr away, and has what it
// is for fail. Nothing else is needed: all tests run mybr with these alone, and with a
// system call that the unit forbids ending it.
func TestCapabilities(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about mybr")
	}
	create := []string{"network", "create", "-d", "mybr", "n1"}
	for name, c := range map[string]struct {
		drop  capability.Cap
		cfg   world.Config
		fails func(w *world.World) string // how it does; "": it doesn't
	}{
		"CAP_NET_ADMIN, the firewall": {capability.CAP_NET_ADMIN, world.Config{Variant: "nft", Firewall: world.IPTables}, func(w *world.World) string { // with nftables it doesn't start
			return named(w.DockerTry(create...), "create network", "firewall: iptables")
		}},
		"CAP_NET_RAW, the socket of iptables-legacy": {capability.CAP_NET_RAW, world.Config{Variant: "legacy"}, func(w *world.World) string {
			w.DockerTry(create...)
			if strings.Contains(w.Host.Run("iptables-save"), "MYBR-") {
				return ""
			}
			return named(world.Result{Code: 1, Err: w.Log()}, "(legacy): Cannot initialize: Permission denied")
		}},
		"CAP_NET_BIND_SERVICE, ports below 1024": {capability.CAP_NET_BIND_SERVICE, world.Config{Variant: "nft"}, func(w *world.World) string {
			w.Docker(create...)
			w.Docker("run", "--rm", "--net", "n1", "-p", "8080:80", world.Image, "addr")
			return named(w.DockerTry("run", "--rm", "--net", "n1", "-p", "80:80", world.Image, "addr"), "permission denied")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.cfg.Drop = []capability.Cap{c.drop}
			if says := c.fails(world.New(t, c.cfg)); says == "" {
				t.Errorf("it does not fail without %s", c.drop)
			}
		})
	}
}

// named is the error of a command, if it failed and has all that in its error.
func named(r world.Result, all ...string) string {
	for _, part := range all {
		if r.Code == 0 || !strings.Contains(r.Err, part) {
			return ""
		}
	}
	return r.Err
}
