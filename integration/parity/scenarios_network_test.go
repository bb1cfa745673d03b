package parity

import "github.com/mybr/mybr/integration/world"

func networkScenarios() []scenario {
	return []scenario{
		{name: "network/plain", feature: "Networks", world: &world.Config{}, play: func(s *stage) {
			s.network("n0")
			s.host("n0")
			s.serve("web", "tcp:80 udp:80", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "ping {web}", "tcp {web}:80", "udp {web}:80", "tcp {web}:81"), from("web", "ping {ben}"), from("host", "ping {web}", "tcp {web}:80"))
			s.neighs("ben")
			s.resolve("ben", "web", "ben", "nobody")
			s.forwarding()
			s.output("network", "inspect", "-f", "{{json .IPAM}} {{.Internal}} {{.EnableIPv6}} {{json .Options}}", "n0")
		}},
	}
}
