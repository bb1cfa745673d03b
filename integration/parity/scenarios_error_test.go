package parity

const leavesBridge = "a bug of the engine: the bridge of a network that it refused stays"

// errorScenarios are commands that can't be done, and what docker says of them.
func errorScenarios() []scenario {
	const refused = "What is refused"
	wrong := func(name string, options ...string) scenario {
		return scenario{name: "refused/" + name, feature: refused, play: func(s *stage) {
			for i := 0; i < len(options); i += 2 {
				s.network("x", append(option(options[i], options[i+1]), "--subnet", "172.18.0.0/16")...)
				s.docker("network", "rm", "x")
			}
		}}
	}
	return []scenario{
		wrong("enable_icc", "bridge.enable_icc", "maybe"),
		wrong("enable_ip_masquerade", "bridge.enable_ip_masquerade", "2"),
		wrong("inhibit_ipv4", "bridge.inhibit_ipv4", "yes"),
		wrong("host_binding_ipv4", "bridge.host_binding_ipv4", "localhost", "bridge.host_binding_ipv4", "1.2.3"),
		wrong("mtu", "driver.mtu", "abc", "driver.mtu", "-1"),
		func() scenario {
			sc := wrong("bridge.name", "bridge.name", "sixteen-bytes-ab", "bridge.name", "a/b")
			const why = "mybr says which option is wrong, and what it may be"
			sc.differs = []difference{
				{key: "docker network create *sixteen*", why: why,
					want: `exit code 1: failed to parse com.docker.network.bridge.name value: sixteen-bytes-ab ("sixteen-bytes-ab" is not 1 to 15 bytes long)`},
				{key: "docker network create *a/b*", why: why,
					want: `exit code 1: failed to parse com.docker.network.bridge.name value: a/b ("a/b" has other characters than letters, digits, _, . and (not at the beginning) -)`},
			}
			return sc
		}(),
		{name: "refused/bridge.name of another link", feature: refused, play: func(s *stage) {
			s.network("x", append(option("bridge.name", "eth0"), "--subnet", "172.18.0.0/16")...)
		}},
		{name: "refused/bridge.name of another network", feature: refused, play: func(s *stage) {
			s.network("n0", append(option("bridge.name", "shop0"), "--subnet", "172.18.0.0/16")...)
			s.network("n1", append(option("bridge.name", "shop0"), "--subnet", "172.19.0.0/16")...)
		}},
		{name: "refused/overlapping subnets", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n1", "--subnet", "172.18.0.0/16")
			s.network("n2", "--subnet", "172.18.5.0/24")
			s.network("n3", "--subnet", "172.16.0.0/12")
		}},
		{name: "refused/subnet of docker0", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.17.0.0/16")
		}},
		{name: "refused/gateway outside the subnet", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--gateway", "172.19.0.1")
			s.network("n1", "--subnet", "172.18.0.0/16", "--ip-range", "172.19.0.0/24")
			s.network("n2", "--subnet", "172.18.0.0/16", "--aux-address", "DefaultGatewayIPv4=172.19.0.1")
		}},
		{name: "refused/two subnets", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16", "--subnet", "172.19.0.0/16")
		}},
		{name: "refused/default gateway of an internal network", feature: refused, play: func(s *stage) {
			s.network("n0", "--internal", "--subnet", "172.18.0.0/16", "--aux-address", "DefaultGatewayIPv4=172.18.0.9")
		}, differs: []difference{
			{engines: "20.10", key: "docker network rm n0", want: absent, why: messageWhy},
			{engines: "26.1 28.5", key: "left: links", want: "nothing", why: leavesBridge},
			{engines: "26.1 28.5", key: "left: addresses", want: "nothing", why: leavesBridge},
			{engines: "26.1", key: "left: rules", want: "nothing", why: leavesBridge},
		}},
		{name: "refused/removal of a network in use", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0")
			s.docker("network", "rm", "n0")
			s.docker("network", "rm", "nowhere")
		}},
		{name: "refused/network of the same name", feature: refused, play: func(s *stage) {
			s.network("n0", "--subnet", "172.18.0.0/16")
			s.network("n0", "--subnet", "172.19.0.0/16")
		}},
	}
}
