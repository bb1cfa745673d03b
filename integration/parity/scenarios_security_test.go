package parity

import (
	"fmt"
	"slices"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// guarded is the first engine whose built-in driver guards containers' addresses in the
// raw table. On older ones mybr must guard as the newest does.
const guarded = "28.2"

// fortress is two networks with both families, n0 with a server web, which publishes a
// part of its ports, and ben, n1 with eve. The LAN's hosts know where they are.
func fortress(s *stage, n0 ...string) {
	for _, subnet := range []string{net4, net6, other4, other6} {
		s.route("lan", subnet)
	}
	s.network("n0", dualNetwork(n0...)...)
	s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
	s.serve("web", "tcp:80 udp:80 tcp:81", "--net", "n0", "-p", "8088:80", "-p", "8088:80/udp", "-p", "127.0.0.1:8090:80", "-p", "[::1]:8091:80")
	s.idle("ben", "--net", "n0")
	s.idle("eve", "--net", "n1")
	s.awaitAddresses("host", "web", "ben", "eve")
}

// outwards has a default route of both families by way of n0's bridge in ben, whatever
// Docker has set up there.
func outwards(s *stage) {
	s.on("ben", "ip", "route", "replace", "default", "via", "172.18.0.1")
	s.on("ben", "ip", "-6", "route", "replace", "default", "via", "fd00:18::1")
}

// firstPackets is a TCP connection's first packet and a datagram to a port.
func firstPackets(number string) []shot { return firstPacketsFrom(21011, number) }

// firstPacketsFrom has the source ports that are given: a flow that is masqueraded to the
// address of another one with the same ports gets another port, and isn't recognized.
func firstPacketsFrom(source uint16, number string) []shot {
	return []shot{
		{"TCP SYN to " + number, fmt.Sprintf("-proto tcp -sport %d -dport %s", source, number), port("tcp", source)},
		{"UDP to " + number, fmt.Sprintf("-proto udp -sport %d -dport %s", source+1, number), port("udp", source+1)},
	}
}

// as is one attack with several sources.
func as(a attack, sources ...string) (list []attack) {
	for _, src := range sources {
		a.src = src
		list = append(list, a)
	}
	return list
}

// martians is an attack on what fortress publishes at 127.0.0.1, by addresses that only
// the host itself may ask and those that others may, with an honest source and a false
// one; martians6 is one on what it publishes at ::1.
func martians(a attack) (list []attack) {
	a.shots = firstPackets("8090")
	for _, dst := range []string{"127.0.0.1", "127.9.9.9", "192.0.2.2", "172.18.0.1"} {
		a.dst = dst
		list = append(list, as(a, "", "127.0.0.1")...)
	}
	return list
}

func martians6(a attack) (list []attack) {
	a.shots = firstPackets("8091")
	for _, dst := range []string{"::1", "2001:db8::2", "fd00:18::1"} {
		a.dst = dst
		list = append(list, as(a, "", "::1")...)
	}
	return list
}

func securityScenarios() []scenario {
	row := func(name string, play func(*stage), differs ...difference) scenario {
		return scenario{name: "attack/" + name, feature: "Attacks", since: guarded, play: play, differs: differs}
	}
	const keptApart = "safer on purpose: with enable_icc=false mybr keeps the bridge's ports apart, where the built-in driver filters IP packets alone: " +
		"a container can't pass for the gateway by ARP"
	const falseSource = "safer on purpose: who asks a published port with an address of the container's own network as the source is shown to it as the bridge, " +
		"wherever the packet comes from; nobody on the LAN passes for a neighbour"
	const ownAddresses = "safer on purpose: a container sends with its own MAC and from its own addresses alone, so that it passes for nobody else to its neighbours; " +
		"`mybr.spoof=allow`, of the network or of the container, gives the built-in driver's way"
	return withUnchecked([]scenario{
		row("a neighbour may send everything", func(s *stage) {
			fortress(s)
			s.attacks(attack{from: "ben", at: "web"}, attack{from: "ben", at: "web", dst: "{web6}"},
				attack{from: "ben", at: "web", src: "192.0.2.9"}, attack{from: "ben", at: "web", dst: "{web6}", src: "2001:db8::9"})
		},
			difference{key: "attack ben → web as 192.0.2.9: *", want: "stopped", why: ownAddresses},
			difference{key: "attack ben → web by {web6} as 2001:db8::9: *", want: "stopped", why: ownAddresses}),
		row("from the LAN to container addresses", func(s *stage) {
			fortress(s)
			s.attacks(attack{from: "lan", at: "web"}, attack{from: "lan", at: "web", dst: "{web6}"}, attack{from: "lan", at: "ben"}, attack{from: "lan", at: "ben", dst: "{ben6}"})
		}),
		row("from the LAN with a false source", func(s *stage) {
			fortress(s)
			s.attacks(as(attack{from: "lan", at: "web", shots: shots(false)[:7]}, "{ben}", "{web}", "{eve}", "172.18.0.1", "192.0.2.2", "192.0.2.77", "127.0.0.1")...)
			s.attacks(as(attack{from: "lan", at: "web", dst: "{web6}", shots: shots(true)[:7]}, "{ben6}", "{web6}", "{eve6}", "fd00:18::1", "2001:db8::2", "2001:db8::77", "::1")...)
		}),
		row("from the LAN to published ports with a false source", func(s *stage) {
			fortress(s)
			s.attacks(as(attack{from: "lan", at: "web", dst: "192.0.2.2", shots: firstPackets("8088")}, "{ben}", "172.18.0.1", "192.0.2.77", "127.0.0.1")...)
			s.attacks(as(attack{from: "lan", at: "web", dst: "2001:db8::2", shots: firstPackets("8088")}, "{ben6}", "2001:db8::77", "::1")...)
			s.attacks(attack{from: "lan", at: "web", dst: "2001:db8::2", src: "fd00:18::1", shots: firstPacketsFrom(21021, "8088")})
		},
			difference{key: "attack lan → web by 192.0.2.2 as {ben}: *", want: "arrives from 172.18.0.1", why: falseSource},
			difference{key: "attack lan → web by 2001:db8::2 as {ben6}: *", want: "arrives from fd00:18::1", why: falseSource}),
		row("from the LAN to ports published for the host alone", func(s *stage) {
			fortress(s)
			past := attack{from: "lan", at: "web", link: "eth0", mac: "{mac host eth0}"}
			s.attacks(slices.Concat(martians(past), martians6(past))...)
		}),
		row("from a container to ports published for the host alone", func(s *stage) {
			fortress(s)
			ben := attack{from: "ben", at: "web", link: "eth0", mac: "{mac host n0}"}
			eve := attack{from: "eve", at: "web", link: "eth0", mac: "{mac host n1}"}
			s.attacks(slices.Concat(martians(ben), martians6(ben), martians(eve), martians6(eve))...)
		}),
		row("from another network", func(s *stage) {
			fortress(s)
			s.attacks(attack{from: "eve", at: "web"}, attack{from: "eve", at: "web", dst: "{web6}"}, attack{from: "eve", at: "ben"}, attack{from: "eve", at: "ben", dst: "{ben6}"})
		}),
		row("from another network with a false source", func(s *stage) {
			fortress(s)
			s.attacks(as(attack{from: "eve", at: "web", shots: shots(false)[:7]}, "{ben}", "{web}", "172.18.0.1", "172.19.0.1", "192.0.2.9", "192.0.2.2", "127.0.0.1")...)
			s.attacks(as(attack{from: "eve", at: "web", dst: "{web6}", shots: shots(true)[:7]}, "{ben6}", "{web6}", "fd00:18::1", "fd00:19::1", "2001:db8::9", "2001:db8::2", "::1")...)
		}),
		row("from another network, past its routes", func(s *stage) {
			fortress(s)
			s.attacks(
				attack{from: "eve", at: "web", link: "eth0", mac: "{mac host n1}"},
				attack{from: "eve", at: "web", dst: "{web6}", link: "eth0", mac: "{mac host n1}"},
				attack{from: "eve", at: "web", dst: "{ll web eth0}", link: "eth0", mac: "{mac host n1}", shots: shots(true)},
				attack{from: "eve", at: "web", dst: "172.18.255.255", link: "eth0", mac: "{mac host n1}"},
				attack{from: "eve", at: "web", dst: "ff02::1", link: "eth0", mac: "{mac host n1}", shots: shots(true)})
		}),
		row("by the bridge's link-local address", func(s *stage) {
			fortress(s)
			s.listen("host", "tcp:7001")
			s.reach(from("eve", "tcp [{ll host n0}%eth0]:8088", "tcp [{ll host n0}%eth0]:7001", "ping {ll host n0}%eth0", "tcp [{ll host n1}%eth0]:8091"),
				from("lan", "tcp [{ll host n0}%eth0]:8088", "ping {ll host n0}%eth0", "tcp [{ll host eth0}%eth0]:8091"))
		}),
		row("to and from Docker's networks", func(s *stage) {
			fortress(s)
			theirs(s)
			s.serve("old", "tcp:80 tcp:81", "-p", "8098:80")
			s.serve("their", "tcp:80 tcp:81", "--net", "theirs", "-p", "8099:80")
			s.awaitAddresses("host", "their")
			s.attacks(attack{from: "old", at: "web"}, attack{from: "their", at: "web"}, attack{from: "their", at: "web", dst: "{web6}"})
		}),
		row("out of an internal network", func(s *stage) {
			fortress(s, "--internal")
			outwards(s)
			s.attacks(attack{from: "ben", at: "lan"}, attack{from: "ben", at: "lan", dst: "2001:db8::9"},
				attack{from: "ben", at: "eve"}, attack{from: "ben", at: "eve", dst: "{eve6}"})
		}),
		row("out of an internal network with a false source", func(s *stage) {
			fortress(s, "--internal")
			outwards(s)
			four, six := []string{"{eve}", "192.0.2.2", "192.0.2.77", "172.18.0.1"}, []string{"{eve6}", "2001:db8::2", "2001:db8::77", "fd00:18::1"}
			s.attacks(slices.Concat(as(attack{from: "ben", at: "lan"}, four...), as(attack{from: "ben", at: "eve"}, four...),
				as(attack{from: "ben", at: "lan", dst: "2001:db8::9"}, six...), as(attack{from: "ben", at: "eve", dst: "{eve6}"}, six...))...)
		}),
		row("out of an internal network by IPv6 that nobody gave it", func(s *stage) {
			s.network("n0", "--internal", "--subnet", net4)
			s.idle("ben", "--net", "n0")
			s.on("host", "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
			s.on("ben", "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
			s.on("ben", "ip", "addr", "add", "fd00:18::9/64", "dev", "eth0", "nodad")
			s.attacks(attack{from: "ben", at: "lan", dst: "2001:db8::9", src: "fd00:18::9", link: "eth0", mac: "{mac host n0}"})
		}),
		row("through the host to somebody else", func(s *stage) {
			fortress(s)
			for place, number := range map[string]string{"host": "2", "lan2": "10"} {
				for _, addr := range []string{"10.77.0." + number + "/24", "fd00:77::" + number + "/64"} {
					s.on(place, "ip", "addr", "add", addr, "dev", "eth0")
					s.afterwards(place, "ip", "addr", "del", addr, "dev", "eth0")
				}
			}
			s.route("lan", "10.77.0.0/24")
			s.route("lan", "fd00:77::/64")
			s.awaitAddresses("host", "lan2")
			s.attacks(attack{from: "lan", at: "lan2", dst: "10.77.0.10", shots: firstPackets("80")}, attack{from: "lan", at: "lan2", dst: "fd00:77::10", shots: firstPackets("80")})
		}),
		row("into an internal network", func(s *stage) {
			fortress(s, "--internal")
			s.attacks(attack{from: "lan", at: "web"}, attack{from: "lan", at: "web", dst: "{web6}"},
				attack{from: "eve", at: "web"}, attack{from: "eve", at: "web", dst: "{web6}"},
				attack{from: "lan", at: "web", src: "{ben}"}, attack{from: "lan", at: "web", dst: "{web6}", src: "{ben6}"},
				attack{from: "eve", at: "web", src: "{ben}"}, attack{from: "eve", at: "web", dst: "{web6}", src: "{ben6}"},
				attack{from: "lan", at: "web", dst: "192.0.2.2", shots: firstPackets("8088")}, attack{from: "lan", at: "web", dst: "2001:db8::2", shots: firstPackets("8088")})
		}, difference{key: "attack * as {ben*: *", want: "stopped", why: "safer on purpose: the built-in driver lets into an internal network what has an address of the network as its source, " +
			"wherever it comes from; mybr looks at the link that it comes from"}),
		row("an internal network and published ports of others", func(s *stage) {
			fortress(s, "--internal")
			s.serve("shop", "tcp:80 udp:80", "--net", "n1", "-p", "8077:80", "-p", "8077:80/udp")
			outwards(s)
			s.attacks(attack{from: "ben", at: "shop", dst: "192.0.2.2", shots: firstPackets("8077")}, attack{from: "ben", at: "shop", dst: "2001:db8::2", shots: firstPackets("8077")},
				attack{from: "ben", at: "shop", dst: "172.18.0.1", shots: firstPackets("8077")}, attack{from: "ben", at: "shop", dst: "fd00:18::1", shots: firstPackets("8077")})
		}),
		row("enable_icc=false", func(s *stage) {
			fortress(s, option("bridge.enable_icc", "false")...)
			s.attacks(attack{from: "ben", at: "web"}, attack{from: "ben", at: "web", dst: "{web6}"}, attack{from: "ben", at: "web", dst: "{ll web eth0}%eth0", src: "{ll ben eth0}"},
				attack{from: "ben", at: "web", src: "172.18.0.1"}, attack{from: "ben", at: "web", dst: "{web6}", src: "fd00:18::1"},
				attack{from: "eve", at: "web"}, attack{from: "lan", at: "web", dst: "{web6}"})
		}),
		row("enable_icc=false, past the routes", func(s *stage) {
			fortress(s, option("bridge.enable_icc", "false")...)
			var list []attack
			for _, mac := range []string{"{mac web eth0}", "{mac host n0}", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"} {
				list = append(list, attack{from: "ben", at: "web", link: "eth0", mac: mac, shots: shots(false)[:7]},
					attack{from: "ben", at: "web", dst: "{web6}", link: "eth0", mac: mac, shots: shots(true)[:7]})
			}
			s.attacks(list...)
			s.attacks(attack{from: "ben", at: "web", dst: "172.18.255.255", link: "eth0", mac: "ff:ff:ff:ff:ff:ff"},
				attack{from: "ben", at: "web", dst: "255.255.255.255", link: "eth0", mac: "ff:ff:ff:ff:ff:ff"},
				attack{from: "ben", at: "web", dst: "224.0.0.251", link: "eth0", mac: "01:00:5e:00:00:fb"},
				attack{from: "ben", at: "web", dst: "ff02::1", src: "{ll ben eth0}", link: "eth0", mac: "33:33:00:00:00:01"})
		}),
		row("enable_icc=false, by way of the gateway", func(s *stage) {
			fortress(s, option("bridge.enable_icc", "false")...)
			web, err := s.placeholder("web")
			web6, err6 := s.placeholder("web6")
			if err != nil || err6 != nil {
				s.t.Fatalf("%v, %v", err, err6)
			}
			s.on("ben", "ip", "route", "add", web+"/32", "via", "172.18.0.1")
			s.on("ben", "ip", "-6", "route", "add", web6+"/128", "via", "fd00:18::1")
			s.attacks(attack{from: "ben", at: "web"}, attack{from: "ben", at: "web", dst: "{web6}"})
		}),
		row("enable_icc=false, ARP and neighbour discovery", func(s *stage) {
			fortress(s, option("bridge.enable_icc", "false")...)
			arp := []shot{{"ARP reply", "-proto arp", func(p report.Packet) bool { return p.Proto == "arp" && p.Type == 2 && p.Src != p.Dst }}}
			s.reach(from("ben", "ping {web}", "ping {web6}"), from("host", "ping {web}"), from("web", "ping 172.18.0.1"))
			s.attacks(attack{from: "ben", at: "web", link: "eth0", mac: "{mac web eth0}", src: "172.18.0.1", shots: arp},
				attack{from: "ben", at: "web", link: "eth0", mac: "ff:ff:ff:ff:ff:ff", src: "172.18.0.1", shots: arp},
				attack{from: "ben", at: "web", dst: "{web6}", src: "fd00:18::1", link: "eth0", mac: "{mac web eth0}",
					shots: []shot{{"neighbour advertisement", "-proto icmp -dport 136 -sport 1", func(p report.Packet) bool { return p.Proto == "icmp6" && p.Type == 136 && p.TTL == 64 }}}})
		},
			difference{key: "attack *: ARP reply", want: "stopped", why: keptApart}),

		row("a routed network", func(s *stage) {
			fortress(s, modes("routed", "routed")...)
			s.attacks(attack{from: "lan", at: "web"}, attack{from: "lan", at: "web", dst: "{web6}"}, attack{from: "lan", at: "ben"},
				attack{from: "eve", at: "web"}, attack{from: "eve", at: "web", dst: "{web6}"},
				attack{from: "lan", at: "web", src: "{ben}"}, attack{from: "lan", at: "web", dst: "{web6}", src: "{ben6}"},
				attack{from: "ben", at: "eve"}, attack{from: "ben", at: "eve", dst: "{eve6}"})
		},
			difference{key: "attack eve → web*: echo reply", want: "stopped",
				why: "safer on purpose: what conntrack knows no connection of, and so is not translated, doesn't leave a masqueraded network with the container's own address"}),
		row("a network that is not protected", func(s *stage) {
			fortress(s, modes("nat-unprotected", "nat-unprotected")...)
			s.attacks(attack{from: "lan", at: "web"}, attack{from: "lan", at: "web", dst: "{web6}"},
				attack{from: "eve", at: "web"}, attack{from: "eve", at: "web", dst: "{web6}"},
				attack{from: "lan", at: "web", dst: "127.0.0.1", link: "eth0", mac: "{mac host eth0}", shots: firstPackets("8090")},
				attack{from: "ben", at: "eve"}, attack{from: "ben", at: "eve", dst: "{eve6}"})
		}),
		row("an isolated network", func(s *stage) {
			fortress(s, append(modes("isolated", "isolated"), "--internal")...)
			s.attacks(
				attack{from: "ben", at: "lan", link: "eth0", mac: "{mac host n0}"}, attack{from: "ben", at: "lan", dst: "2001:db8::9", link: "eth0", mac: "{mac host n0}"},
				attack{from: "ben", at: "eve", link: "eth0", mac: "{mac host n0}"}, attack{from: "ben", at: "eve", dst: "{eve6}", link: "eth0", mac: "{mac host n0}"},
				attack{from: "lan", at: "web", closer: "ben"}, attack{from: "eve", at: "web", closer: "ben"}, attack{from: "eve", at: "web", dst: "{web6}", closer: "ben"})
		}),
		{name: "attack/ports for the host alone without a userland proxy", feature: "Attacks", since: guarded,
			world: &world.Config{DockerArgs: []string{"--userland-proxy=false"}}, play: func(s *stage) {
				fortress(s)
				s.attacks(slices.Concat(martians(attack{from: "lan", at: "web", link: "eth0", mac: "{mac host eth0}"}),
					martians(attack{from: "eve", at: "web", link: "eth0", mac: "{mac host n1}"}),
					martians(attack{from: "ben", at: "web", link: "eth0", mac: "{mac host n0}"}))...)
			}},
	}, ownAddresses,
		"attack/a neighbour may send everything",
		"attack/from a container to ports published for the host alone",
		"attack/from another network with a false source",
		"attack/out of an internal network with a false source",
		"attack/out of an internal network by IPv6 that nobody gave it",
		"attack/enable_icc=false",
		"attack/enable_icc=false, ARP and neighbour discovery")
}

// withUnchecked adds, behind each scenario that is named, one that plays the same while nobody
// looks at what mybr's containers send. Attacks with a false sender else end at the attacker's
// own port, and show nothing of what stops them behind it. Differences with the reason checked
// are none there.
func withUnchecked(all []scenario, checked string, names ...string) (out []scenario) {
	for _, sc := range all {
		out = append(out, sc)
		if !slices.Contains(names, sc.name) {
			continue
		}
		play := sc.play
		sc.name += ", with mybr.spoof=allow"
		sc.differs = slices.DeleteFunc(slices.Clone(sc.differs), func(d difference) bool { return d.why == checked })
		sc.play = func(s *stage) {
			s.ours = []string{"-o", "mybr.spoof=allow"}
			play(s)
		}
		out = append(out, sc)
	}
	return out
}

// modes is the arguments that set the gateway modes of both families; "": none.
func modes(v4, v6 string) (args []string) {
	if v4 != "" {
		args = slices.Concat(args, option("bridge.gateway_mode_ipv4", v4))
	}
	if v6 != "" {
		args = slices.Concat(args, option("bridge.gateway_mode_ipv6", v6))
	}
	return args
}
