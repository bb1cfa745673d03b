package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// managedWorld is a host whose only mybr is the managed plugin, as make plugin-install installs
// it. upgrade replaces that by another version.
func managedWorld(t *testing.T, cfg world.Config) (u *under, upgrade func()) {
	t.Helper()
	script, err := filepath.Abs("../scripts/plugin-install")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Driver, cfg.LANs = "bridge", []string{"192.0.2.10"} // no process of mybr's on the host
	w := world.New(t, cfg)
	w.Driver = managed
	w.Host.Run("mount", "-t", "tmpfs", "tmpfs", "/var/lib") // the machine's own stays as it is
	w.Host.Run(script, managed, packPlugin(t))
	if w.Backend() == world.NFTables { // else it is what the plugin chooses
		w.Docker("plugin", "disable", managed)
		w.Docker("plugin", "set", managed, "MYBR_FIREWALL="+w.Backend())
		w.Docker("plugin", "enable", managed)
	}
	return &under{t: t, w: w, intruder: w.LANs[1]}, func() {
		w.Host.Run(script, managed, packPlugin(t, "-ldflags=-X main.version=upgraded"))
	}
}

// clearManaged is clear without the records, which are the plugin's.
func (u *under) clearManaged(containers, networks string) {
	u.t.Helper()
	u.w.Docker(append([]string{"rm", "-f"}, strings.Fields(containers)...)...)
	u.w.Docker(append([]string{"network", "rm"}, strings.Fields(networks)...)...)
	cleared(u.t, u.w)
	u.w.Docker("plugin", "disable", managed) // no network uses it any more
	u.w.Docker("plugin", "rm", managed)
}

// managedUpgraded upgrades the managed plugin, and ends dockerd where containers go on without
// it.
func managedUpgraded(t *testing.T, cfg world.Config) {
	u, upgrade := managedWorld(t, cfg)
	u.serve()
	relayed := u.relayed()
	u.outage("the managed plugin is upgraded (plugin disable -f, rm, create, enable): translated traffic",
		"the managed plugin is upgraded: traffic that it relays", relayed, upgrade)
	if text := u.w.Host.Run(fmt.Sprintf("/proc/%d/exe", mybrPID(u.w)), "version"); !strings.Contains(text, "version: upgraded\n") {
		t.Errorf("after the upgrade: %s", text)
	}
	u.newcomer()
	u.liveRestored([2]string{
		"dockerd is killed, with live-restore and the managed plugin, and started again",
		"dockerd is restarted, with live-restore and the managed plugin",
	}, u.flows())
	for _, addr := range []string{"127.0.0.1:8088", "[::1]:8088"} {
		reached(u.w, 10*time.Second, u.w.Host, addr)
	}
	if o := u.w.Container("apart2").Get("tcp", world.HostAddr+":8091"); o.Code != report.Answered {
		t.Errorf("relayed to a network without icc: %v", o)
	}
	u.clearManaged("web apart1 apart2", "n0 apart")
}

// managedRestarts ends dockerd where containers, and the plugin, end with it.
func managedRestarts(t *testing.T, cfg world.Config) {
	u, _ := managedWorld(t, cfg)
	u.restartAlways()
	u.restarted([2]string{
		"dockerd is killed and started again, with the managed plugin: first answer of a container that it restarts",
		"dockerd is restarted, with the managed plugin: first answer of a container that it restarts",
	})
	u.clearManaged("web ben", "n0")
}
