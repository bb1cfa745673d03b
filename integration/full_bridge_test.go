package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/world"
)

// TestFullBridge fills a network's bridge with links, up to the 1023 ports that the kernel
// allows a bridge: the next container is refused with words that say what to do, and is not
// there; what runs goes on, so do other networks, and there is room once a link goes.
func TestFullBridge(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	world.Full(t)
	t.Parallel()
	w := world.New(t, world.Config{})
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	const others = 1023 - 1 // web has one
	w.Host.Run("sh", "-c", fmt.Sprintf("for n in $(seq %d); do echo link add o$n type veth peer name p$n; echo link set o$n master mybr0; done | ip -batch -", others))
	before := footprint(w)
	r := w.DockerTry("run", "--rm", "--net", "n0", "-p", "8089:80", world.Image, "sysctl", "kernel.hostname")
	if r.Code == 0 || !strings.Contains(r.Err, "bridge mybr0 is full: it has the 1023 ports that the kernel allows a bridge; connect the container to a second network") {
		t.Errorf("exit code %d: %s", r.Code, r.Err)
	}
	same(t, w, "after the refusal", before)
	answered(t, "what runs", w.LAN.Get("tcp", world.HostAddr+":8088"))
	w.Serve("elsewhere", []string{"--net", "n1", "-p", "8089:80"}, "tcp:80")
	answered(t, "another network", w.LAN.Get("tcp", world.HostAddr+":8089"))
	w.Host.Run("ip", "link", "del", "o7")
	w.Serve("last", []string{"--net", "n0", "-p", "8090:80"}, "tcp:80")
	answered(t, "once there is room", w.LAN.Get("tcp", world.HostAddr+":8090"))
	w.Docker("rm", "-f", "web", "elsewhere", "last")
	w.Docker("network", "rm", "n0", "n1")
}
