package churn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// Each worker has two networks and two containers, and ports that it shares with others.
const (
	objects   = 2
	firstPort = 8000 // the shared ones
	ports     = 8
	firstRun  = 9000 // the first of a range of each worker's own
	runLength = 5
)

// networkRemoval is a kind of command.
const networkRemoval = "network rm"

// worker is one user of Docker.
type worker struct {
	*churn
	n    int
	rnd  *rand.Rand
	port [objects]int  // a shared port that the container was given; 0: none
	sure [objects]bool // the container surely runs: nothing was away during all that was done to it
}

func (k *worker) network(i int) string   { return fmt.Sprintf("churn%d.%d", k.n, i) }
func (k *worker) container(i int) string { return fmt.Sprintf("churn%d-%d", k.n, i) }

// docker runs a command of some kind and reports whether it succeeded. It may fail if
// something was away meanwhile, or for a reason that is in its text: one of those in
// allowed, with bars between them.
func (k *worker) docker(kind, allowed string, argv ...string) bool {
	if kind == networkRemoval {
		defer k.removal.begin()()
	}
	<-*k.dockerd.Load()
	before := k.absence.Load()
	r := k.w.DockerTry(argv...)
	undisturbed := before%2 == 0 && k.absence.Load() == before
	excuse := ""
	switch {
	case r.Code == 0:
	case !undisturbed:
		excuse = "mybr or dockerd was away"
	case k.lostItsBridge(r.Err):
		excuse = "its bridge was deleted while mybr made it"
	case allowed != "" && slices.ContainsFunc(strings.Split(allowed, "|"), func(s string) bool { return strings.Contains(r.Err, s) }):
		excuse = allowed
	default:
		excuse = "unexplained"
		k.tally.unexplained(fmt.Sprintf("docker %s: exit code %d: %s%s", strings.Join(argv, " "), r.Code, r.Out, r.Err))
	}
	if !undisturbed {
		k.sure = [objects]bool{}
	}
	k.tally.command(kind, excuse)
	return r.Code == 0
}

// lostItsBridge reports whether a command failed because a bridge was not there any more that the
// faults have deleted: a network that is new has no bridge that could be healed yet.
func (c *churn) lostItsBridge(text string) bool {
	lost := false
	c.deleted.Range(func(link, _ any) bool {
		lost = strings.Contains(text, "create network ") && strings.Contains(text, fmt.Sprintf("link %s: not found", link))
		return !lost
	})
	return lost
}

// networkKinds are the networks that users make, by kind. %d is the worker's number.
var networkKinds = map[string][]string{
	"v4":        {"--subnet", "10.%d.0.0/24"},
	"v4+v6":     {"--subnet", "10.%d.1.0/24", "--ipv6", "--subnet", "fd00:%d::/64"},
	"internal":  {"--subnet", "10.%d.2.0/24", "--internal"},
	"icc=false": {"--subnet", "10.%d.3.0/24", "-o", "com.docker.network.bridge.enable_icc=false"},
	"mybr IPAM": {"--ipam-driver", "mybr"},
}

// kinds are the keys of networkKinds, in an order that the seed repeats.
var kinds = []string{"icc=false", "internal", "mybr IPAM", "v4", "v4+v6"}

func (k *worker) makeNetworks() bool {
	order := k.rnd.Perm(len(kinds))
	for i := range objects {
		if !k.makeNetwork(i, kinds[order[i]]) {
			return false
		}
	}
	return true
}

func (k *worker) makeNetwork(i int, kind string) bool {
	argv := []string{"network", "create", "-d", "mybr"}
	for _, arg := range networkKinds[kind] {
		if strings.Contains(arg, "%d") {
			arg = fmt.Sprintf(arg, 100+k.n)
		}
		argv = append(argv, arg)
	}
	return k.docker("network create, "+kind, "", append(argv, k.network(i))...)
}

