package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// gwbridge is the bridge that Docker gives to containers that no network leads out.
const gwbridge = "docker_gwbridge"

// TestSwarm makes the host a swarm of one node and gives its services a network of
// mybr's, which only the managed plugin can. Docker's other networks keep working: docker0,
// a network of its own driver, local networks of mybr's, the ones of swarm itself.
func TestSwarm(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("about the plugin")
	}
	dir := packPlugin(t)
	for name, engine := range map[string]string{"usual": world.OwnEngine, "28.5": "28.5"} {
		t.Run(name, func(t *testing.T) {
			if engine != world.OwnEngine {
				world.Full(t)
			}
			t.Parallel()
			w := world.New(t, world.Config{Driver: "bridge", Engine: engine}) // no process of mybr's on the host
			w.Driver = managed
			w.Docker("plugin", "create", managed, dir)
			w.Docker("plugin", "set", managed, "state.source="+t.TempDir(), "MYBR_LOG_LEVEL=debug", "MYBR_FIREWALL="+w.Backend())
			w.Docker("plugin", "enable", managed)
			swarm(t, w)
		})
	}
}

func swarm(t *testing.T, w *world.World) {
	w.Docker("run", "--rm", "-p", "8001:80", world.Image, "sysctl", "kernel.hostname") // Docker makes a table once and for all
	before := footprint(w)
	all := build(t, w)
	if _, there := w.Host.Link(gwbridge); there {
		t.Errorf("%s is there without a swarm", gwbridge)
	}
	w.Docker("swarm", "init", "--advertise-addr", world.HostAddr)
	// Docker makes it for its routing mesh, a moment later, and plugs one sandbox in.
	w.Eventually(30*time.Second, func() error {
		if _, there := w.Host.Link(gwbridge); !there || len(ports(t, w, gwbridge)) != 1 {
			return fmt.Errorf("swarm has not made %s with one port: links %v", gwbridge, names(w.Host))
		}
		return nil
	})

	w.Docker("network", "create", "--config-only", "--subnet", "172.26.0.0/16", "-o", bridgeName+"mybr0", "cfg")
	w.Docker("network", "create", "-d", managed, "--scope", "swarm", "--attachable", "--config-from", "cfg", "net")
	web := city{net: "net", driver: "mybr", port: "8005"}
	web.place = w.Serve("in-net", []string{"--net", "net", "-p", "8005:80", "-p", "8005:80/udp"}, "tcp:80", "udp:80")
	web.addr = ipv4(t, web.place, "eth0")
	all = append(all, web)
	shop, box := deploy(w, "shop", "--publish", "mode=host,published=8090,target=80"), deploy(w, "box")
	checkSwarm(t, w, "at first", all, "in-net", shop, box)

	w.Docker("service", "update", "--force", "--detach", "shop")
	w.Eventually(30*time.Second, func() error {
		if got := task(w, "shop"); got == "" || got == shop {
			return fmt.Errorf("the service has not been updated, its task is %q", got)
		}
		return nil
	})
	shop = task(w, "shop")
	w.Ready(shop)
	checkSwarm(t, w, "updated", all, "in-net", shop, box)

	w.Docker("rm", "-f", "in-net")
	w.Docker("swarm", "leave", "--force") // with services that run
	w.Eventually(10*time.Second, func() error {
		left := slices.DeleteFunc(footprint(w), func(s string) bool { return !strings.Contains(s, "mybr0") && !strings.Contains(s, "172.26.") })
		if len(left) > 0 {
			return fmt.Errorf("after the swarm: left are %q", left)
		}
		return nil
	})
	for _, c := range all[:4] {
		seenAs(t, "after the swarm: from the LAN to "+c.net, w.LAN.Get("tcp", world.HostAddr+":"+c.port), world.LANAddr)
		w.Docker("rm", "-f", "in-"+c.net)
	}
	w.Docker("network", "rm", "one", "two", "theirs", "cfg", gwbridge)
	same(t, w, "after removal", before)
}

// checkSwarm connects from each member of the swarm's network to each, and from the LAN,
// the host and the other networks to the service.
func checkSwarm(t *testing.T, w *world.World, when string, all []city, members ...string) {
	t.Helper()
	for _, from := range members {
		for _, to := range members {
			w.Docker("exec", from, "/guest", "get", "tcp", to+":80")
		}
		if got := names(w.Container(from)); fmt.Sprint(got) != "[eth0 lo]" {
			t.Errorf("%s: %s has the links %v", when, from, got)
		}
	}
	if got := ports(t, w, gwbridge); len(got) != 1 {
		t.Errorf("%s: %s has the ports %v, want the routing mesh alone", when, gwbridge, got)
	}
	seenAs(t, when+": from the LAN to the service", w.LAN.Get("tcp", world.HostAddr+":8090"), world.LANAddr)
	answered(t, when+": from the host to the service", w.Host.Get("tcp", "127.0.0.1:8090"))
	for _, c := range all {
		answered(t, when+": from "+c.net+" to the service", c.place.Get("tcp", world.HostAddr+":8090"))
	}
	undisturbed(t, w, when, all)
}

// deploy makes a service of one task in the network net and gives its container's name.
func deploy(w *world.World, name string, args ...string) (container string) {
	w.Docker(append(append([]string{"service", "create", "--name", name, "--hostname", name, "--network", "net",
		"--detach", "--no-resolve-image"}, args...), world.Image, "serve", "tcp:80")...)
	w.Eventually(30*time.Second, func() error {
		if container = task(w, name); container == "" {
			return fmt.Errorf("service %s does not run: %s", name, w.Docker("service", "ps", "--no-trunc", name))
		}
		return nil
	})
	w.Ready(container)
	return container
}

// task is the name of the container that a service runs.
func task(w *world.World, service string) string {
	return w.Docker("ps", "--format", "{{.Names}}", "-f", "label=com.docker.swarm.service.name="+service)
}
