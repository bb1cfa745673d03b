package parity

// ipv6PublishScenarios publish ports of containers with IPv6, and of containers without
// it on a host with it.
func ipv6PublishScenarios() []scenario {
	const carried = "answered by web at [fd00:18::2]:80, client seen as fd00:18::1"
	const fourToSix = "mybr publishes at the IPv4 address that was asked for, by its process; the built-in driver says ok and publishes nothing"
	at := func(name string, servers string, ask func(*stage), args ...string) scenario {
		return scenario{name: "publish6/" + name, feature: headPublish6, play: func(s *stage) {
			dual(s, servers, args...)
			ask(s)
		}}
	}
	tcp := func(s *stage) { everywhere6(s, "tcp", 8088) }
	both := func(s *stage) { everywhere6(s, "tcp", 8088); everywhere6(s, "udp", 8088) }
	six := func(name, servers string, args ...string) scenario {
		return scenario{name: "publish6/" + name, feature: headPublish6, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			onlySix(s, servers, args...)
			tcp(s)
		}}
	}
	return []scenario{
		at("tcp", "tcp:80", func(s *stage) { everywhere6(s, "tcp", 8088, 8089) }, "-p", "8088:80"),
		at("udp", "udp:80", func(s *stage) { everywhere6(s, "udp", 8088) }, "-p", "8088:80/udp"),
		at("any address of IPv6", "tcp:80 udp:80", both, "-p", "[::]:8088:80", "-p", "[::]:8088:80/udp"),
		at("any address of IPv4", "tcp:80 udp:80", both, "-p", "0.0.0.0:8088:80", "-p", "0.0.0.0:8088:80/udp"),
		at("127.0.0.1", "tcp:80", tcp, "-p", "127.0.0.1:8088:80"),
		at("the loopback of IPv6", "tcp:80 udp:80", both, "-p", "[::1]:8088:80", "-p", "[::1]:8088:80/udp"),
		{name: "publish6/one host address", feature: headPublish6, play: func(s *stage) {
			secondAddress6(s)
			dual(s, "tcp:80 udp:80", "-p", "[2001:db8::3]:8088:80", "-p", "[2001:db8::3]:8088:80/udp")
			tcp(s)
			s.reach(from("lan", "tcp [2001:db8::3]:8088", "udp [2001:db8::3]:8088"), from("host", "tcp [2001:db8::3]:8088"), from("ben", "tcp [2001:db8::3]:8088"), from("web", "tcp [2001:db8::3]:8088"))
		}},
		{name: "publish6/other containers at other addresses", feature: headPublish6, play: func(s *stage) {
			secondAddress6(s)
			dual(s, "tcp:80", "-p", "[2001:db8::3]:8088:80")
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "[2001:db8::2]:8088:80")
			s.serve("web3", "tcp:80", "--net", "n0", "-p", "0.0.0.0:8088:80")
			s.idle("web4", "--net", "n0", "-p", "[::]:8088:80")
			s.idle("web6", "--net", "n0", "-p", "[2001:db8::2]:8088:80")
			s.reach(from("lan", "tcp [2001:db8::3]:8088", "tcp [2001:db8::2]:8088", "tcp 192.0.2.2:8088"))
		}, differs: []difference{{key: "docker run web4 *", want: "exit code 125: Bind for 0.0.0.0:8088 failed: port is already allocated",
			why: "mybr names the address that was asked for, the built-in driver any one of those that stand in its way"}}},
		{name: "publish6/address that the host hasn't", feature: headPublish6, play: func(s *stage) {
			dual(s, "tcp:80", "-p", "[2001:db8::99]:8088:80")
		}},
		{name: "publish6/host port chosen", feature: headPublish6, play: func(s *stage) {
			dual(s, "tcp:80 udp:80", "-p", "80", "-p", "80/udp")
			s.reach(from("lan", "tcp 192.0.2.2:{port web 80/tcp}", "tcp [2001:db8::2]:{port web 80/tcp}", "udp 192.0.2.2:{port web 80/udp}", "udp [2001:db8::2]:{port web 80/udp}"),
				from("host", "tcp 127.0.0.1:{port web 80/tcp}", "tcp [::1]:{port web 80/tcp}"))
		}},
		{name: "publish6/all exposed", feature: headPublish6, play: func(s *stage) {
			dual(s, "tcp:80 udp:81", "-P", "--expose", "80", "--expose", "81/udp")
			s.reach(from("lan", "tcp [2001:db8::2]:{port web 80/tcp}", "udp [2001:db8::2]:{port web 81/udp}"))
		}},
		at("range", "tcp:8000 tcp:8005 tcp:8009", func(s *stage) {
			s.reach(from("lan", host6+"8000", host6+"8005", host6+"8009", host6+"8010", "tcp 192.0.2.2:8005"), from("host", "tcp [::1]:8005", host6+"8009"), from("ben", host6+"8005"))
		}, "-p", "8000-8009:8000-8009"),
		at("shifted range", "tcp:80 tcp:85 udp:85", func(s *stage) {
			s.reach(from("lan", host6+"8000", host6+"8005", "udp [2001:db8::2]:8005", "tcp 192.0.2.2:8005"), from("host", "tcp [::1]:8005"))
		}, "-p", "8000-8009:80-89", "-p", "8000-8009:80-89/udp"),
		at("the client's source", "tcp:80 udp:80", func(s *stage) {
			s.reach(from("lan", host6+"8088 from 5000", "udp [2001:db8::2]:8088 from 5000"), from("lan2", host6+"8088 from 5000"))
		}, "-p", "8088:80", "-p", "8088:80/udp"),
		at("one of a range", "tcp:80", func(s *stage) {
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "8000-8001:80")
			s.idle("web3", "--net", "n0", "-p", "8000-8001:80")
			s.reach(from("lan", host6+"8000", host6+"8001", "tcp 192.0.2.2:8001"))
		}, "-p", "8000-8001:80"),
		at("port of a process", "tcp:80", func(s *stage) {
			s.listen("host", "tcp:[::]:9999", "tcp:[2001:db8::2]:9998")
			s.idle("a", "--net", "n0", "-p", "9999:80")
			s.idle("b", "--net", "n0", "-p", "[2001:db8::2]:9998:80")
			s.idle("c", "--net", "n0", "-p", "0.0.0.0:9998:80")
		}, "-p", "8088:80"),
		at("removed while it runs", "tcp:80 udp:80", func(s *stage) {
			s.docker("rm", "-f", "web")
			s.reach(from("lan", host6+"8088", "udp [2001:db8::2]:8088"), from("host", "tcp [::1]:8088"))
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("lan", host6+"8088", "udp [2001:db8::2]:8088"), from("host", "tcp [::1]:8088"))
		}, "-p", "8088:80", "-p", "8088:80/udp"),
		{name: "publish6/host_binding_ipv4 of IPv6", feature: headPublish6, play: func(s *stage) {
			s.network("n0", dualNetwork(option("bridge.host_binding_ipv4", "::1")...)...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host")
			tcp(s)
		}},
		{name: "publish6/host_binding_ipv4 of IPv4", feature: headPublish6, play: func(s *stage) {
			s.network("n0", dualNetwork(option("bridge.host_binding_ipv4", "192.0.2.2")...)...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host")
			tcp(s)
		}},
		{name: "publish6/by IPv6 to a container without it", feature: headPublish6, play: func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			s.reach(from("lan", host6+"8088", "udp [2001:db8::2]:8088", "tcp [{ll host eth0}%eth0]:8088"), from("host", "tcp [::1]:8088", "udp [::1]:8088", host6+"8088"), from("lan2", host6+"8088"))
		}},
		{name: "publish6/on addresses of IPv6 for a container without it", feature: headPublish6, play: func(s *stage) {
			publicly(s, "tcp:80", "-p", "[::]:8088:80", "-p", "[2001:db8::2]:8089:80", "-p", "[::1]:8090:80")
			s.reach(from("lan", host6+"8088", host6+"8089", host6+"8090", "tcp 192.0.2.2:8088"), from("host", "tcp [::1]:8088", "tcp [::1]:8090", "tcp 127.0.0.1:8090", host6+"8089"))
		}},
		six("without IPv4", "tcp:80", "-p", "8088:80"),
		six("without IPv4, any address of IPv6", "tcp:80", "-p", "[::]:8088:80"),
		explained(six("without IPv4, 127.0.0.1", "tcp:80", "-p", "127.0.0.1:8088:80"),
			difference{key: "reach host → tcp 127.0.0.1:8088", want: carried, why: fourToSix}),
		explained(six("without IPv4, any address of IPv4", "tcp:80", "-p", "0.0.0.0:8088:80"),
			difference{key: "reach host → tcp 127.0.0.1:8088", want: carried, why: fourToSix},
			difference{key: "reach host → tcp 192.0.2.2:8088", want: carried, why: fourToSix},
			difference{key: "reach lan → tcp 192.0.2.2:8088", want: carried, why: fourToSix}),
		{name: "publish6/docker port", feature: headPublish6, play: func(s *stage) {
			dual(s, "tcp:80", "-p", "8088:80", "-p", "[::1]:8089:81")
			s.output("port", "web")
		}, differs: []difference{{key: "docker port *", want: "ok: ", why: noPorts}}},
	}
}
