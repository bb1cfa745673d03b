package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// TestDockerTripsOverARemoval has dockerd end in the midst of removing a network, over which
// some engines fall when they start (docs/troubleshooting.md, "Docker does not start"), and
// does what is said there.
func TestDockerTripsOverARemoval(t *testing.T) {
	world.Full(t)
	t.Parallel()
	for name, test := range map[string]struct {
		ipam   []string
		remedy func(t *testing.T, w *world.World, n0 string)
	}{
		"pool of mybr's":   {[]string{"--ipam-driver", "mybr"}, startsWithoutMybr},
		"pool of Docker's": {nil, startsAnew},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t, world.Config{})
			if v := w.Docker("version", "-f", "{{.Server.Version}}"); !strings.HasPrefix(v, "20.10.24") {
				t.Skipf("engine %s does not trip", v)
			}
			w.Network("n1", append(test.ipam, "--subnet", "172.19.0.0/16")...)
			w.Serve("web", []string{"--net", "n1", "--restart", "always", "-p", "8088:80"}, "tcp:80")
			w.Idle("db", "--net", "n1", "--ip", "172.19.0.77")
			n0 := w.Network("n0", append(test.ipam, "--subnet", "172.18.0.0/16")...)
			cutOff(t, w, "n0")
			if err := w.StartDockerTry(time.Minute); err == nil || !strings.Contains(dockerLog(t, w), "reservePools") {
				t.Fatalf("dockerd has not tripped: %v", err)
			}
			test.remedy(t, w, n0)
			if names := w.Docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"); names != "n1" {
				t.Errorf("there are the networks %s", names)
			}
			answered(t, "web from the LAN", w.LAN.Get("tcp", world.HostAddr+":8088"))
			answered(t, "db pings web", w.Container("db").Ping(w.Addr("web", "n1")))
			w.Network("n0", append(test.ipam, "--subnet", "172.18.0.0/16")...)
			w.Idle("eve", "--net", "n0")
			answered(t, "eve pings the LAN", w.Container("eve").Ping(world.LANAddr))
			w.RestartDocker()
		})
	}
}

// cutOff kills dockerd while it asks mybr, which is stopped, to delete a network.
func cutOff(t *testing.T, w *world.World, network string) {
	w.StopMybr()
	ended := make(chan struct{})
	go func() { defer close(ended); w.DockerTry("network", "rm", network) }()
	w.Eventually(2*time.Minute, func() error {
		if !strings.Contains(dockerLog(t, w), "/NetworkDriver.DeleteNetwork") {
			return errors.New("dockerd does not ask the driver yet")
		}
		return nil
	})
	w.KillDocker()
	<-ended
	w.StartMybr()
}

func dockerLog(t *testing.T, w *world.World) string {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(w.StateDir()), "dockerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// startsWithoutMybr is the remedy for a network with a pool of mybr's IPAM driver. Docker asks
// for mybr for 15 seconds for each network and each container.
func startsWithoutMybr(t *testing.T, w *world.World, n0 string) {
	w.StopMybr()
	if err := w.StartDockerTry(5 * time.Minute); err != nil {
		t.Fatal(err)
	}
	w.StartMybr()
	if w.Running("web") {
		t.Error("web has started without mybr")
	}
	w.Docker("start", "web", "db")
	w.Ready("web")
	w.Host.Run("mybr", "network", "forget", "br-"+n0[:12])
}

// startsAnew is the remedy for all networks: Docker forgets them.
func startsAnew(t *testing.T, w *world.World, _ string) {
	known := filepath.Join(filepath.Dir(w.StateDir()), "docker", "network", "files", "local-kv.db")
	if err := os.Rename(known, known+".old"); err != nil {
		t.Fatal(err)
	}
	w.StartDocker()
	var listed struct{ Networks []struct{ ID string } }
	if err := json.Unmarshal([]byte(w.Host.Run("mybr", "network", "ls", "-o", "json")), &listed); err != nil || len(listed.Networks) == 0 {
		t.Fatalf("mybr has %d networks, %v", len(listed.Networks), err)
	}
	for _, n := range listed.Networks {
		w.Host.Run("mybr", "network", "forget", n.ID)
	}
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Docker("network", "connect", "n1", "web")
	w.Docker("network", "connect", "--ip", "172.19.0.77", "n1", "db")
	w.Docker("start", "web", "db")
	w.Ready("web")
}
