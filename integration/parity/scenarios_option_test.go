package parity

import "slices"

// optionNetwork is a network n0 with an option of Docker's, a server web and a
// neighbour ben.
func optionNetwork(s *stage, key, value string, run ...string) {
	s.network("n0", append(option(key, value), "--subnet", "172.18.0.0/16")...)
	s.serve("web", "tcp:80 udp:80 tcp:81", append([]string{"--net", "n0"}, run...)...)
	s.idle("ben", "--net", "n0")
}

const dropsReplies = "a bug of the engine: its rule against direct access drops the replies to containers that aren't masqueraded"

func optionScenarios() []scenario {
	const options, addresses = "Options of a network", "Addresses of a network"
	return []scenario{
		{name: "option/enable_icc=false", feature: options, play: func(s *stage) {
			s.listen("lan", "tcp:7000")
			optionNetwork(s, "bridge.enable_icc", "false", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(
				from("ben", "ping {web}", "tcp {web}:80", "tcp {web}:81", "udp {web}:80", "tcp 192.0.2.2:8088", "tcp 172.18.0.1:8088", "ping 172.18.0.1", "tcp 192.0.2.9:7000"),
				from("web", "ping {ben}", "tcp 192.0.2.2:8088"),
				from("host", "ping {web}", "tcp {web}:81", "tcp 127.0.0.1:8088"),
				from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088"))
			s.resolve("ben", "web")
		}},
		{name: "option/enable_ip_masquerade=false", feature: options, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			s.route("lan", "172.18.0.0/16")
			optionNetwork(s, "bridge.enable_ip_masquerade", "false", "-p", "8088:80")
			s.reach(
				from("ben", "ping 192.0.2.9", "tcp 192.0.2.9:7000", "udp 192.0.2.9:7000", "tcp 192.0.2.2:8088", "ping 192.0.2.10"),
				from("web", "tcp 192.0.2.2:8088"),
				from("lan", "tcp 192.0.2.2:8088", "tcp {web}:80", "ping {web}"))
		}, differs: []difference{
			{engines: "20.10 26.1", key: "reach lan → tcp {web}:80", want: timedOut, why: noDirect},
			{engines: "28.5", key: "reach ben → ping 192.0.2.9", want: "answered by 192.0.2.9, TTL 63", why: dropsReplies},
			{engines: "28.5", key: "reach ben → tcp 192.0.2.9:7000", want: "answered by no container at 192.0.2.9:7000, client seen as 172.18.0.3", why: dropsReplies},
			{engines: "28.5", key: "reach ben → udp 192.0.2.9:7000", want: "answered by no container at 192.0.2.9:7000, client seen as 172.18.0.3, TTL 63", why: dropsReplies},
		}},
		{name: "option/host_binding_ipv4", feature: options, play: func(s *stage) {
			secondAddress(s)
			optionNetwork(s, "bridge.host_binding_ipv4", "192.0.2.3", "-p", "8088:80", "-p", "0.0.0.0:8089:81", "-p", "8088:80/udp")
			s.reach(
				from("lan", "tcp 192.0.2.3:8088", "tcp 192.0.2.2:8088", "tcp 192.0.2.3:8089", "tcp 192.0.2.2:8089", "udp 192.0.2.3:8088"),
				from("host", "tcp 127.0.0.1:8088", "tcp 192.0.2.3:8088", "tcp 127.0.0.1:8089"),
				from("ben", "tcp 192.0.2.3:8088"))
		}},
		{name: "option/host_binding_ipv4=127.0.0.1", feature: options, play: func(s *stage) {
			optionNetwork(s, "bridge.host_binding_ipv4", "127.0.0.1", "-p", "8088:80")
			everywhere(s, "tcp", 8088)
		}},
		{name: "option/host_ipv4", feature: options, since: "23.0", play: func(s *stage) {
			secondAddress(s)
			s.listen("lan", "tcp:7000", "udp:7000")
			optionNetwork(s, "host_ipv4", "192.0.2.3", "-p", "8088:80")
			s.reach(from("ben", "tcp 192.0.2.9:7000", "udp 192.0.2.9:7000", "ping 192.0.2.9"), from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "option/inhibit_ipv4", feature: options, play: func(s *stage) {
			optionNetwork(s, "bridge.inhibit_ipv4", "true")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "ping {web}", "tcp {web}:80", "ping 172.18.0.1"))
		}},
		{name: "option/mtu", feature: options, play: func(s *stage) {
			optionNetwork(s, "driver.mtu", "1400")
			s.inside("web")
			s.host("n0")
		}},
		{name: "option/container_iface_prefix", feature: options, play: func(s *stage) {
			optionNetwork(s, "container_iface_prefix", "lan")
			s.inside("web")
		}},
		{name: "option/bridge.name", feature: options, play: func(s *stage) {
			optionNetwork(s, "bridge.name", "shop0")
			s.host("n0")
			s.inside("web")
		}},
		{name: "option/bridge.name of an existing bridge", feature: options, play: func(s *stage) {
			s.on("host", "ip", "link", "add", "lan0", "address", "02:00:00:00:00:77", "type", "bridge")
			s.afterwards("host", "ip", "link", "del", "lan0")
			s.on("host", "ip", "link", "set", "lan0", "up")
			s.on("host", "ip", "addr", "add", "172.18.0.1/16", "dev", "lan0")
			optionNetwork(s, "bridge.name", "lan0")
			s.host("n0")
			s.reach(from("ben", "ping {web}", "ping 172.18.0.1"), from("host", "tcp {web}:80"))
			s.docker("rm", "-f", "web", "ben")
			s.docker("network", "rm", "n0")
			s.fact("lan0 afterwards", s.on("host", "ip", "-br", "-4", "addr", "show", "dev", "lan0"))
		}},
		{name: "option/several at once", feature: options, play: func(s *stage) {
			s.network("n0", slices.Concat(option("driver.mtu", "1450"), option("bridge.name", "shop0"), option("bridge.enable_icc", "false"),
				option("bridge.host_binding_ipv4", "127.0.0.1"), option("container_iface_prefix", "net"), []string{"--subnet", "172.18.0.0/16"})...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "tcp {web}:80"), from("host", "tcp 127.0.0.1:8088"), from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "address/gateway", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--gateway", "172.18.200.1")
			s.idle("web", "--net", "n0")
			s.inside("web")
			s.host("n0")
		}},
		{name: "address/ip-range and aux-address", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--ip-range", "172.18.8.0/29", "--aux-address", "router=172.18.8.1", "--aux-address", "nas=172.18.8.2")
			for _, name := range []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"} {
				s.docker("create", "--name", name, "--net", "n0", "guest", "sleep")
			}
			s.docker("start", "c1", "c2", "c3")
			s.fact("addresses", s.try("inspect", "-f", "{{.NetworkSettings.Networks.n0.IPAddress}}", "c1", "c2", "c3").Out)
			s.host("n0")
		}},
		{name: "address/DefaultGatewayIPv4", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--aux-address", "DefaultGatewayIPv4=172.18.0.9")
			s.idle("web", "--net", "n0")
			s.inside("web")
			s.host("n0")
		}},
		{name: "address/small subnets", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/30")
			s.idle("web", "--net", "n0")
			s.inside("web")
			s.idle("full", "--net", "n0")
			s.network("n1", "--subnet", "172.18.0.8/31")
			s.network("n2", "--subnet", "172.18.0.16/32")
		}, differs: []difference{
			{engines: "26.1 28.5", key: "docker network create * n2", why: noRoom,
				want: "exit code 1: subnet 172.18.0.16/32 has no address beside 172.18.0.16, so that no container could join: give a wider one (--subnet)"},
			{engines: "26.1 28.5", key: "docker network rm n0 n1", why: noRoom, want: "ok"},
			{engines: "26.1 28.5", key: "docker network rm n0 n1 n2", why: noRoom, want: absent},
		}},
		{name: "address/ip and mac-address of a container", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0", "--ip", "172.18.3.4", "--mac-address", "02:42:aa:bb:cc:dd")
			s.inside("web")
			s.idle("same", "--net", "n0", "--ip", "172.18.3.4")
			s.idle("outside", "--net", "n0", "--ip", "172.30.3.4")
			s.idle("gateway", "--net", "n0", "--ip", "172.18.0.1")
			s.idle("next", "--net", "n0")
			s.reach(from("next", "ping {web}"))
			s.output("inspect", "-f", "{{.NetworkSettings.Networks.n0.MacAddress}} {{.NetworkSettings.Networks.n0.IPAddress}} {{.NetworkSettings.Networks.n0.Gateway}}", "web")
		}},
		{name: "address/link-local-ip", feature: addresses, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0", "--link-local-ip", "169.254.8.8")
			s.inside("web")
		}},
	}
}
