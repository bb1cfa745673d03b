package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestLifecycle ends and starts the processes under running containers, in every way
// that a machine does it to them.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, test := range []struct {
		name   string
		test   func(*testing.T, *world.World)
		cfg    world.Config
		driver string // "": any
		full   bool   // only make test-full runs it
	}{
		{name: "mybr_stops", driver: "mybr", test: func(t *testing.T, w *world.World) { mybrAway(t, w, w.StopMybr) }},
		{name: "mybr_killed", driver: "mybr", test: func(t *testing.T, w *world.World) { mybrAway(t, w, w.KillMybr) }, cfg: nft},
		{name: "docker_stops_live_restore", test: func(t *testing.T, w *world.World) { dockerAway(t, w, w.StopDocker) },
			cfg: world.Config{DockerArgs: []string{"--live-restore"}}},
		{name: "docker_killed_live_restore", test: func(t *testing.T, w *world.World) { dockerAway(t, w, w.KillDocker) },
			cfg: world.Config{DockerArgs: []string{"--live-restore"}}},
		{name: "docker_stops", test: func(t *testing.T, w *world.World) { dockerEnds(t, w, w.StopDocker) }, cfg: nft},
		{name: "docker_killed", test: func(t *testing.T, w *world.World) { dockerEnds(t, w, w.KillDocker) }},
		{name: "reboot", test: reboot},
		{name: "same_address_again", test: sameAddress, cfg: nft},
		{name: "rounds", test: rounds},
		{name: "containers_removed_without_mybr", driver: "mybr", test: removedWithoutMybr, full: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.driver != "" && test.driver != world.Driver() {
				t.Skipf("is about the %s driver", test.driver)
			}
			if test.full {
				world.Full(t)
			}
			t.Parallel()
			test.test(t, world.New(t, test.cfg))
		})
	}
}

// shop is the articles' network with a published server and an idle neighbour.
func shop(t *testing.T, w *world.World, args ...string) (neighbour *world.Place) {
	t.Helper()
	article(w)
	w.Serve("web", append([]string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, args...), "tcp:80", "udp:80")
	neighbour = w.Idle("ben", append([]string{"--net", "n0"}, args...)...)
	open(t, w, neighbour)
	return neighbour
}

// open checks every way to the shop's server.
func open(t *testing.T, w *world.World, neighbour *world.Place) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		seenAs(t, network+" from the LAN", w.LAN.Get(network, world.HostAddr+":8088"), world.LANAddr)
		for _, addr := range []string{world.HostAddr, "127.0.0.1", "[::1]"} {
			answered(t, network+" from the host to "+addr, w.Host.Get(network, addr+":8088"))
		}
		answered(t, network+" from the neighbour", neighbour.Get(network, w.Addr("web", "n0")+":80"))
	}
	answered(t, "tcp from the neighbour by the host's address", neighbour.Get("tcp", world.HostAddr+":8088"))
	answered(t, "neighbour pings the LAN", neighbour.Ping(world.LANAddr))
	held(t, w)
}

// held checks that no other process or container can take the shop's ports.
func held(t *testing.T, w *world.World) {
	t.Helper()
	for _, server := range []string{"tcp:0.0.0.0:8088", "udp:0.0.0.0:8088"} {
		r := w.Host.Try("guest", "serve", server)
		if r.Code == 0 || !strings.Contains(r.Err, "address already in use") {
			t.Errorf("another process takes %s: exit code %d, %s", server, r.Code, r.Err)
		}
	}
	r := w.DockerTry("run", "--rm", "--net", "n0", "-p", "8088:80", world.Image, "sysctl", "kernel.hostname")
	if r.Code != 125 || !strings.Contains(r.Err, "Bind for 0.0.0.0:8088 failed: port is already allocated") {
		t.Errorf("another container takes port 8088: exit code %d, %s", r.Code, r.Err)
	}
}

// reached waits until a TCP server answers.
func reached(w *world.World, timeout time.Duration, from *world.Place, addr string) {
	w.Eventually(timeout, func() error {
		if o := from.Get("tcp", addr, soon); o.Code != report.Answered {
			return fmt.Errorf("from %s to %s: %v", from.Name, addr, o)
		}
		return nil
	})
}

// flowing checks that a stream goes on: it moves on, and has not ended.
func flowing(t *testing.T, w *world.World, when string, stream *world.Proc) {
	t.Helper()
	have := len(stream.Lines())
	w.Eventually(10*time.Second, func() error {
		if lines := stream.Lines(); !stream.Running() || len(lines) < have+3 {
			return fmt.Errorf("%s: the stream stands still after %d lines: %s", when, len(lines), lines[len(lines)-1])
		}
		return nil
	})
}

