package parity

import (
	"fmt"
	"strings"
	"time"
)

// internalBridge is how the bridge of an internal network differs, which has an address.
func internalBridge(network, addr string) []difference {
	at := "host of " + network + ": "
	return []difference{
		{key: at + "bridge addresses", want: addr + " global", why: noLinkLocal},
		{key: at + "IPv6 routes", want: "none", why: noLinkLocal},
		{key: at + "net/ipv6/conf/bridge/disable_ipv6", want: "1", why: noLinkLocal},
	}
}

// failureScenarios are commands that fail half-way: what they leave, and whether they
// succeed once the reason has gone.
func failureScenarios() []scenario {
	const failures = "Failures, and the second try"
	shop := func(s *stage) { publicly(s, "tcp:80 udp:80", shopPorts()...) }
	create := func(s *stage, name string, args ...string) {
		all := append([]string{"create", "--name", name, "--hostname", name, "--net", "n0"}, args...)
		s.docker(append(all, "guest", "serve", "tcp:80")...)
	}
	return []scenario{
		{name: "failure/bridge name taken by another link", feature: failures, play: func(s *stage) {
			s.on("host", "ip", "link", "add", "shop0", "type", "veth", "peer", "name", "shop1")
			s.afterwards("host", "ip", "link", "del", "shop0")
			n0 := append(option("bridge.name", "shop0"), "--subnet", "172.18.0.0/16")
			s.network("n0", n0...)
			s.output("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}")
			s.network("n1", "--subnet", "172.18.0.0/16")
			s.docker("network", "rm", "n1")
			s.on("host", "ip", "link", "del", "shop0")
			s.network("n0", n0...)
			s.host("n0")
		}},
		{name: "failure/port taken by a process", feature: failures, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			taker := s.w.Host.Start("guest", "serve", "tcp:0.0.0.0:8088")
			create(s, "web", "-p", "8087:80", "-p", "8088:80", "-p", "8090:80")
			s.docker("start", "web")
			states(s, "web")
			s.reach(from("lan", "tcp 192.0.2.2:8087", "tcp 192.0.2.2:8090"), from("host", "tcp 127.0.0.1:8087"))
			s.idle("free", "--net", "n0", "-p", "8087:80", "-p", "8090:80")
			s.docker("rm", "-f", "free")
			taker.Stop()
			s.docker("start", "web")
			running(s, "web")
			s.reach(from("lan", "tcp 192.0.2.2:8087", "tcp 192.0.2.2:8088", "tcp 192.0.2.2:8090"))
			s.inside("web")
		}},
		{name: "failure/port taken by a container", feature: failures, play: func(s *stage) {
			shop(s)
			create(s, "other", "-p", "8088:80")
			s.docker("start", "other")
			shopOpen(s)
			s.docker("stop", "-t", "0", "web")
			s.docker("start", "other")
			running(s, "other")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.docker("start", "web")
			s.docker("rm", "-f", "other")
			s.docker("start", "web")
			running(s, "web")
			shopOpen(s)
		}},
		{name: "failure/port taken on docker0", feature: failures, differs: []difference{
			{key: "docker start web", want: "exit code 1: failed to bind host port for 0.0.0.0:8088:172.18.0.2:80/tcp: address already in use",
				why: "dockerd keeps the list of its own driver's ports to itself: to mybr, docker-proxy is a process that has the port"},
		}, play: func(s *stage) {
			s.serve("old", "tcp:80", "-p", "8088:80")
			s.network("n0", "--subnet", "172.18.0.0/16")
			create(s, "web", "-p", "8088:80")
			s.docker("start", "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.docker("rm", "-f", "old")
			s.docker("start", "web")
			running(s, "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.docker("rm", "-f", "web")
			s.serve("old", "tcp:80", "-p", "8088:80")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "failure/address in use", feature: failures, play: func(s *stage) {
			shop(s)
			create(s, "other", "--ip", "172.18.0.2")
			s.docker("start", "other")
			s.docker("rm", "-f", "web")
			s.docker("start", "other")
			running(s, "other")
			s.reach(from("ben", "tcp 172.18.0.2:80"))
		}},
		{name: "failure/command that isn't there", feature: failures, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.docker("create", "--name", "web", "--net", "n0", "-p", "8088:80", "--entrypoint", "/nowhere", "guest")
			s.fact("start", fmt.Sprint(s.w.DockerTry("start", "web").Code))
			states(s, "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.serve("other", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.inside("other")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "failure/restart policy on-failure", feature: failures, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.docker("run", "-d", "--name", "web", "--net", "n0", "-p", "8088:80", "--restart", "on-failure:2", "guest", "get")
			s.w.Eventually(20*time.Second, func() error {
				r := s.w.DockerTry("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "web")
				if strings.TrimSpace(r.Out) != "exited 2" {
					return fmt.Errorf("web: %s%s", r.Out, r.Err)
				}
				return nil
			})
			s.serve("other", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "failure/removed between two restarts", feature: failures, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.docker("run", "-d", "--name", "web", "--net", "n0", "-p", "8088:80", "--restart", "always", "guest", "sysctl", "kernel.hostname")
			s.w.Eventually(20*time.Second, func() error {
				if r := s.w.DockerTry("inspect", "-f", "{{.RestartCount}}", "web"); strings.TrimSpace(r.Out) < "2" {
					return fmt.Errorf("web: %s%s", r.Out, r.Err)
				}
				return nil
			})
			s.docker("rm", "-f", "web")
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "failure/network of a stopped container removed", feature: failures, play: func(s *stage) {
			shop(s)
			s.docker("stop", "-t", "0", "web", "ben")
			s.docker("network", "rm", "n0")
			s.docker("start", "web")
			states(s, "web")
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.docker("start", "ben")
			s.docker("network", "connect", "n0", "web")
			s.docker("rm", "-f", "web", "ben")
			s.serve("web", "tcp:80 udp:80", append(shopPorts(), "--net", "n0")...)
			outsiders(s)
		}},
		{name: "failure/network in use", feature: failures, play: func(s *stage) {
			shop(s)
			s.docker("network", "disconnect", "n0", "ben")
			s.docker("network", "rm", "n0")
			s.docker("network", "disconnect", "-f", "n0", "web")
			s.docker("network", "disconnect", "n0", "web")
			s.docker("network", "rm", "n0")
			s.inside("web")
			outsiders(s)
		}},
		{name: "failure/connect to a network twice", feature: failures, play: func(s *stage) {
			shop(s)
			s.docker("network", "connect", "n0", "web")
			s.docker("network", "connect", "nowhere", "web")
			s.docker("network", "connect", "n0", "nobody")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.docker("network", "connect", "--ip", "172.20.0.9", "n1", "web")
			s.docker("network", "connect", "--ip", "172.19.0.1", "n1", "web")
			s.inside("web")
			s.docker("network", "connect", "--ip", "172.19.0.9", "n1", "web")
			s.inside("web")
			shopOpen(s)
		}},
		{name: "failure/stopped container connected and started", feature: failures, play: func(s *stage) {
			shop(s)
			s.docker("stop", "-t", "0", "web")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.docker("network", "connect", "--ip", "172.19.0.9", "n1", "web")
			s.docker("network", "disconnect", "n0", "web")
			s.docker("start", "web")
			running(s, "web")
			s.inside("web")
			s.host("n0")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("host", "tcp 127.0.0.1:8089"))
		}},
	}
}
