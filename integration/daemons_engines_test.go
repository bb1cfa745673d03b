package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/reliability"
	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// twoEngines has two Docker Engines use one mybr. What one does, and how it ends, is nothing to
// the networks of the other.
func twoEngines(t *testing.T, cfg world.Config) {
	u := underTraffic(t, cfg)
	pooled(u.w, "mybr", "pool", "--subnet", "10.77.0.0/24", "-o", bridgeName+"mybr2")
	u.w.Idle("leased", "--net", "pool")
	u.w.Network("unused", "--subnet", "172.30.0.0/16")
	second := u.w.SecondDocker()
	second.Docker("network", "create", "-d", "mybr", "b0")
	second.Docker("network", "create", "-d", "mybr", "--ipam-driver", "mybr", "bpool")
	second.Docker("run", "-d", "--name", "web", "--net", "b0", "-p", "8090:80", world.Image, "serve", "tcp:80", "udp:80")
	second.Docker("run", "-d", "--name", "leased", "--net", "bpool", world.Image, "sleep")
	reached(u.w, 10*time.Second, u.w.LAN, world.HostAddr+":8090")
	theirs := second.Container("web")
	unanswered(t, "from one engine's network to the other's", theirs.Ping("172.18.0.2", soon))

	clashes(u, second)
	both := func() []world.Flow {
		return append(u.flows(), u.w.LAN.Flow(report.Connects, world.HostAddr+":8090"), u.w.LAN.Flow(report.Stream, world.HostAddr+":8090"),
			second.Container("web").Flow(report.Ping, world.LANAddr))
	}
	theirFlows := func() []world.Flow { return both()[len(u.flows()):] }
	undisturbed := func(what string, flows []world.Flow, do func()) {
		t.Helper()
		reliability.Try(t, what, func() time.Duration {
			tr := u.w.Traffic(flows...)
			do()
			seen := tr.Stop()
			t.Logf("%s:\n%v", what, seen)
			u.unbroken(what, seen)
			return seen.Gap()
		})
	}
	undisturbed("of two engines that use mybr, mybr is killed and started again", both(), func() {
		u.w.KillMybr()
		u.w.StartMybr()
		reached(u.w, 10*time.Second, u.w.Host, "127.0.0.1:8090")
	})
	undisturbed("of two engines that use mybr, one is killed and started again: traffic of the other", u.flows(), func() {
		second.Kill()
		u.w.RestartMybr() // which looks for what has ended
		second.Start()
		second.Docker("start", "web", "leased")
		second.Docker("run", "--rm", "--net", "bpool", world.Image, "ping", world.LANAddr)
	})
	undisturbed("of two engines that use mybr, the first is killed and started again: traffic of the second", theirFlows(), func() {
		u.w.KillDocker()
		u.w.StartDocker()
		u.w.Docker("start", "web", "leased")
		reached(u.w, 10*time.Second, u.w.LAN, port8088)
	})
	distinct(u, second)
	second.Docker("rm", "-f", "web", "leased")
	second.Docker("network", "rm", "b0", "bpool")
	u.clear("web leased", "n0 pool unused")
}

// clashes has the second engine ask for what the first one has.
func clashes(u *under, second *world.SecondDocker) {
	u.t.Helper()
	for _, c := range []struct{ args, want string }{
		{"network create -d mybr --subnet 172.18.0.0/16 b1", "172.18.0.0/16"},
		{"network create -d mybr --subnet 172.30.0.0/16 b1", "172.30.0.0/16"},
		{"network create -d mybr --subnet 172.31.0.0/16 -o " + bridgeName + "mybr0 b1", "networks have same bridge name"},
		{"network create -d mybr --ipam-driver mybr --subnet 10.77.0.0/24 b1", "Pool overlaps with other one on this address space"},
		{"run --rm --net b0 -p 8088:80 " + world.Image + " sysctl kernel.hostname", "Bind for 0.0.0.0:8088 failed: port is already allocated"},
	} {
		if r := second.DockerTry(strings.Fields(c.args)...); r.Code == 0 || !strings.Contains(r.Err, c.want) {
			u.t.Errorf("the second engine: docker %s: exit code %d, %s%s, want %q", c.args, r.Code, r.Out, r.Err, c.want)
		}
	}
	// The first engine still has all that the second one asked for.
	for _, network := range []string{"n0", "unused", "pool"} {
		if r := u.w.DockerTry("run", "--rm", "--net", network, world.Image, "ping", world.LANAddr); r.Code != 0 {
			u.t.Errorf("network %s after the second engine asked for its subnet: %s", network, r.Err)
		}
	}
}

// distinct looks for addresses that both engines' containers have.
func distinct(u *under, second *world.SecondDocker) {
	u.t.Helper()
	seen := []string{"10.77.0.1"}
	for range 3 {
		r := u.w.DockerTry("run", "-d", "--net", "pool", world.Image, "sleep")
		if r.Code != 0 {
			u.t.Fatalf("a container in the pool: %s", r.Err)
		}
		name := strings.TrimSpace(r.Out)
		seen = append(seen, u.w.Addr(name, "pool"))
		defer u.w.Docker("rm", "-f", name)
	}
	seen = append(seen, u.w.Addr("leased", "pool"), second.Docker("inspect", "-f", "{{.NetworkSettings.Networks.bpool.IPAddress}}", "leased"))
	slices.Sort(seen)
	if len(slices.Compact(slices.Clone(seen))) != 6 {
		u.t.Errorf("addresses %v, want six", seen)
	}
}
