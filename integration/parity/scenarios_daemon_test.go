package parity

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// shopPorts is what the shop's server publishes.
func shopPorts(more ...string) []string {
	return append([]string{"-p", "8088:80", "-p", "8088:80/udp", "-p", "127.0.0.1:8089:80"}, more...)
}

// outsiders asks the shop what can be asked without asking dockerd anything.
func outsiders(s *stage) {
	s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088", "tcp 192.0.2.2:8089"),
		from("host", "tcp 192.0.2.2:8088", "ping 172.18.0.2", "ping 172.18.0.3"))
}

// shopOpen asks the shop everything: from outside, from the host, from the neighbour.
func shopOpen(s *stage) {
	outsiders(s)
	s.reach(from("host", "tcp 127.0.0.1:8088", "tcp [::1]:8088", "tcp 127.0.0.1:8089"),
		from("ben", "tcp {web}:80", "udp {web}:80", "tcp 192.0.2.2:8088", "ping 192.0.2.9"), from("web", "ping {ben}"))
	s.resolve("ben", "web")
}

// running waits until these containers run, as a restart policy wants, and serve.
func running(s *stage, names ...string) {
	for _, name := range names {
		s.w.Eventually(30*time.Second, func() error {
			if r := s.w.DockerTry("inspect", "-f", "{{.State.Running}}", name); strings.TrimSpace(r.Out) != "true" {
				return fmt.Errorf("%s doesn't run: %s%s", name, r.Out, r.Err)
			}
			return nil
		})
		s.w.Ready(name)
	}
}

// again is what a scenario does to the machine later on, done once before it begins:
// what dockerd makes or leaves at its start, with no network, is no leftover.
func again(s *stage, do func()) {
	do()
	s.before = s.footprint()
}

// answering waits until a TCP server answers the host.
func answering(s *stage, addr string) {
	s.w.Eventually(10*time.Second, func() error {
		if o := s.w.Host.Get("tcp", addr); o.Code != report.Answered {
			return fmt.Errorf("%s: %v", addr, o)
		}
		return nil
	})
}

// states is how each container fares.
func states(s *stage, names ...string) {
	for _, name := range names {
		s.fact("state of "+name, strings.TrimSpace(s.w.DockerTry("inspect", "-f", "{{.State.Status}}", name).Out))
	}
}

// liveRestore is a world whose containers go on without dockerd.
func liveRestore() *world.Config { return &world.Config{DockerArgs: []string{"--live-restore"}} }

const untold = "a protocol limit: a dockerd that was killed forgets its containers' endpoints without telling their driver, " +
	"so that a port stays published until its container starts again or mybr does"

