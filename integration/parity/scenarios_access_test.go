package parity

// noDirect is of the built-in driver's before 28.0.
const noDirect = "safer on purpose, and as the built-in driver has it from 28.0 on: a published port is reached by the host's addresses alone"

const noDefault = "as the built-in driver has it later on: containers of an internal network have no default route"

const noLinkLocal = "safer on purpose: containers of an internal network don't reach the host by IPv6 link-local addresses"

// accessScenarios are about which client reaches which server.
func accessScenarios() []scenario {
	const access = "Who reaches whom"
	return []scenario{
		{name: "access/same network", feature: access, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80 tcp:81")
			s.reach(
				from("ben", "ping {web}", "tcp {web}:80", "tcp {web}:81", "udp {web}:80", "udp {web}:82", "tcp {web}:82", "ping 172.18.0.1", "ping 172.18.0.99"),
				from("web", "ping {ben}", "tcp {ben}:80", "tcp {web}:80", "tcp 127.0.0.1:80"),
				from("host", "ping {web}", "tcp {web}:80", "udp {web}:80"))
			s.neighs("web")
		}},
		{name: "access/out to the LAN and the host", feature: access, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			s.listen("host", "tcp:7001", "udp:7001")
			publicly(s, "tcp:80")
			s.reach(from("ben", "ping 192.0.2.9", "tcp 192.0.2.9:7000 from 5000", "udp 192.0.2.9:7000", "tcp 192.0.2.9:7009",
				"ping 192.0.2.2", "tcp 192.0.2.2:7001 from 5001", "udp 192.0.2.2:7001", "tcp 172.18.0.1:7001", "ping 192.0.2.77"))
		}},
		{name: "access/LAN to container addresses", feature: access, play: func(s *stage) {
			s.route("lan", "172.18.0.0/16")
			publicly(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("lan", "ping {web}", "tcp {web}:80", "tcp {web}:81", "udp {web}:80", "tcp {web}:8088", "ping 172.18.0.1"))
		}, differs: []difference{
			{engines: "20.10 26.1", key: "reach lan → tcp {web}:80", want: timedOut, why: noDirect},
			{engines: "20.10 26.1", key: "reach lan → udp {web}:80", want: timedOut, why: noDirect},
		}},
		{name: "access/another network of the driver", feature: access, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80", "-p", "8088:80/udp")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.idle("eve", "--net", "n1")
			s.reach(from("eve", "ping {web}", "tcp {web}:80", "tcp {web}:81", "udp {web}:80", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088",
				"tcp 172.18.0.1:8088", "tcp 172.19.0.1:8088", "ping 172.18.0.1", "ping 192.0.2.2"),
				from("web", "ping {eve}"))
		}, differs: []difference{
			{key: "reach eve → udp 192.0.2.2:8088", want: "answered by web at 172.18.0.2:80, client seen as 172.18.0.1, TTL 63",
				why: byNAT},
		}},
		{name: "access/docker0 and the network", feature: access, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80")
			s.serve("old", "tcp:80 tcp:81", "-p", "8089:80")
			s.reach(
				from("old", "ping {web}", "tcp {web}:80", "tcp {web}:81", "tcp 192.0.2.2:8088", "tcp 172.17.0.1:8088", "tcp 172.18.0.1:8088"),
				from("ben", "ping {old}", "tcp {old}:80", "tcp {old}:81", "tcp 192.0.2.2:8089", "tcp 172.17.0.1:8089", "ping 172.17.0.1"))
		}},
		{name: "access/itself by its published port", feature: access, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("web", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088", "tcp 172.18.0.1:8088", "tcp 127.0.0.1:8088"))
		}, differs: []difference{
			{engines: "20.10 26.1", key: "reach web → udp 192.0.2.2:8088", want: hairpinUDP, why: proxyUDP},
		}},
		{name: "access/internal network", feature: access, play: func(s *stage) {
			s.listen("lan", "tcp:7000")
			s.route("lan", "172.18.0.0/16")
			s.network("n0", "--internal", "--subnet", "172.18.0.0/16")
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.reach(
				from("ben", "ping {web}", "tcp {web}:80", "udp {web}:80", "ping 172.18.0.1", "ping 192.0.2.9", "tcp 192.0.2.9:7000", "ping 192.0.2.2"),
				from("lan", "ping {web}", "tcp {web}:80", "tcp 192.0.2.2:8088"),
				from("host", "ping {web}", "tcp {web}:80", "tcp 192.0.2.2:8088", "tcp 127.0.0.1:8088"))
			s.resolve("ben", "web")
		}, differs: []difference{
			{key: "host of n0: bridge addresses", want: "172.18.0.1/16 global", why: noLinkLocal},
			{key: "host of n0: IPv6 routes", want: "none", why: noLinkLocal},
			{key: "host of n0: net/ipv6/conf/bridge/disable_ipv6", want: "1", why: noLinkLocal},
			{engines: "20.10", key: "inside web: routes", want: "172.18.0.0/16 dev eth0 src 172.18.0.2", why: noDefault},
			{engines: "20.10", key: "reach ben → * 192.0.2.*", want: "unreachable", why: noDefault},
		}},
		{name: "access/names and aliases", feature: access, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.idle("web", "--net", "n0", "--network-alias", "www", "--network-alias", "shop")
			s.idle("web2", "--net", "n0", "--network-alias", "www")
			s.idle("ben", "--net", "n0", "--link", "web:linked")
			s.idle("eve", "--net", "n1")
			s.resolve("ben", "web", "www", "shop", "web2", "linked", "eve", "web.n0", "ben", "localhost")
			s.resolve("eve", "web", "www")
		}},
	}
}
