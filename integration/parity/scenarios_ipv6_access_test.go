package parity

const byNAT = "NAT carries to mybr's containers what docker-proxy copies to the built-in driver's"

// ipv6AccessScenarios are about which client reaches which server by IPv6.
func ipv6AccessScenarios() []scenario {
	return []scenario{
		{name: "access6/same network", feature: headAccess6, play: func(s *stage) {
			dual(s, "tcp:80 udp:80 tcp:81")
			s.reach(
				from("ben", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "udp {web6}:80", "udp {web6}:82", "tcp {web6}:82", "ping fd00:18::1", "ping fd00:18::99",
					"ping {ll web eth0}%eth0", "tcp [{ll web eth0}%eth0]:80", "udp [{ll web eth0}%eth0]:80", "ping {ll host n0}%eth0"),
				from("web", "ping {ben6}", "tcp {web6}:80", "tcp [::1]:80"),
				from("host", "ping {web6}", "tcp {web6}:80", "udp {web6}:80"))
			s.neighs("web")
		}},
		{name: "access6/out to the LAN and the host", feature: headAccess6, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			s.listen("host", "tcp:7001", "udp:7001")
			dual(s, "tcp:80")
			s.reach(from("ben", "ping 2001:db8::9", "tcp [2001:db8::9]:7000 from 5000", "udp [2001:db8::9]:7000", "tcp [2001:db8::9]:7009",
				"ping 2001:db8::2", "tcp [2001:db8::2]:7001 from 5001", "udp [2001:db8::2]:7001", "tcp [fd00:18::1]:7001", "ping 2001:db8::77",
				"tcp [{ll host n0}%eth0]:7001", "tcp 192.0.2.9:7000"))
		}},
		{name: "access6/out without IPv4", feature: headAccess6, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			onlySix(s, "tcp:80")
			s.reach(from("ben", "ping 2001:db8::9", "tcp [2001:db8::9]:7000", "udp [2001:db8::9]:7000", "tcp 192.0.2.9:7000", "ping 192.0.2.2"))
		}},
		{name: "access6/enable_ip_masquerade=false", feature: headAccess6, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			s.route("lan", net6)
			s.network("n0", dualNetwork(option("bridge.enable_ip_masquerade", "false")...)...)
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.reach(
				from("ben", "ping 2001:db8::9", "tcp [2001:db8::9]:7000", "udp [2001:db8::9]:7000", host6+"8088", "ping 2001:db8::10"),
				from("web", host6+"8088"),
				from("lan", host6+"8088", "tcp {web6}:80", "ping {web6}"))
		}, differs: []difference{
			{key: "reach ben → ping 2001:db8::9", want: "answered by 2001:db8::9, TTL 63", why: dropsReplies},
			{key: "reach ben → tcp [2001:db8::9]:7000", want: "answered by no container at [2001:db8::9]:7000, client seen as fd00:18::3", why: dropsReplies},
			{key: "reach ben → udp [2001:db8::9]:7000", want: "answered by no container at [2001:db8::9]:7000, client seen as fd00:18::3, TTL 63", why: dropsReplies},
		}},
		{name: "access6/host_ipv6", feature: headAccess6, since: "27.0", play: func(s *stage) {
			secondAddress6(s)
			s.listen("lan", "tcp:7000", "udp:7000")
			s.network("n0", dualNetwork(option("host_ipv6", "2001:db8::3")...)...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "tcp [2001:db8::9]:7000", "udp [2001:db8::9]:7000", "ping 2001:db8::9", "tcp 192.0.2.9:7000"), from("lan", host6+"8088", "tcp [2001:db8::3]:8088"))
		}},
		{name: "access6/LAN to container addresses", feature: headAccess6, play: func(s *stage) {
			s.route("lan", net6)
			dual(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("lan", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "udp {web6}:80", "tcp {web6}:8088", "ping fd00:18::1"))
		}},
		{name: "access6/another network of the driver", feature: headAccess6, play: func(s *stage) {
			dual(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80", "-p", "8088:80/udp")
			s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.idle("eve", "--net", "n1")
			s.awaitAddresses("eve", "host")
			s.reach(from("eve", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "udp {web6}:80", host6+"8088", "udp [2001:db8::2]:8088",
				"tcp [fd00:18::1]:8088", "tcp [fd00:19::1]:8088", "ping fd00:18::1", "ping 2001:db8::2", "tcp [{ll host n1}%eth0]:8088", "udp [{ll host n1}%eth0]:8088",
				"ping {ll host n0}%eth0", "ping {ll web eth0}%eth0"),
				from("web", "ping {eve6}"))
		}, differs: []difference{
			{key: "reach eve → udp [2001:db8::2]:8088", want: "answered by web at [fd00:18::2]:80, client seen as fd00:18::1, TTL 63", why: byNAT},
		}},
		{name: "access6/a network without IPv6 beside", feature: headAccess6, play: func(s *stage) {
			dual(s, "tcp:80 tcp:81", "-p", "8088:80")
			s.network("n1", "--subnet", other4)
			s.idle("eve", "--net", "n1")
			s.reach(from("eve", "ping {web}", "tcp {web}:80", "tcp 192.0.2.2:8088", host6+"8088", "ping {web6}"))
		}},
		{name: "access6/docker0 and a bridge of Docker's", feature: headAccess6, play: func(s *stage) {
			dual(s, "tcp:80 udp:80 tcp:81", "-p", "8088:80")
			theirs(s)
			s.serve("old", "tcp:80 tcp:81", "-p", "8089:80")
			s.serve("their", "tcp:80 tcp:81", "--net", "theirs", "-p", "8090:80")
			s.awaitAddresses("host", "their", "old")
			s.reach(
				from("old", "ping {web}", "tcp {web}:80", "tcp {web}:81", "tcp 192.0.2.2:8088"),
				from("their", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", host6+"8088", "tcp [fd00:18::1]:8088", "ping fd00:18::1", "ping {web}", "tcp {web}:81"),
				from("ben", "ping {their6}", "tcp {their6}:80", "tcp {their6}:81", host6+"8090", "tcp [fd00:30::1]:8090", "ping fd00:30::1", host6+"8089"))
		}},
		{name: "access6/itself by its published port", feature: headAccess6, play: func(s *stage) {
			dual(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("web", host6+"8088", "udp [2001:db8::2]:8088", "tcp [fd00:18::1]:8088", "tcp [::1]:8088", "tcp [{ll host n0}%eth0]:8088"))
		}},
		{name: "access6/enable_icc=false", feature: headAccess6, play: func(s *stage) {
			s.listen("lan", "tcp:7000")
			s.network("n0", dualNetwork(option("bridge.enable_icc", "false")...)...)
			s.serve("web", "tcp:80 udp:80 tcp:81", "--net", "n0", "-p", "8088:80", "-p", "8088:80/udp")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben")
			s.reach(
				from("ben", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "udp {web6}:80", host6+"8088", "udp [2001:db8::2]:8088", "tcp [fd00:18::1]:8088", "ping fd00:18::1",
					"tcp [2001:db8::9]:7000", "ping {ll web eth0}%eth0", "tcp [{ll web eth0}%eth0]:80", "ping {ll host n0}%eth0", "ping {web}", "tcp {web}:80"),
				from("web", "ping {ben6}", host6+"8088"),
				from("host", "ping {web6}", "tcp {web6}:81", "tcp [::1]:8088"),
				from("lan", host6+"8088", "udp [2001:db8::2]:8088"))
		}},
		{name: "access6/internal network", feature: headAccess6, play: func(s *stage) {
			s.listen("lan", "tcp:7000", "udp:7000")
			s.listen("host", "tcp:7001")
			s.route("lan", net6)
			s.network("n0", dualNetwork("--internal")...)
			s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "-p", "8088:80")
			s.serve("eve", "tcp:80", "--net", "n1", "-p", "8089:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben", "eve")
			s.on("ben", "ip", "-6", "route", "replace", "default", "via", "fd00:18::1")
			s.reach(
				from("ben", "ping {web6}", "tcp {web6}:80", "udp {web6}:80", "ping fd00:18::1", "tcp [fd00:18::1]:7001", "ping 2001:db8::9", "tcp [2001:db8::9]:7000", "udp [2001:db8::9]:7000",
					"ping 2001:db8::2", "tcp [2001:db8::2]:7001", host6+"8089", "ping {eve6}", "tcp {eve6}:80", "tcp [{ll host n0}%eth0]:8089", "ping fd00:19::1"),
				from("eve", "ping {web6}", "tcp {web6}:80", "ping fd00:18::1"),
				from("lan", "ping {web6}", "tcp {web6}:80", host6+"8088"),
				from("host", "ping {web6}", "tcp {web6}:80", host6+"8088", "tcp [::1]:8088"))
			s.resolve("ben", "web")
		}, differs: []difference{
			{key: "reach ben → tcp [{ll host n0}%eth0]:8089", want: timedOut,
				why: "safer on purpose: docker-proxy carries for clients of internal networks, mybr doesn't: such a network has no way to others, whatever they publish"},
		}},
		{name: "access6/names", feature: headAccess6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.idle("web", "--net", "n0", "--network-alias", "www")
			s.idle("ben", "--net", "n0", "--link", "web:linked")
			s.resolve("ben", "web", "www", "linked", "ben", "localhost")
			s.inside("ben")
		}},
	}
}

// secondAddress6 gives the host 2001:db8::3 too.
func secondAddress6(s *stage) {
	s.on("host", "ip", "addr", "add", "2001:db8::3/64", "dev", "eth0", "nodad")
	s.afterwards("host", "ip", "addr", "del", "2001:db8::3/64", "dev", "eth0")
}
