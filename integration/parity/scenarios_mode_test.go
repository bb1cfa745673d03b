package parity

import (
	"slices"

	"github.com/mybr/mybr/integration/world"
)

// The first engines whose built-in driver has what: routed mode, the other modes and
// direct routing.
const (
	withRouted  = "27.0"
	withModes   = "28.0"
	withTrusted = "28.2"
)

// moded is a network n0 with gateway modes, with a server web that publishes some of its
// ports, and neighbours on it, on another network, on one of Docker's, and on the LAN,
// which knows the way.
func moded(s *stage, v4, v6 string, more ...string) {
	for _, subnet := range []string{net4, net6} {
		s.route("lan", subnet)
	}
	// The kernel limits the rate of ICMP errors (icmp(7)); each of many clients must get
	// its own. The LAN sends some too: what the host has no route for goes to and fro
	// between the two until its hop limit ends.
	for _, p := range []*world.Place{s.w.Host, s.w.LAN} {
		p.Sysctl("net/ipv4/icmp_ratelimit", "0")
		p.Sysctl("net/ipv6/icmp/ratelimit", "0")
	}
	s.listen("lan", "tcp:7000", "udp:7000")
	s.network("n0", dualNetwork(slices.Concat(modes(v4, v6), more)...)...)
	s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
	theirs(s)
	s.serve("web", "tcp:80 udp:80 tcp:81", "--net", "n0", "-p", "8088:80", "-p", "8088:80/udp", "-p", "8082:82")
	s.idle("ben", "--net", "n0")
	s.idle("eve", "--net", "n1")
	s.idle("their", "--net", "theirs")
	s.awaitAddresses("host", "web", "ben", "eve", "their")
}

