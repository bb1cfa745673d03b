package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

const managed = "mybr:latest"

// TestManagedPlugin takes the main path with mybr as a managed plugin: made without an
// image registry, enabled, used for networks and addresses, disabled and enabled
// again, upgraded, removed.
func TestManagedPlugin(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the plugin")
	}
	dir := packPlugin(t)
	w := world.New(t, world.Config{Driver: "bridge"}) // no process of mybr's on the host
	w.Driver = managed
	before := footprint(w)
	state := t.TempDir()
	install := func() {
		t.Helper()
		w.Docker("plugin", "create", managed, dir)
		w.Docker("plugin", "set", managed, "state.source="+state, "MYBR_LOG_LEVEL=debug", "MYBR_FIREWALL="+w.Backend())
		w.Docker("plugin", "enable", managed)
	}
	install()

	w.Network("n0", "--ipam-driver", managed, "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
	w.LAN.Start("guest", "serve", "tcp:7000")
	web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	ben := w.Idle("ben", "--net", "n0")
	if got := ipv4(t, web, "eth0"); got != "172.18.0.2" {
		t.Errorf("the first container has %s, want 172.18.0.2", got)
	}
	check := func(when string) {
		t.Helper()
		pingBoth(t, web, ben)
		w.Docker("exec", "ben", "/guest", "ping", "web") // found by name
		seenAs(t, when+": out to the LAN", ben.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
		for _, network := range []string{"tcp", "udp"} {
			seenAs(t, when+": "+network+" from the LAN", w.LAN.Get(network, world.HostAddr+":8088"), world.LANAddr)
			for _, addr := range []string{world.HostAddr, "127.0.0.1", "[::1]"} {
				answered(t, when+": "+network+" from the host to "+addr, w.Host.Get(network, addr+":8088"))
			}
			answered(t, when+": "+network+" from the neighbour by the host's address", ben.Get(network, world.HostAddr+":8088"))
		}
	}
	check("at first")
	if got := w.Host.Run("cat", "/proc/sys/net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward is %s, want 1", got)
	}

	stream := w.LAN.Start("guest", "stream", world.HostAddr+":8088")
	w.Docker("plugin", "disable", "-f", managed)
	flowing(t, w, "while disabled", stream)
	w.Docker("plugin", "enable", managed)
	reached(w, 10*time.Second, w.Host, "127.0.0.1:8088")
	check("enabled again")

	w.Docker("plugin", "disable", "-f", managed)
	w.Docker("plugin", "rm", "-f", managed)
	install()
	reached(w, 10*time.Second, w.Host, "127.0.0.1:8088")
	check("upgraded")
	flowing(t, w, "upgraded", stream)

	unpublish(w)
	w.Host.Run("ip", "link", "set", "mybr0", "down")
	w.Eventually(healWithin, func() error { // until then the process may relay, as its own client
		o := w.LAN.Get("tcp", world.HostAddr+":8088", soon)
		if got := o.Answer.Client.Addr().String(); o.Code != report.Answered || got != world.LANAddr {
			return fmt.Errorf("the LAN at the port: %v, as %s", o, got)
		}
		return nil
	})
	check("with rules and the bridge undone by others")
	carl := w.Idle("carl", "--net", "n0")
	pingBoth(t, web, carl)

	w.Docker("rm", "-f", "web", "ben", "carl")
	w.Docker("network", "rm", "n0")
	same(t, w, "after removal", before)
	w.Docker("plugin", "disable", managed)
	w.Docker("plugin", "rm", managed)
}

// packPlugin makes the directory that docker plugin create takes, as `make plugin`
// does, with more flags for go build.
func packPlugin(t *testing.T, flags ...string) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	binary, dir := filepath.Join(tmp, "mybr"), filepath.Join(tmp, "plugin")
	for _, argv := range [][]string{
		slices.Concat([]string{"go", "build", "-o", binary}, flags, []string{"./cmd/mybr"}),
		{"go", "run", "./plugin/pack", "-binary", binary, "-out", dir, "-cache", filepath.Join(root, "build", "apt")},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = root
		cmd.Env = slices.Concat(os.Environ(), []string{"CGO_ENABLED=0"})
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	return dir
}
