package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestFaults has parts of the host, of Docker or of a network fail, and looks at what that
// must not concern.
func TestFaults(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, test := range []struct {
		name string
		test func(*testing.T, *world.World)
		full bool // only make test-full runs it
		cfg  world.Config
	}{
		{name: "bridge_deleted_beside_another_network", test: bridgeDeleted, cfg: nft},
		{name: "link_deleted_while_mybr_was_away", test: endedWhileAway, cfg: nft},
		{name: "client_hangs_up", test: clientHangsUp},
		{name: "chosen_ports_beside_docker0", test: chosenBesideDocker0},
		{name: "chosen_ports_beside_docker0_28.5", test: chosenBesideDocker0, full: true, cfg: world.Config{Engine: "28.5"}},
		{name: "thousand_endpoints", test: thousandEndpoints, full: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("is about the mybr driver")
			}
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// bridgeDeleted: a network uses a bridge that the administrator made and then deletes,
// while another network is made and used. mybr can't make that bridge again, for it isn't its
// own; requests about other networks succeed all the same, and those about this one
// name the bridge.
func bridgeDeleted(t *testing.T, w *world.World) {
	makeBridge := func() {
		w.Host.Run("ip", "link", "add", "lan0", "type", "bridge")
		w.Host.Run("ip", "addr", "add", "172.18.0.1/16", "dev", "lan0")
		w.Host.Run("ip", "link", "set", "lan0", "up")
	}
	makeBridge()
	w.Network("broken", "--subnet", "172.18.0.0/16", "-o", bridgeName+"lan0")
	w.Serve("inside", []string{"--net", "broken", "-p", "8088:80"}, "tcp:80")
	w.Network("whole", "--subnet", "172.19.0.0/16", "-o", bridgeName+"mybr1")
	w.Serve("web", []string{"--net", "whole", "-p", "8089:80"}, "tcp:80")

	together(
		func() {
			if r := w.Host.Try("ip", "link", "del", "lan0"); r.Code != 0 {
				t.Errorf("delete the bridge: %s", r.Err)
			}
		},
		func() {
			r := w.DockerTry("network", "create", "-d", "mybr", "--subnet", "172.20.0.0/16", "-o", bridgeName+"mybr2", "fresh")
			if r.Code != 0 {
				t.Errorf("create a network while the bridge of another one is deleted: %s", r.Err)
			}
		},
	)
	if t.Failed() {
		return
	}
	for round := range 3 {
		when := fmt.Sprintf("round %d without the bridge: ", round)
		fresh := w.Serve("fresh", []string{"--net", "fresh", "-p", "8090:80"}, "tcp:80")
		seenAs(t, when+"a new container's port", w.LAN.Get("tcp", world.HostAddr+":8090"), world.LANAddr)
		seenAs(t, when+"a port that was there", w.LAN.Get("tcp", world.HostAddr+":8089"), world.LANAddr)
		answered(t, when+"out to the LAN", fresh.Ping(world.LANAddr))
		w.Network("more", "--subnet", "172.21.0.0/16")
		w.Docker("network", "connect", "more", "fresh")
		w.Docker("network", "disconnect", "more", "fresh")
		w.Docker("network", "rm", "more")
		w.Docker("rm", "-f", "fresh")
	}
	r := w.DockerTry("run", "--rm", "--net", "broken", world.Image, "sysctl", "kernel.hostname")
	if r.Code == 0 || !strings.Contains(r.Err, "lan0") {
		t.Errorf("a container for the network without a bridge: exit code %d, %s, want an error that names lan0", r.Code, r.Err)
	}

	makeBridge()
	w.Docker("rm", "-f", "inside")
	w.Eventually(30*time.Second, func() error {
		if r := w.DockerTry("run", "--rm", "--net", "broken", world.Image, "ping", "172.18.0.1"); r.Code != 0 {
			return fmt.Errorf("with the bridge again: %s", r.Err)
		}
		return nil
	})
	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "broken", "whole", "fresh")
	nothingRecorded(t, w)
}

// chosenBesideDocker0: containers whose host ports are chosen (docker run -P), on mybr and
// on docker0 in turn. Both choose from the kernel's range, and Docker gives up after ten
// ports that others have (maxAllocatePortAttempts of its bridge driver).
func chosenBesideDocker0(t *testing.T, w *world.World) {
	article(w)
	var names []string
	for round := range 4 {
		for i, network := range []string{"n0", "bridge"} {
			name := fmt.Sprintf("chosen%d.%d", round, i)
			w.Serve(name, []string{"--net", network, "--expose", "80-89", "-P"}, "tcp:80")
			names = append(names, name)
		}
	}
	taken := map[string]string{} // host port → container
	for i, name := range names {
		var list []string
		if i%2 == 1 {
			for line := range strings.Lines(w.Docker("port", name)) {
				if _, port, ok := strings.Cut(strings.TrimSpace(line), "0.0.0.0:"); ok {
					list = append(list, port)
				}
			}
		} else {
			endpoint := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.EndpointID}}", name)
			for _, p := range published(t, w) {
				for n := range p.Count {
					if p.Endpoint == endpoint && p.Host.Addr().Is4() {
						list = append(list, fmt.Sprint(p.Host.Port()+n))
					}
				}
			}
		}
		if len(list) != 10 {
			t.Errorf("%s has the host ports %v, want ten", name, list)
		}
		answers := 0
		for _, port := range list {
			if other, there := taken[port]; there {
				t.Errorf("%s and %s both have host port %s", name, other, port)
			}
			taken[port] = name
			if o := w.LAN.Get("tcp", world.HostAddr+":"+port, soon); o.Code == report.Answered && o.Answer.Name == name {
				answers++
			}
		}
		if answers != 1 { // it listens on one of the ten
			t.Errorf("%s answers at %d of its ports %v, want one", name, answers, list)
		}
	}
}