// daemonScenarios end and start the processes under containers, in every way that a
// machine does it to them.
func daemonScenarios() []scenario {
	const daemons = "Daemons that end and start"
	shop := func(s *stage, args ...string) {
		s.network("n0", "--subnet", "172.18.0.0/16")
		// dockerd starts them again in any order.
		s.serve("web", "tcp:80 udp:80", append(shopPorts(args...), "--net", "n0", "--ip", "172.18.0.2")...)
		s.idle("ben", "--net", "n0", "--ip", "172.18.0.3")
	}
	var all []scenario
	for _, end := range []struct {
		name string
		do   func(*world.World)

		differs []difference // until the containers start again
	}{
		{"stopped", (*world.World).StopDocker, nil},
		{"killed", (*world.World).KillDocker, []difference{
			{key: "reach lan → tcp 192.0.2.2:8088", want: timedOut, why: untold},
			{key: "reach lan → udp 192.0.2.2:8088", want: timedOut, why: untold},
			{key: "reach host → tcp 192.0.2.2:8088", want: timedOut, why: untold},
		}},
	} {
		all = append(all,
			scenario{name: "daemon/dockerd is " + end.name, feature: daemons, world: &world.Config{}, differs: end.differs, play: func(s *stage) {
				again(s, s.w.RestartDocker)
				shop(s)
				end.do(s.w)
				s.w.StartDocker()
				states(s, "web", "ben")
				outsiders(s)
				s.host("n0")
				s.docker("start", "web", "ben")
				running(s, "web")
				shopOpen(s)
				s.inside("web")
			}},
			scenario{name: "daemon/dockerd is " + end.name + ", restart always", feature: daemons, world: &world.Config{}, play: func(s *stage) {
				again(s, s.w.RestartDocker)
				shop(s, "--restart", "always")
				s.docker("update", "--restart", "always", "ben")
				s.idle("off", "--net", "n0", "--restart", "unless-stopped")
				s.docker("stop", "-t", "0", "off")
				end.do(s.w)
				s.w.StartDocker()
				running(s, "web", "ben")
				states(s, "web", "ben", "off")
				shopOpen(s)
				s.host("n0")
			}},
			scenario{name: "daemon/dockerd is " + end.name + ", live-restore", feature: daemons, world: liveRestore(), play: func(s *stage) {
				again(s, s.w.RestartDocker)
				shop(s)
				end.do(s.w)
				outsiders(s)
				s.w.StartDocker()
				states(s, "web", "ben")
				shopOpen(s)
				s.inside("web")
				s.idle("eve", "--net", "n0")
				s.reach(from("eve", "tcp {web}:80"))
				s.docker("rm", "-f", "web")
				outsiders(s)
				s.serve("web", "tcp:80 udp:80", append(shopPorts(), "--net", "n0")...)
				shopOpen(s)
			}})
	}
	return append(all, []scenario{
		{name: "daemon/live-restore, then connect and disconnect", feature: daemons, world: liveRestore(), play: func(s *stage) {
			again(s, s.w.RestartDocker)
			shop(s)
			s.w.RestartDocker()
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.docker("network", "connect", "n1", "web")
			s.inside("web")
			s.idle("eve", "--net", "n1")
			s.reach(from("eve", "tcp {web@n1}:80"), from("lan", "tcp 192.0.2.2:8088"))
			s.docker("network", "disconnect", "n0", "web")
			s.reach(from("eve", "tcp {web@n1}:80"), from("lan", "tcp 192.0.2.2:8088"), from("ben", "ping 172.18.0.2"))
		}},
		{name: "daemon/live-restore, then stop and start", feature: daemons, world: liveRestore(), play: func(s *stage) {
			again(s, s.w.RestartDocker)
			shop(s)
			s.w.RestartDocker()
			s.docker("stop", "-t", "0", "web")
			outsiders(s)
			s.docker("start", "web")
			running(s, "web")
			shopOpen(s)
			s.host("n0")
		}},
		{name: "daemon/live-restore, network removed", feature: daemons, world: liveRestore(), play: func(s *stage) {
			again(s, s.w.RestartDocker)
			shop(s)
			s.w.RestartDocker()
			s.docker("rm", "-f", "ben")
			s.docker("network", "rm", "n0")
			s.docker("rm", "-f", "web")
			s.docker("network", "rm", "n0")
			s.network("n0", "--subnet", "172.18.0.0/16")
		}},
		{name: "daemon/the driver's process starts again", feature: daemons, world: &world.Config{}, play: func(s *stage) {
			shop(s)
			s.w.RestartMybr() // the built-in driver has none
			answering(s, "127.0.0.1:8088")
			shopOpen(s)
			s.inside("web")
			s.w.KillMybr()
			outsiders(s)
			s.w.StartMybr()
			answering(s, "127.0.0.1:8088")
			s.idle("eve", "--net", "n0")
			shopOpen(s)
			s.reach(from("eve", "tcp {web}:80"))
			s.docker("restart", "-t", "0", "web")
			running(s, "web")
			shopOpen(s)
			s.host("n0")
		}},
		{name: "daemon/reboot", feature: daemons, world: &world.Config{}, play: func(s *stage) {
			again(s, s.w.Reboot)
			shop(s)
			s.w.Reboot()
			states(s, "web", "ben")
			s.host("n0")
			s.docker("start", "web", "ben")
			running(s, "web")
			shopOpen(s)
			s.forwarding()
		}},
		{name: "daemon/reboot, restart always", feature: daemons, world: &world.Config{}, play: func(s *stage) {
			again(s, s.w.Reboot)
			shop(s, "--restart", "always")
			s.docker("update", "--restart", "always", "ben")
			s.w.Reboot()
			running(s, "web", "ben")
			shopOpen(s)
			s.inside("web")
			s.host("n0")
			s.forwarding()
		}},
		{name: "daemon/reboot, options of a network", feature: daemons, world: &world.Config{}, play: func(s *stage) {
			again(s, s.w.Reboot)
			s.network("n0", slices.Concat(option("driver.mtu", "1400"), option("bridge.name", "shop0"), option("bridge.enable_icc", "false"),
				option("container_iface_prefix", "lan"), []string{"--subnet", "172.18.0.0/16", "--gateway", "172.18.0.9"})...)
			s.network("shut", "--internal", "--subnet", "172.19.0.0/16")
			s.serve("web", "tcp:80", "--net", "n0", "--ip", "172.18.0.2", "--restart", "always", "-p", "8088:80")
			s.idle("ben", "--net", "n0", "--ip", "172.18.0.3", "--restart", "always")
			s.serve("db", "tcp:80", "--net", "shut", "--ip", "172.19.0.2", "--restart", "always")
			s.idle("eve", "--net", "shut", "--ip", "172.19.0.3", "--restart", "always")
			s.w.Reboot()
			running(s, "web", "ben", "db", "eve")
			s.inside("ben")
			s.inside("eve")
			s.host("n0")
			s.host("shut")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("ben", "tcp {web}:80", "ping 192.0.2.9", "tcp {db}:80"),
				from("eve", "tcp {db}:80", "ping 192.0.2.9", "tcp {web}:80"), from("host", "tcp {web}:80", "tcp {db}:80"))
		}, differs: append(internalBridge("shut", "172.19.0.1/16"),
			difference{engines: "20.10", key: "inside eve: routes", want: "172.19.0.0/16 dev eth0 src 172.19.0.3", why: noDefault},
			difference{engines: "20.10", key: "reach eve → ping 192.0.2.9", want: "unreachable", why: noDefault},
			difference{engines: "20.10", key: "reach eve → tcp {web}:80", want: "unreachable", why: noDefault})},
		{name: "daemon/reboot, and the host is no router", feature: daemons, since: fromDual, world: &world.Config{}, play: func(s *stage) {
			again(s, s.w.Reboot)
			s.network("n0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64")
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.w.Reboot()
			s.docker("start", "web")
			running(s, "web")
			s.forwarding()
			s.route("lan", "192.0.2.10/32")
			s.route("lan", "2001:db8::10/128")
			s.reach(from("lan", "ping 192.0.2.10", "ping 2001:db8::10", "tcp [2001:db8::2]:8088"))
		}, differs: []difference{{key: "left: rules",
			want: "+ ip6tables filter -A FORWARD -j MYBR-FORWARD-DROP; + ip6tables filter -A MYBR-FORWARD-DROP -j DROP; + ip6tables filter :MYBR-FORWARD-DROP -",
			why:  "mybr changes no policy of a built-in chain: where it had to turn forwarding on, a last rule closes FORWARD as long as forwarding is on"}}},
		{name: "daemon/reboot, container on two networks", feature: daemons, world: &world.Config{}, play: func(s *stage) {
			again(s, s.w.Reboot)
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.docker("create", "--name", "web", "--hostname", "web", "--restart", "always", "--net", "n0", "--ip", "172.18.0.7", "-p", "8088:80", "guest", "serve", "tcp:80")
			s.docker("network", "connect", "--ip", "172.19.0.7", "--alias", "www", "n1", "web")
			s.docker("start", "web")
			s.w.Reboot()
			running(s, "web") // dockerd joins its networks in any order
			s.idle("ben", "--net", "n0")
			s.idle("eve", "--net", "n1")
			s.resolve("eve", "www")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("ben", "tcp 172.18.0.7:80"), from("eve", "tcp 172.19.0.7:80"))
		}},
	}...)
}