// publish chooses what a container publishes.
func (k *worker) publish(i int) []string {
	k.port[i] = 0
	switch k.rnd.IntN(5) {
	case 0:
		return nil
	case 1:
		k.port[i] = firstPort + k.rnd.IntN(ports)
		return []string{"-p", fmt.Sprintf("%d:80", k.port[i]), "-p", "80/udp"}
	case 2:
		first := firstRun + (objects*k.n+i)*runLength
		return []string{"-p", fmt.Sprintf("%d-%d:80-%d", first, first+runLength-1, 80+runLength-1)}
	case 3:
		return []string{"-p", "80", "-p", "80/udp"}
	}
	return []string{"--expose", "80", "--expose", "81/udp", "-P"}
}

// portTaken is why publishing may fail.
const portTaken = "port is already allocated"

func (k *worker) run(i int) bool {
	name := k.container(i)
	argv := []string{"run", "-d", "--name", name, "--hostname", name, "--stop-timeout", "1", "--net", k.network(i)}
	argv = append(append(argv, k.publish(i)...), world.Image, "serve", "tcp:80", "udp:80")
	k.sure[i] = true
	if !k.docker("run", portTaken, argv...) {
		k.sure[i] = false
		return false
	}
	return true
}

// remove runs a command until what it is to remove is gone, which list would list.
func (k *worker) remove(kind, allowed string, argv []string, list ...string) {
	for !k.docker(kind, allowed, argv...) && !k.failed() {
		if r := k.w.DockerTry(list...); r.Code == 0 && strings.TrimSpace(r.Out) == "" {
			return
		}
	}
}

// clear removes all that the worker has.
func (k *worker) clear() {
	for i := range objects {
		k.sure[i] = false
		k.remove("rm -f", "o such container", []string{"rm", "-f", k.container(i)}, "ps", "-aq", "-f", "name="+k.container(i))
	}
	for i := range objects {
		k.remove(networkRemoval, "o such network|not found", []string{"network", "rm", k.network(i)}, "network", "ls", "-q", "-f", "name=^"+k.network(i)+"$")
	}
}

// round makes everything, changes it and removes it; where it fails it is cut short.
// When the users are to end, what is there is left.
func (k *worker) round() {
	if k.makeNetworks() {
		for i := range objects {
			if k.run(i) {
				for range 1 + k.rnd.IntN(3) {
					k.change(i)
				}
			}
		}
	}
	if !k.ended.Load() {
		k.clear()
	}
}

// change does something to a running container, and takes back what it connected.
func (k *worker) change(i int) {
	c, here, other := k.container(i), k.network(i), k.network(1-i)
	connect := func(n string) []string { return []string{"network", "connect", n, c} }
	disconnect := func(n string) []string { return []string{"network", "disconnect", n, c} }
	steps := [][][]string{
		{connect(other), disconnect(other)},
		{connect(other), disconnect(here), connect(here), disconnect(other)},
		{connect(other), {"network", "disconnect", "-f", other, c}},
		{{"stop", "-t", "0", c}, {"start", c}},
		{connect(other), {"restart", "-t", "0", c}, disconnect(other)},
		{{"kill", c}, {"start", c}},
	}[k.rnd.IntN(6)]
	if !k.sure[i] {
		return
	}
	for _, argv := range steps {
		kind := argv[0]
		if kind == "network" {
			kind += " " + argv[1]
		}
		// A container that releases a port for a moment may find it taken.
		if !k.docker(kind, portTaken, argv...) {
			k.sure[i] = false
			return
		}
	}
}

// serves checks that a container is reached, if it surely runs and has a known port. A
// container whose network is internal has none.
func (k *worker) serves(i int) {
	if !k.sure[i] || k.port[i] == 0 {
		return
	}
	if r := k.w.DockerTry("network", "inspect", "-f", "{{.Internal}}", k.network(i)); strings.TrimSpace(r.Out) == "true" {
		return
	}
	o := k.w.LAN.Get("tcp", fmt.Sprintf("%s:%d", world.HostAddr, k.port[i]))
	k.tally.command("get", "")
	if o.Code != report.Answered || o.Answer.Name != k.container(i) {
		k.tally.unexplained(fmt.Sprintf("port %d of %s: %v", k.port[i], k.container(i), o))
	}
}
