package parity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/world"
)

// settings is what docker inspect says of a container's networks, and docker network
// inspect of the networks' containers, save what is random.
func settings(s *stage, container string, networks ...string) {
	for _, n := range networks {
		at := fmt.Sprintf("(index .NetworkSettings.Networks %q)", n)
		s.output("inspect", "-f", fmt.Sprintf("{{%[1]s.IPAddress}}/{{%[1]s.IPPrefixLen}} {{%[1]s.Gateway}} {{%[1]s.GlobalIPv6Address}}/{{%[1]s.GlobalIPv6PrefixLen}} {{%[1]s.IPv6Gateway}} {{json %[1]s.IPAMConfig}} {{json %[1]s.Links}} {{json %[1]s.DriverOpts}}", at), container)
		r := s.w.DockerTry("inspect", "-f", fmt.Sprintf("{{%[1]s.MacAddress}} {{%[1]s.IPAddress}}", at), container)
		if fields := strings.Fields(r.Out); len(fields) == 2 {
			if p, err := netip.ParsePrefix(fields[1] + "/32"); err == nil {
				s.fact("inspect "+container+": MAC in "+n, normalMAC(fields[0], []netip.Prefix{p}, s.given))
			}
		}
		members := strings.Split(strings.TrimSpace(s.w.DockerTry("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}};{{end}}", n).Out), ";")
		slices.Sort(members) // docker has them in the order of their IDs
		s.fact("network inspect "+n+": containers", strings.Join(members, "; "))
	}
	s.output("inspect", "-f", "{{.HostConfig.NetworkMode}} {{json .HostConfig.PortBindings}} {{json .Config.ExposedPorts}}", container)
}

// docker0 connects a container to Docker's default network or disconnects it. That bears
// the name of the built-in driver, which would make it another fact.
func docker0(s *stage, what, container string) {
	r := s.try("network", what, "bridge", container)
	s.fact(what+" "+container+" and docker0", fmt.Sprint(r.Code))
}

// shownMAC is the difference of the MAC addresses that docker inspect shows.
func shownMAC() difference {
	return difference{engines: "20.10 26.1", key: "inspect *: MAC in *", want: "random",
		why: "mybr chooses MAC addresses at random on every engine, as the built-in driver does from 28.0 on"}
}