// direct asks web by its own addresses, an open port that is published, a closed one
// that is, and one that isn't, and by the host's.
func direct(s *stage, places ...string) {
	var rows []row
	for _, place := range places {
		rows = append(rows, from(place,
			"ping {web}", "tcp {web}:80", "tcp {web}:81", "tcp {web}:82", "udp {web}:80", "tcp 192.0.2.2:8088",
			"ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "tcp {web6}:82", "udp {web6}:80", host6+"8088"))
	}
	s.reach(rows...)
}

// abroad asks the LAN and another network from n0.
func abroad(s *stage) {
	s.reach(from("ben", "ping 192.0.2.9", "tcp 192.0.2.9:7000", "udp 192.0.2.9:7000", "ping 2001:db8::9", "tcp [2001:db8::9]:7000", "udp [2001:db8::9]:7000",
		"ping {eve}", "ping {eve6}", "ping {their}", "ping {their6}", "ping 172.18.0.1", "ping fd00:18::1", "tcp 192.0.2.2:8088", host6+"8088"))
}

func modeScenarios() []scenario {
	mute := []difference{
		{key: "host of n0: IPv6 routes", want: "none", why: noLinkLocal},
		{key: "host of n0: bridge addresses", want: "none", why: noLinkLocal},
		{key: "host of n0: net/ipv6/conf/bridge/disable_ipv6", want: "1", why: noLinkLocal},
	}
	const proxied = "a bug of the engine: docker-proxy publishes a routed container's port at the host's IPv6 addresses, where routed mode takes none of the host's ports"
	const everyRouted = "better on purpose, and as the built-in driver has it from 29 on: routed ports are open on each network of a container, not on its default gateway alone"
	const heading = "Gateway modes"
	both := func(since, v4, v6 string) scenario {
		return scenario{name: "mode/" + v4 + " and " + v6, feature: heading, since: since, play: func(s *stage) {
			moded(s, v4, v6)
			direct(s, "lan", "eve", "their", "host", "ben")
			abroad(s)
			s.reach(from("host", "tcp 127.0.0.1:8088", "tcp [::1]:8088"))
			s.inside("web")
			s.host("n0")
		}}
	}
	isolated := func(v4, v6 string) scenario {
		sc := scenario{name: "mode/internal, " + v4 + " and " + v6, feature: heading, since: withModes, play: func(s *stage) {
			moded(s, v4, v6, "--internal")
			direct(s, "lan", "eve", "their", "host", "ben")
			abroad(s)
			s.inside("web")
			s.host("n0")
		}}
		if v4 == "isolated" || v6 == "isolated" { // older engines give the gateway an address all the same
			sc.needs = withModes
		}
		return sc
	}
	routed := func(name string, play func(*stage), publish ...string) scenario {
		return scenario{name: "mode/routed, " + name, feature: heading, since: withRouted, play: func(s *stage) {
			s.route("lan", net4)
			s.route("lan", net6)
			s.network("n0", dualNetwork(modes("routed", "routed")...)...)
			s.serve("web", "tcp:80 tcp:81 tcp:82 udp:80", append([]string{"--net", "n0"}, publish...)...)
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben")
			play(s)
		}}
	}
	wide := func(s *stage) {
		s.reach(from("lan", "tcp {web}:80", "tcp {web}:81", "tcp {web}:82", "udp {web}:80", "tcp {web6}:80", "tcp {web6}:81", "tcp {web6}:82", "udp {web6}:80", "ping {web}", "ping {web6}", "tcp 192.0.2.2:8088"),
			from("host", "tcp {web}:80", "tcp {web}:83", "tcp 127.0.0.1:8088", "tcp [::1]:8088"))
	}
	tight := func(name string, args []string, containers ...string) scenario {
		// Older engines don't ask whether a network needs an address for its gateway.
		return scenario{name: "mode/" + name, feature: heading, since: withModes, needs: withModes, play: func(s *stage) {
			s.network("n0", append(args, "--internal")...)
			for _, c := range containers {
				s.idle(c, "--net", "n0")
			}
			s.idle("full", "--net", "n0")
			s.inside(containers[0])
			s.host("n0")
			if len(containers) > 1 {
				s.reach(from(containers[1], "ping {"+containers[0]+"}", "ping {"+containers[0]+"6}"))
			}
		}}
	}
	return []scenario{
		both(withRouted, "nat", "nat"),
		both(withModes, "nat-unprotected", "nat-unprotected"),
		both(withRouted, "routed", "routed"),
		both(withRouted, "nat", "routed"),
		both(withRouted, "routed", "nat"),
		both(withModes, "nat-unprotected", "routed"),
		both(withModes, "routed", "nat-unprotected"),
		both(withModes, "nat", "nat-unprotected"),
		isolated("isolated", "isolated"),
		isolated("isolated", "nat"),
		isolated("nat", "isolated"),
		isolated("routed", "routed"),
		isolated("nat-unprotected", "nat-unprotected"),
		{name: "mode/routed, IPv4 alone", feature: heading, since: withRouted, play: func(s *stage) {
			s.route("lan", net4)
			s.listen("lan", "tcp:7000")
			s.network("n0", append(option("bridge.gateway_mode_ipv4", "routed"), "--subnet", net4)...)
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "ping {web}", "tcp {web}:80", "tcp {web}:81", "tcp 192.0.2.2:8088", host6+"8088"), from("host", "tcp 127.0.0.1:8088", "tcp [::1]:8088", "tcp {web}:81"),
				from("web", "tcp 192.0.2.9:7000", "ping 192.0.2.9"))
			s.host("n0")
			s.inside("web")
		}, differs: []difference{
			{key: "reach host → tcp [::1]:8088", want: "refused", why: proxied},
			{key: "reach lan → tcp [2001:db8::2]:8088", want: "refused", why: proxied},
		}},
		{name: "mode/routed, IPv6 alone", feature: heading, since: withModes, needs: withModes, play: func(s *stage) {
			s.route("lan", net6)
			s.listen("lan", "tcp:7000")
			s.network("n0", append(option("bridge.gateway_mode_ipv6", "routed"), "--ipv4=false", "--ipv6", "--subnet", net6)...)
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "ping {web6}", "tcp {web6}:80", "tcp {web6}:81", "tcp 192.0.2.2:8088", host6+"8088"), from("web", "tcp [2001:db8::9]:7000", "ping 2001:db8::9"))
			s.host("n0")
		}},
		routed("nothing published", wide),
		routed("exposed alone", wide, "--expose", "80"),
		routed("all exposed", wide, "-P", "--expose", "80", "--expose", "80/udp"),
		routed("no host port", wide, "-p", "80", "-p", "80/udp"),
		routed("with host addresses", wide, "-p", "127.0.0.1:8088:80", "-p", "[::1]:8088:81", "-p", "192.0.2.2:8088:82/tcp"),
		routed("range", wide, "-p", "8080-8082:80-82"),
		routed("one host port for two containers", func(s *stage) {
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.reach(from("lan", "tcp {web}:80", "tcp {web2}:80", "tcp {web26}:80", "tcp 192.0.2.2:8088"))
		}, "-p", "8088:80"),
		routed("host port of a process", func(s *stage) {
			s.listen("host", "tcp:8089")
			s.serve("web2", "tcp:80", "--net", "n0", "-p", "8089:80")
			s.reach(from("lan", "tcp {web2}:80", "tcp 192.0.2.2:8089"))
		}, "-p", "8088:80"),
		routed("removed and back", func(s *stage) {
			s.docker("rm", "-f", "web")
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "--ip", "172.18.0.2")
			s.reach(from("lan", "tcp {web}:80", "tcp {web6}:80", "ping {web}"))
		}, "-p", "8088:80"),
		explained(routed("docker port", func(s *stage) {
			s.output("port", "web")
		}, "-p", "8088:80"), difference{key: "docker port *", want: "ok: ", why: noPorts}),
		{name: "mode/routed, not the container's gateway", feature: heading, since: withRouted, play: func(s *stage) {
			s.route("lan", net4)
			s.route("lan", other4)
			s.route("lan", net6)
			s.network("a0", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.network("z0", dualNetwork(modes("routed", "routed")...)...)
			s.serve("web", "tcp:80 tcp:81", "--net", "a0", "-p", "8088:80")
			s.docker("network", "connect", "z0", "web")
			s.inside("web")
			s.awaitAddresses("web", "host")
			s.reach(from("lan", "tcp {web@z0}:80", "tcp {web@z0}:81", "ping {web@z0}", "tcp {web6@z0}:80", "tcp {web@a0}:80", "tcp 192.0.2.2:8088", host6+"8088"))
			s.docker("network", "disconnect", "z0", "web")
			s.reach(from("lan", "tcp 192.0.2.2:8088", "tcp 172.18.0.2:80", "tcp [fd00:18::2]:80"))
		}, differs: []difference{
			{key: "reach lan → tcp {web@z0}:80", want: "answered by web at 172.18.0.2:80, client seen as 192.0.2.9", why: everyRouted},
			{key: "reach lan → tcp {web6@z0}:80", want: "answered by web at [fd00:18::2]:80, client seen as 2001:db8::9", why: everyRouted},
		}},
		{name: "mode/routed, two of them", feature: heading, since: withRouted, play: func(s *stage) {
			s.network("n0", dualNetwork(modes("routed", "routed")...)...)
			s.network("n1", slices.Concat(modes("routed", "routed"), []string{"--ipv6", "--subnet", other4, "--subnet", other6})...)
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "-p", "8088:80")
			s.serve("eve", "tcp:80", "--net", "n1", "-p", "8089:80")
			s.awaitAddresses("web", "eve", "host")
			s.reach(from("eve", "tcp {web}:80", "tcp {web}:81", "ping {web}", "tcp {web6}:80", "ping {web6}"), from("web", "tcp {eve}:80", "tcp {eve6}:80"))
		}},
		{name: "mode/routed, enable_icc=false", feature: heading, since: withRouted, play: func(s *stage) {
			s.route("lan", net4)
			s.network("n0", dualNetwork(append(modes("routed", "routed"), option("bridge.enable_icc", "false")...)...)...)
			s.serve("web", "tcp:80 tcp:81", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.awaitAddresses("host", "web", "ben")
			s.reach(from("ben", "tcp {web}:80", "tcp {web6}:80", "ping {web}"), from("lan", "tcp {web}:80", "tcp {web}:81"), from("host", "tcp {web}:81"))
		}, differs: []difference{
			{key: "reach ben → ping {web}", want: timedOut,
				why: "safer on purpose: the built-in driver lets everybody ping a routed network's containers, even a neighbour that enable_icc=false keeps apart"},
		}},
		explained(tight("isolated, a subnet /31", append(option("bridge.gateway_mode_ipv4", "isolated"), "--subnet", "172.18.0.8/31"), "c1", "c2"), mute...),
		explained(tight("isolated, a subnet /32", append(option("bridge.gateway_mode_ipv4", "isolated"), "--subnet", "172.18.0.8/32"), "c1"), mute...),
		explained(tight("isolated, a subnet /30", append(option("bridge.gateway_mode_ipv4", "isolated"), "--subnet", "172.18.0.8/30"), "c1", "c2"), mute...),
		tight("isolated, a subnet /127", slices.Concat(modes("isolated", "isolated"), []string{"--ipv6", "--subnet", net4, "--subnet", "fd00:18::8/127"}), "c1", "c2"),
		explained(tight("inhibit_ipv4, a subnet /30", append(option("bridge.inhibit_ipv4", "true"), "--subnet", "172.18.0.8/30"), "c1", "c2"), mute...),
		explained(tight("isolated, with a gateway", append(option("bridge.gateway_mode_ipv4", "isolated"), "--subnet", net4, "--gateway", "172.18.0.9"), "c1", "c2"), mute...),
		{name: "mode/trusted_host_interfaces", feature: heading, since: withTrusted, play: func(s *stage) {
			moded(s, "", "", option("bridge.trusted_host_interfaces", "eth0")...)
			direct(s, "lan", "eve", "their")
		}},
		{name: "mode/trusted_host_interfaces, another one", feature: heading, since: withTrusted, play: func(s *stage) {
			moded(s, "", "", option("bridge.trusted_host_interfaces", "eth7:eth8")...)
			direct(s, "lan", "eve")
		}},
		{name: "mode/trusted_host_interfaces, two", feature: heading, since: withTrusted, play: func(s *stage) {
			moded(s, "", "", option("bridge.trusted_host_interfaces", "eth7:eth0")...)
			direct(s, "lan")
		}},
		{name: "mode/--allow-direct-routing", feature: heading, needs: withTrusted,
			world: &world.Config{DockerArgs: []string{"--allow-direct-routing"}, MybrArgs: []string{"--allow-direct-routing"}}, play: func(s *stage) {
				moded(s, "", "")
				direct(s, "lan", "eve", "their")
				abroad(s)
			}},
	}
}

