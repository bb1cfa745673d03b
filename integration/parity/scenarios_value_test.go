package parity

import (
	"slices"
	"strings"

	"github.com/mybr/mybr/integration/world"
)

const noRoom = "safer on purpose: a network that no container could join is refused, where the built-in driver refuses each container"

// valueScenarios give options their defaults in so many words, and other values that ask
// for nothing, or for everything.
func valueScenarios() []scenario {
	const options, addresses, ipam = "Options of a network", "Addresses of a network", "Addresses of mybr's IPAM driver"
	const (
		inVain   = "safer on purpose: an option that has no effect is refused, with what to write instead"
		hides    = "safer on purpose: a subnet that contains the address of another link would hide neighbours of the host"
		ofASize  = "0.0.0.0 with a prefix length asks mybr's IPAM driver for any subnet of that size; no container can join a network of the literal subnet"
		sayWhere = "mybr finds the overlap where the bridge is made, as it is with docker0's address, and says so"
	)
	// attempts creates networks that are removed again, and tells what became of them.
	attempts := func(s *stage, attempts ...[]string) {
		for _, args := range attempts {
			if s.network("x", args...) {
				s.fact("IPv6 and internal: "+s.words(args), strings.TrimSpace(s.try("network", "inspect", "-f", "{{.EnableIPv6}} {{.Internal}}", "x").Out))
				s.try("network", "rm", "x")
			}
		}
	}
	with := func(key, value string, more ...string) []string {
		return slices.Concat(option(key, value), []string{"--subnet", "172.18.0.0/16"}, more)
	}
	refused := func(engines, args, want, why string) []difference {
		return []difference{
			{engines: engines, key: "docker network create * " + args + " *", want: "exit code 1: " + want, why: why},
			{engines: engines, key: "IPv6 and internal: *" + args + "*", want: absent, why: why},
		}
	}
	return []scenario{
		{name: "option/host_binding_ipv4=0.0.0.0", feature: options, play: func(s *stage) {
			optionNetwork(s, "bridge.host_binding_ipv4", "0.0.0.0", "-p", "8088:80", "-p", "8088:80/udp", "-p", "0.0.0.0:8089:80")
			everywhere(s, "tcp", 8088)
			s.reach(from("lan", host6+"8088", "udp [2001:db8::2]:8088", host6+"8089", "tcp 192.0.2.2:8089"), from("host", "tcp [::1]:8088", "tcp [::1]:8089"))
		}},
		{name: "option/host_binding_ipv4=0.0.0.0, both families", feature: options, since: fromDual, play: func(s *stage) {
			s.network("n0", dualNetwork(option("bridge.host_binding_ipv4", "0.0.0.0")...)...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80", "-p", "0.0.0.0:8089:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben")
			everywhere6(s, "tcp", 8088, 8089)
		}},
		{name: "option/host_binding_ipv4=::, both families", feature: options, since: fromDual, play: func(s *stage) {
			s.network("n0", dualNetwork(option("bridge.host_binding_ipv4", "::")...)...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben")
			everywhere6(s, "tcp", 8088)
		}},
		{name: "option/host_binding_ipv4=0.0.0.0, routed", feature: options, since: withRouted, play: func(s *stage) {
			s.route("lan", net4)
			s.route("lan", net6)
			s.network("n0", dualNetwork(append(modes("routed", "routed"), option("bridge.host_binding_ipv4", "0.0.0.0")...)...)...)
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "-p", "8088:80")
			s.awaitAddresses("host", "web")
			s.reach(from("lan", "tcp {web}:80", "tcp {web6}:80", "tcp {web}:81", "tcp {web6}:81"))
		}},
		{name: "option/enable_ipv4 and enable_ipv6", feature: options, play: func(s *stage) {
			attempts(s, with("enable_ipv4", "true"), with("enable_ipv6", "false"), with("enable_ipv6", "true"))
		}, differs: refused("20.10 26.1", "-o com.docker.network.enable_ipv6=true",
			"option com.docker.network.enable_ipv6: true: this Docker Engine does not look at it: create the network with --ipv6", inVain)},
		{name: "option/enable_ipv4 and enable_ipv6, with flags", feature: options, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			attempts(s, with("enable_ipv6", "true", "--ipv6=false"), with("enable_ipv6", "false", "--ipv6"), with("enable_ipv4", "false"),
				append(option("enable_ipv4", "false"), "--ipv6"))
		}},
		{name: "option/default of dockerd", feature: options, since: fromSingle, needs: fromSingle, world: &world.Config{DockerArgs: []string{
			"--default-network-opt", "mybr=com.docker.network.enable_ipv6=true", "--default-network-opt", "bridge=com.docker.network.enable_ipv6=true",
		}}, play: func(s *stage) {
			attempts(s, []string{"--subnet", "172.18.0.0/16"}, []string{"--ipv6=false", "--subnet", "172.18.0.0/16"})
		}},
		{name: "option/internal", feature: options, play: func(s *stage) {
			attempts(s, with("internal", "false"), with("internal", "false", "--internal"), with("internal", "true", "--internal"), with("internal", "true", "--label", "a=b"))
		}, differs: refused("", "-o com.docker.network.internal=true --subnet 172.18.0.0/16 --label a=b",
			"option com.docker.network.internal: true: Docker Engine does not look at it: create the network with --internal", inVain)},
		{name: "option/default_bridge", feature: options, play: func(s *stage) {
			attempts(s, with("bridge.default_bridge", "false"), with("bridge.default_bridge", "maybe"))
		}},
		{name: "option/trusted_host_interfaces without names", feature: options, since: withModes, play: func(s *stage) {
			attempts(s, with("bridge.trusted_host_interfaces", ""), with("bridge.trusted_host_interfaces", ":"), with("bridge.trusted_host_interfaces", "eth0::eth1:"))
		}},
		{name: "option/advertise_addr", feature: options, play: func(s *stage) {
			attempts(s, with("advertise_addr_nmsgs", "3"), with("advertise_addr_ms", "1000"), with("advertise_addr_nmsgs", "1"))
			optionNetwork(s, "advertise_addr_nmsgs", "0")
			s.reach(from("ben", "tcp {web}:80"))
		}},
		{name: "option/endpoint.ifname", feature: options, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--network", "name=n0,driver-opt=com.docker.network.endpoint.ifname=")
			s.inside("web")
			s.docker("rm", "-f", "web")
			s.docker("create", "--name", "web", "--network", "name=n0,driver-opt=com.docker.network.endpoint.ifname=foo0", "guest", "sleep")
			s.docker("start", "web")
		}, differs: []difference{{key: "docker start web", why: "a protocol limit: Docker does not let a plugin name a container's interface",
			want: "exit code 1: create endpoint ID: option com.docker.network.endpoint.ifname: Docker does not let a plugin name the interface; " +
				"set the beginning of its name for the network, with -o com.docker.network.container_iface_prefix"}}},
		{name: "address/class E", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "240.0.0.0/24")
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "tcp {web}:80", "ping 192.0.2.9"), from("lan", "tcp 192.0.2.2:8088"), from("host", "tcp {web}:80"))
		}},
		{name: "address/in the subnet of another link", feature: addresses, play: func(s *stage) {
			attempts(s, []string{"--subnet", "192.0.2.128/25"}, []string{"--subnet", "192.0.2.0/25"})
		}, differs: refused("", "--subnet 192.0.2.0/25", "subnet 192.0.2.0/25 contains 192.0.2.2, an address of interface eth0", hides)},
		{name: "ipam/subnet beside docker0", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.17.5.0/24")
		}, differs: []difference{{key: "docker network create * n0", why: sayWhere,
			want: "exit code 1: subnet 172.17.5.0/24 overlaps 172.17.0.0/16, in which interface docker0 has address 172.17.0.1"}}},
		{name: "ipam/subnet of one address", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.1/32")
		}, differs: []difference{{key: "docker network create * n0", why: noRoom,
			want: "exit code 1: subnet 172.18.0.1/32 has no address beside 172.18.0.1, so that no container could join: give a wider one (--subnet)"},
			{engines: "26.1 28.5", key: "docker network rm n0", why: noRoom, want: absent}}},
		{name: "ipam/any subnet of a size", feature: ipam, world: &world.Config{}, play: func(s *stage) {
			s.pooled("n0", "--subnet", "0.0.0.0/24")
			s.idle("web", "--net", "n0")
			given(s, "web")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "ping {web}", "ping 192.0.2.9"))
		}, differs: []difference{
			{key: "docker run *", want: "ok", why: ofASize},
			{key: "address of web", want: "172.18.0.2", why: ofASize},
			{key: "reach ben → ping {web}", want: "answered by 172.18.0.2, TTL 64", why: ofASize},
			{key: "reach ben → ping 192.0.2.9", want: "answered by 192.0.2.9, TTL 63", why: ofASize},
		}},
	}
}
