package parity

func lifecycleScenarios() []scenario {
	const life = "Lives of containers"
	shop := func(s *stage) { publicly(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp") }
	open := func(s *stage) {
		s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088"), from("host", "tcp 127.0.0.1:8088", "tcp 192.0.2.2:8088"), from("ben", "tcp {web}:80", "ping {web}"))
	}
	return []scenario{
		{name: "life/stop and start", feature: life, play: func(s *stage) {
			shop(s)
			s.docker("stop", "-t", "1", "web")
			open(s)
			s.docker("start", "web")
			s.w.Ready("web")
			open(s)
			s.inside("web")
		}},
		{name: "life/restart", feature: life, play: func(s *stage) {
			shop(s)
			s.docker("restart", "-t", "1", "web")
			s.w.Ready("web")
			open(s)
			s.host("n0")
		}},
		{name: "life/kill and start", feature: life, play: func(s *stage) {
			shop(s)
			s.docker("kill", "web")
			s.docker("start", "web")
			s.w.Ready("web")
			open(s)
		}},
		{name: "life/pause", feature: life, play: func(s *stage) {
			shop(s)
			s.docker("pause", "web")
			s.reach(from("ben", "ping {web}"))
			s.docker("unpause", "web")
			open(s)
		}},
		{name: "life/removed while it runs", feature: life, play: func(s *stage) {
			shop(s)
			s.docker("rm", "-f", "web")
			s.host("n0")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088"), from("host", "tcp 127.0.0.1:8088"))
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "-p", "8088:80", "-p", "8088:80/udp")
			open(s)
		}},
		{name: "life/connect and disconnect", feature: life, play: func(s *stage) {
			shop(s)
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.idle("eve", "--net", "n1")
			s.docker("network", "connect", "--alias", "www", "n1", "web")
			s.inside("web")
			s.host("n1")
			s.reach(from("eve", "ping {web@n1}", "tcp {web@n1}:80", "ping {web@n0}"), from("ben", "ping {web@n0}"), from("lan", "tcp 192.0.2.2:8088"))
			s.resolve("eve", "web", "www")
			s.docker("network", "disconnect", "n1", "web")
			s.inside("web")
			s.reach(from("eve", "ping 172.19.0.3"), from("lan", "tcp 192.0.2.2:8088"))
			s.docker("network", "disconnect", "n0", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
			s.docker("network", "connect", "--ip", "172.18.7.7", "n0", "web")
			s.inside("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("ben", "ping 172.18.7.7"))
			s.docker("network", "connect", "n0", "web")
			s.docker("network", "disconnect", "n1", "web")
		}},
		{name: "life/two networks", feature: life, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.19.0.0/16")
			s.docker("create", "--name", "web", "--hostname", "web", "--net", "n1", "-p", "8088:80", "guest", "serve", "tcp:80")
			s.docker("network", "connect", "n0", "web")
			s.docker("start", "web")
			s.w.Ready("web")
			s.insideJoined("web")
			s.idle("ben", "--net", "n0")
			s.idle("eve", "--net", "n1")
			s.reach(from("lan", "tcp 192.0.2.2:8088"), from("host", "tcp 127.0.0.1:8088"), from("ben", "tcp {web@n0}:80", "tcp 192.0.2.2:8088"),
				from("eve", "tcp {web@n1}:80", "tcp 192.0.2.2:8088"), from("web", "tcp 192.0.2.2:8088", "ping 192.0.2.9"))
			s.docker("network", "disconnect", "n0", "web")
			s.insideJoined("web")
			s.reach(from("lan", "tcp 192.0.2.2:8088"))
		}},
		{name: "life/network of another container", feature: life, play: func(s *stage) {
			shop(s)
			s.serve("guest", "tcp:82", "--net", "container:web")
			s.reach(from("ben", "tcp {web}:82"), from("lan", "tcp 192.0.2.2:8088"))
			s.docker("stop", "-t", "1", "web")
			s.docker("start", "web")
			s.w.Ready("web")
			open(s)
		}},
		{name: "life/address is used again", feature: life, play: func(s *stage) {
			shop(s)
			open(s)
			s.docker("rm", "-f", "web")
			s.serve("web", "tcp:80 udp:80", "--net", "n0", "--ip", "172.18.0.2")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088"), from("ben", "ping {web}", "tcp {web}:80"))
		}},
		{name: "life/create and remove without a start", feature: life, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.docker("create", "--name", "web", "--net", "n0", "-p", "8088:80", "guest", "sleep")
			s.docker("rm", "web")
		}},
	}
}
