package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestEngines takes the main path with engines other than the machine's own: with those
// of MYBR_TEST_ENGINES=28.5, or several versions with commas between, and with all of
// them without -short. The first run of each downloads a Debian release.
//
// With MYBR_TEST_ENGINE=28.5 every other test is about that engine.
func TestEngines(t *testing.T) {
	t.Parallel()
	versions := os.Getenv("MYBR_TEST_ENGINES")
	if versions == "" {
		world.Full(t)
		versions = "28.5,26.1"
	}
	for _, version := range strings.Split(versions, ",") {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			mainPath(t, version, world.New(t, world.Config{Engine: version}))
		})
	}
}

func mainPath(t *testing.T, version string, w *world.World) {
	if have := w.Docker("version", "-f", "{{.Server.Version}}"); !strings.HasPrefix(have, version+".") {
		t.Fatalf("the engine is %s, want %s", have, version)
	}
	args := []string{"--subnet", "172.18.0.0/16", "-o", bridgeName + "mybr0"}
	if w.Driver == "mybr" {
		args = append(args, "--ipam-driver", "mybr")
	}
	round := func() {
		w.Network("n0", args...)
		web := w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
		ben := w.Idle("ben", "--net", "n0")
		pingBoth(t, web, ben)
		w.Docker("exec", "ben", "/guest", "ping", "web") // found by name
		answered(t, "out to the LAN", ben.Ping(world.LANAddr))
		for _, network := range []string{"tcp", "udp"} {
			seenAs(t, network+" from the LAN", w.LAN.Get(network, world.HostAddr+":8088"), world.LANAddr)
			answered(t, network+" from the host to itself", w.Host.Get(network, "127.0.0.1:8088"))
		}
		unanswered(t, "the server by its own address from the LAN", w.LAN.Get("tcp", "172.18.0.2:80", soon))
		w.Docker("rm", "-f", "web", "ben")
		w.Docker("network", "rm", "n0")
	}
	round() // what the first one makes once and for all is no leftover
	before := footprint(w)
	round()
	same(t, w, "after removal", before)
	cleared(t, w)
}