// engineScenarios are about what dockerd does with a network of whichever driver.
func engineScenarios() []scenario {
	const engine = "What dockerd adds to a network"
	return []scenario{
		{name: "engine/network inspect and ls", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--gateway", "172.18.0.9", "--ip-range", "172.18.4.0/24", "--label", "a=b", "--attachable",
				"-o", "com.docker.network.driver.mtu=1400")
			s.network("n1", "--internal", "--subnet", "172.19.0.0/16")
			for _, n := range []string{"n0", "n1"} {
				s.output("network", "inspect", "-f", "{{.Name}} {{.ID}} {{.Scope}} {{.EnableIPv6}} {{.Internal}} {{.Attachable}} {{.Ingress}} {{.ConfigOnly}} {{json .ConfigFrom}} {{json .IPAM}} {{json .Options}} {{json .Labels}} {{json .Containers}}", n)
			}
			r := s.try("network", "ls", "--filter", "driver="+s.driver, "--filter", "name=n", "--format", "{{.Name}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}")
			s.fact("networks of the driver", strings.Join(strings.Fields(r.Out), " "))
			s.output("network", "ls", "--filter", "label=a=b", "-q")
			s.output("network", "ls", "--filter", "dangling=true", "--filter", "scope=local", "--format", "{{.Name}}")
		}},
		{name: "engine/container inspect", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.idle("web", "--net", "n0", "--ip", "172.18.0.7", "--mac-address", "02:42:aa:bb:cc:dd", "-p", "8088:80", "--expose", "81")
			s.docker("network", "connect", "--alias", "www", "n1", "web")
			settings(s, "web", "n0", "n1")
			s.output("ps", "--filter", "network=n1", "--format", "{{.Names}}")
			s.docker("stop", "-t", "0", "web")
			settings(s, "web", "n0", "n1")
		}, differs: []difference{shownMAC()}},
		{name: "engine/config-only network", feature: engine, play: func(s *stage) {
			s.docker("network", "create", "--config-only", "--subnet", "172.18.0.0/16", "--gateway", "172.18.0.9", "--label", "from=cfg",
				"-o", "com.docker.network.driver.mtu=1400", "-o", "com.docker.network.bridge.name=shop0", "cfg")
			s.network("n0", "--config-from", "cfg")
			s.network("n1", "--config-from", "cfg", "--subnet", "172.19.0.0/16")
			s.network("n2", "--config-from", "nowhere")
			s.idle("web", "--net", "n0", "-p", "8088:80")
			s.inside("web")
			s.host("n0")
			s.output("network", "inspect", "-f", "{{.ConfigFrom.Network}} {{json .IPAM.Config}} {{json .Options}} {{json .Labels}}", "n0")
			s.docker("network", "rm", "cfg")
			s.docker("rm", "-f", "web")
			s.docker("network", "rm", "n0")
			s.docker("network", "rm", "cfg")
		}},
		{name: "engine/ipam-driver null", feature: engine, play: func(s *stage) {
			s.network("n0", "--ipam-driver", "null")
			s.idle("web", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.network("n1", "--ipam-driver", "null", "--internal")
			s.idle("db", "--net", "n1")
			s.inside("db")
		}},
		{name: "engine/default-network-opt", feature: engine, needs: "24.0", world: &world.Config{DockerArgs: []string{
			"--default-network-opt", "bridge=com.docker.network.driver.mtu=1432", "--default-network-opt", "mybr=com.docker.network.driver.mtu=1432",
			"--default-network-opt", "bridge=com.docker.network.container_iface_prefix=lan", "--default-network-opt", "mybr=com.docker.network.container_iface_prefix=lan",
		}}, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.network("n1", "--subnet", "172.19.0.0/16", "-o", "com.docker.network.driver.mtu=1400")
			s.idle("ben", "--net", "n1")
			s.inside("ben")
		}},
		{name: "engine/three networks by name", feature: engine, play: func(s *stage) {
			s.network("c", "--subnet", "172.18.0.0/16")
			s.network("b", "--subnet", "172.19.0.0/16")
			s.network("a", "--internal", "--subnet", "172.20.0.0/16")
			s.serve("web", "tcp:80", "--net", "c", "-p", "8088:80")
			s.docker("network", "connect", "a", "web")
			s.docker("network", "connect", "b", "web")
			s.inside("web")
			settings(s, "web", "a", "b", "c")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"), from("host", "tcp 127.0.0.1:8088"))
			s.docker("network", "disconnect", "b", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			s.docker("network", "disconnect", "c", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			s.docker("network", "connect", "b", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
		}, differs: []difference{shownMAC(),
			{engines: "20.10", key: "docker inspect -f *Networks \"a\")*web", want: "ok: 172.20.0.2/16 /0 {} null {}", why: noDefault},
			{engines: "20.10", key: "inside web: routes (3)", want: "172.20.0.0/16 dev eth1 src 172.20.0.2", why: noDefault},
			{engines: "20.10", key: "reach lan → tcp 192.0.2.2:8088 (3)", want: "refused", why: noDefault},
			{engines: "20.10", key: "reach web → ping 192.0.2.9 (3)", want: "unreachable", why: noDefault}}},
		{name: "engine/gw-priority", feature: engine, needs: "28.0", play: func(s *stage) {
			s.network("a", "--subnet", "172.18.0.0/16")
			s.network("b", "--subnet", "172.19.0.0/16")
			s.network("c", "--subnet", "172.20.0.0/16")
			s.serve("web", "tcp:80", "--network", "a", "-p", "8088:80")
			s.docker("network", "connect", "--gw-priority", "1", "b", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"), from("host", "tcp 127.0.0.1:8088"))
			s.docker("network", "connect", "--gw-priority", "2", "c", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			s.docker("network", "disconnect", "b", "web")
			s.docker("network", "disconnect", "c", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			s.docker("network", "connect", "--gw-priority", "-1", "c", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "engine/beside docker0", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.serve("web", "tcp:80", "-p", "8088:80")
			s.docker("network", "connect", "n0", "web")
			s.inside("web")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "tcp {web@n0}:80"), from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			docker0(s, "disconnect", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
			docker0(s, "connect", "web")
			s.docker("network", "disconnect", "n0", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("web", "ping 192.0.2.9"))
		}},
		{name: "engine/names, hosts and resolv.conf", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.run("web", []string{"sleep"}, []string{"--net", "n0", "--domainname", "shop.test", "--add-host", "nas:192.0.2.77", "--add-host", "outside:host-gateway",
				"--dns", "192.0.2.9", "--dns-search", "shop.test", "--dns-option", "timeout:1", "--dns-option", "attempts:1"})
			s.inside("web")
			s.resolve("web", "nas", "outside", "web.shop.test", "host.docker.internal")
		}},
		{name: "engine/name of a container changed", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0", "--network-alias", "www")
			s.idle("ben", "--net", "n0")
			s.docker("rename", "web", "shop")
			s.resolve("ben", "shop", "www")
			s.docker("restart", "-t", "0", "shop")
			s.resolve("ben", "shop", "www")
			s.docker("network", "disconnect", "n0", "shop")
			s.docker("network", "connect", "--alias", "store", "n0", "shop")
			s.resolve("ben", "shop", "store")
		}},
		{name: "engine/names of addresses", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0", "--ip", "172.18.0.7")
			s.idle("ben", "--net", "n0")
			s.output("exec", "ben", "/guest", "lookup", "172.18.0.7")
			s.output("exec", "web", "/guest", "lookup", "172.18.0.2")
		}},
		{name: "engine/endpoint sysctls", feature: engine, needs: "27.0", play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.idle("web", "--network", "name=n0,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.arp_ignore=1")
			s.docker("network", "connect", "--driver-opt", "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.forwarding=1", "n1", "web")
			s.inside("web")
			s.idle("bad", "--network", "name=n0,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.nothing=1")
		}},
		{name: "engine/sysctls of a container", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0", "--sysctl", "net.ipv4.conf.all.forwarding=1", "--sysctl", "net.ipv4.ip_local_port_range=40000 40100")
			s.inside("web")
			s.output("exec", "web", "/guest", "sysctl", "net.ipv4.ip_local_port_range")
		}},
		{name: "engine/no network and the host's", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("none", "--net", "none")
			s.docker("network", "connect", "n0", "none")
			s.run("inn", []string{"serve", "tcp:8088"}, []string{"--net", "host"})
			s.docker("network", "connect", "n0", "inn")
			s.idle("eve", "--net", "n0")
			s.reach(from("eve", "tcp 172.18.0.1:8088", "tcp 192.0.2.2:8088"))
			s.docker("network", "disconnect", "none", "none")
			s.docker("network", "connect", "n0", "none")
			s.inside("none")
		}},
		{name: "engine/prune", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--label", "stage=test")
			s.network("n1", "--subnet", "172.19.0.0/16", "--label", "stage=test")
			s.idle("web", "--net", "n0")
			s.idle("old", "--net", "n1", "-p", "8088:80")
			s.docker("kill", "old")
			s.docker("container", "prune", "-f")
			s.output("network", "prune", "-f", "--filter", "label=stage=test")
			s.output("network", "ls", "--filter", "label=stage=test", "--format", "{{.Name}}")
			s.network("n1", "--subnet", "172.19.0.0/16")
		}},
		{name: "engine/many containers at once", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			names := []string{"c1", "c2", "c3", "c4", "c5", "c6"}
			for i, name := range names {
				s.docker("create", "--name", name, "--hostname", name, "--net", "n0", "-p", fmt.Sprintf("%d:80", 8081+i), "guest", "serve", "tcp:80")
			}
			for range 2 {
				s.docker(append([]string{"restart", "-t", "0"}, names...)...)
				running(s, names...)
				for i, name := range names {
					s.reach(from("lan", fmt.Sprintf("tcp 192.0.2.2:%d", 8081+i)), from(name, "ping 192.0.2.9"))
				}
			}
		}},
		{name: "engine/removed by itself", feature: engine, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.output("run", "--rm", "--net", "n0", "-p", "8088:80", "guest", "sysctl", "kernel.domainname")
			s.serve("web", "tcp:80", "--rm", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.docker("stop", "-t", "0", "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.w.Eventually(10*time.Second, func() error { // stop doesn't wait for that
				if names := s.containers(); len(names) > 0 {
					return fmt.Errorf("still there: %v", names)
				}
				return nil
			})
		}},
	}
}