func mybrAway(t *testing.T, w *world.World, end func()) {
	ben := shop(t, w)
	streams := []*world.Proc{
		w.LAN.Start("guest", "stream", world.HostAddr+":8088"),
		ben.Start("guest", "stream", w.Addr("web", "n0")+":80"),
	}
	before := footprint(w)
	end()
	for _, s := range streams {
		flowing(t, w, "mybr is away", s)
	}
	seenAs(t, "new connection while mybr is away", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	w.StartMybr()
	// It listens first and recovers behind that.
	reached(w, 5*time.Second, w.Host, "127.0.0.1:8088")
	open(t, w, ben)
	for _, s := range streams {
		flowing(t, w, "mybr is back", s)
	}
	same(t, w, "after mybr is back", before)
	w.Idle("carl", "--net", "n0")
	answered(t, "the newcomer", ben.Ping(w.Addr("carl", "n0")))
	w.Docker("rm", "-f", "web", "ben", "carl")
	w.Docker("network", "rm", "n0")
	cleared(t, w)
}

// dockerAway is with live-restore: the containers go on.
func dockerAway(t *testing.T, w *world.World, end func()) {
	ben := shop(t, w)
	stream := w.LAN.Start("guest", "stream", world.HostAddr+":8088")
	end()
	flowing(t, w, "dockerd is away", stream)
	w.StartDocker()
	flowing(t, w, "dockerd is back", stream)
	open(t, w, ben)
	w.Idle("carl", "--net", "n0")
	answered(t, "the newcomer", ben.Ping(w.Addr("carl", "n0")))
	w.Docker("rm", "-f", "web")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	open(t, w, ben)
}

// dockerEnds is without live-restore: the containers end with dockerd, or when it is
// back.
func dockerEnds(t *testing.T, w *world.World, end func()) {
	shop(t, w)
	end()
	w.StartDocker()
	w.Docker("start", "web", "ben")
	w.Ready("web")
	ben := w.Container("ben")
	open(t, w, ben)
	if got := len(ports(t, w, "mybr0")); got != 2 {
		t.Errorf("mybr0 has %d ports, want 2", got)
	}
	w.Docker("rm", "-f", "web", "ben")
	w.Docker("network", "rm", "n0")
	cleared(t, w)
}

func reboot(t *testing.T, w *world.World) {
	shop(t, w, "--restart", "always")
	mac := mustLink(t, w.Host, "mybr0").MAC
	w.Reboot()
	for _, name := range []string{"web", "ben"} {
		w.Eventually(20*time.Second, func() error {
			if got := w.Docker("inspect", "-f", "{{.State.Running}}", name); got != "true" {
				return fmt.Errorf("%s is not running: %s", name, w.Docker("inspect", "-f", "{{json .State}}", name))
			}
			return nil
		})
	}
	reached(w, 10*time.Second, w.LAN, world.HostAddr+":8088")
	open(t, w, w.Container("ben"))
	// Docker sets the policy of FORWARD to DROP only if forwarding was off before.
	if policy := rules(w); !slices.Contains(policy, ":FORWARD DROP") {
		t.Errorf("after the reboot the policy of FORWARD is not DROP: %q", policy)
	}
	if got := len(ports(t, w, "mybr0")); got != 2 {
		t.Errorf("mybr0 has %d ports, want 2", got)
	}
	if got := mustLink(t, w.Host, "mybr0").MAC; w.Driver == "mybr" && got != mac {
		t.Errorf("mybr0 has MAC %s, had %s", got, mac)
	}
	w.Docker("rm", "-f", "web", "ben")
	w.Docker("network", "rm", "n0")
	cleared(t, w)
}

// sameAddress makes a container anew at its address, as an upgrade does: clients
// that have the old one's MAC in their neighbour tables must reach the new one at once.
func sameAddress(t *testing.T, w *world.World) {
	article(w)
	ben := w.Idle("ben", "--net", "n0")
	for round := range 3 {
		w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.9", "-p", "8088:80"}, "tcp:80", "udp:80")
		when := fmt.Sprintf("container %d at the address: ", round)
		for _, network := range []string{"tcp", "udp"} {
			answered(t, when+network+" from the neighbour", ben.Get(network, "172.18.0.9:80", soon))
			answered(t, when+network+" from the host", w.Host.Get(network, "172.18.0.9:80", soon))
		}
		seenAs(t, when+"from the LAN", w.LAN.Get("tcp", world.HostAddr+":8088", soon), world.LANAddr)
		w.Docker("rm", "-f", "web")
	}
}