// proxyScenarios are the main ways to a published port with an engine that runs no
// userland proxies.
func proxyScenarios() []scenario {
	plain := &world.Config{DockerArgs: []string{"--userland-proxy=false"}}
	const same = "drivers aren't told of --userland-proxy, which is about dockerd's own way to carry what NAT can't: mybr publishes as ever, in its own process"
	at := func(place, network, addr, want string) difference {
		return difference{key: "reach " + place + " → " + network + " " + addr + ":8088", want: want, why: same}
	}
	bridged, itself := "answered by web at 172.18.0.2:80, client seen as 172.18.0.1", "answered by web at 172.18.0.2:80, client seen as 192.0.2.2"
	bridged6, itself6 := "answered by web at [fd00:18::2]:80, client seen as fd00:18::1", "answered by web at [fd00:18::2]:80, client seen as 2001:db8::2"
	row := func(name string, play func(*stage), differs ...difference) scenario {
		return scenario{name: "proxy/" + name, feature: "Without a userland proxy (dockerd --userland-proxy=false)", world: plain, play: play, differs: differs}
	}
	return []scenario{
		row("published ports", func(s *stage) {
			publicly(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp", "-p", "127.0.0.1:8089:80")
			everywhere(s, "tcp", 8088, 8089)
			everywhere(s, "udp", 8088)
		},
			at("ben", "tcp", "*", bridged), at("ben", "udp", "*", bridged+", TTL 64"),
			at("host", "tcp", "192.0.2.2", itself), at("host", "udp", "192.0.2.2", itself+", TTL 64"),
			at("host", "tcp", "[::1]", bridged), at("host", "udp", "[::1]", bridged+", TTL 64")),
		row("published ports with IPv6", func(s *stage) {
			dual(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			everywhere6(s, "tcp", 8088)
			everywhere6(s, "udp", 8088)
		},
			at("ben", "tcp", "192.0.2.2", bridged), at("ben", "udp", "192.0.2.2", bridged+", TTL 64"),
			at("ben", "tcp", "[*", bridged6), at("ben", "udp", "[*", bridged6+", TTL 64"),
			at("host", "tcp", "192.0.2.2", itself), at("host", "udp", "192.0.2.2", itself+", TTL 64"),
			at("host", "tcp", "[2001:db8::2]", itself6), at("host", "udp", "[2001:db8::2]", itself6+", TTL 64"),
			at("host", "tcp", "[*", bridged6), at("host", "udp", "[*", bridged6+", TTL 64"),
			at("lan", "tcp", "[*%eth0]", bridged6), at("lan", "udp", "[*%eth0]", bridged6+", TTL 64")),
		row("from another network", func(s *stage) {
			dual(s, "tcp:80 udp:80", "-p", "8088:80", "-p", "8088:80/udp")
			s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.idle("eve", "--net", "n1")
			s.awaitAddresses("eve")
			s.reach(from("eve", "tcp 192.0.2.2:8088", "udp 192.0.2.2:8088", "tcp 172.18.0.1:8088", "tcp 172.19.0.1:8088", host6+"8088", "udp [2001:db8::2]:8088", "tcp {web}:80", "tcp {web6}:80"))
		},
			at("eve", "tcp", "1*", bridged), at("eve", "udp", "192.0.2.2", bridged+", TTL 63"),
			at("eve", "tcp", "[*", bridged6), at("eve", "udp", "[*", bridged6+", TTL 63")),
	}
}

func modeRefusedScenarios() []scenario {
	refused := func(name string, commands ...[]string) scenario {
		return scenario{name: "refused mode/" + name, feature: "What is refused of gateway modes", since: withTrusted, play: func(s *stage) {
			for _, args := range commands {
				s.network("x", args...)
				s.try("network", "rm", "x")
			}
		}}
	}
	const trusted = "failed to parse com.docker.network.bridge.trusted_host_interfaces value: "
	mistyped := func(option, message string) difference {
		return difference{key: "docker network create *" + option + " *", want: "exit code 1: " + message,
			why: "mybr refuses a value that no host can have, where the built-in driver takes it or lets iptables fail"}
	}
	with := func(key, value string, more ...string) []string {
		return append(append(option(key, value), "--subnet", net4), more...)
	}
	six := []string{"--ipv6", "--subnet", net6}
	return []scenario{
		refused("gateway_mode_ipv4", with("bridge.gateway_mode_ipv4", "bridged"), with("bridge.gateway_mode_ipv4", "NAT"), with("bridge.gateway_mode_ipv4", "")),
		refused("gateway_mode_ipv6", with("bridge.gateway_mode_ipv6", "bridged", six...), with("bridge.gateway_mode_ipv6", "l3")),
		refused("gateway_mode_ipv6 without IPv6", with("bridge.gateway_mode_ipv6", "routed")),
		refused("isolated without --internal", with("bridge.gateway_mode_ipv4", "isolated"), with("bridge.gateway_mode_ipv6", "isolated", six...)),
		explained(refused("trusted_host_interfaces", with("bridge.trusted_host_interfaces", ""), with("bridge.trusted_host_interfaces", "eth0:eth0"), with("bridge.trusted_host_interfaces", "a name that is too long for it"),
			with("bridge.trusted_host_interfaces", "eth0,eth1"), with("bridge.trusted_host_interfaces", "eth0:")),
			mistyped("bridge.trusted_host_interfaces=a name that is too long for it", trusted+`a name that is too long for it ("a name that is too long for it" is not 1 to 15 bytes long)`),
			mistyped("bridge.trusted_host_interfaces=eth0,eth1", trusted+`eth0,eth1 ("eth0,eth1" has other characters than letters, digits, _, . and (not at the beginning) -)`)),
		refused("host_ipv4", with("host_ipv4", "eth0")),
		explained(refused("host_ipv4 and host_ipv6 of the other family", with("host_ipv4", "2001:db8::2"), with("host_ipv6", "192.0.2.2", six...)),
			mistyped("host_ipv4=2001:db8::2", "failed to parse com.docker.network.host_ipv4 value: 2001:db8::2 (invalid argument): want an IPv4 address that can be a source address"),
			mistyped("host_ipv6=192.0.2.2", "failed to parse com.docker.network.host_ipv6 value: 192.0.2.2 (invalid argument): want an IPv6 address that can be a source address"),
			difference{key: "left: *", want: "nothing", why: leavesBridge}),
		explained(refused("host_ipv6=::", with("host_ipv6", "::", six...)),
			mistyped("host_ipv6=::", "failed to parse com.docker.network.host_ipv6 value: :: (invalid argument): want an IPv6 address that can be a source address")),
		explained(refused("isolated and DefaultGatewayIPv4", with("bridge.gateway_mode_ipv4", "isolated", "--internal", "--aux-address", "DefaultGatewayIPv4=172.18.0.9")),
			difference{key: "left: links", want: "nothing", why: leavesBridge}),
		explained(refused("a subnet /31 that isn't isolated", []string{"--subnet", "172.18.0.8/31", "--internal"}, []string{"--subnet", "172.18.0.8/32", "--internal"}),
			difference{engines: "26.1 28.5", key: "docker network create * 172.18.0.8/32 --internal x", why: noRoom,
				want: "exit code 1: subnet 172.18.0.8/32 has no address beside 172.18.0.8, so that no container could join: give a wider one (--subnet)"}),
	}
}

// explained is a scenario with differences.
func explained(sc scenario, differs ...difference) scenario {
	sc.differs = append(sc.differs, differs...)
	return sc
}

// theirs is a network of Docker's own driver, whichever is played.
func theirs(s *stage) {
	if r := s.try("network", "create", "-d", "bridge", "--ipv6", "--subnet", "172.30.0.0/16", "--subnet", "fd00:30::/64", "theirs"); r.Code != 0 {
		s.t.Fatalf("network theirs: %s", r.Err)
	}
}
