package parity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Subnets of the networks that have IPv6.
const (
	net4, net6   = "172.18.0.0/16", "fd00:18::/64"   // n0's
	other4       = "172.19.0.0/16"                   // n1's
	other6       = "fd00:19::/64"                    //
	host6        = "tcp [2001:db8::2]:"              // the host on the LAN, for probes
	fromDual     = "27.0"                            // the first engine with NAT of IPv6 by default and ULA subnets of its own
	withoutIPv6  = "28.0"                            // the first that gives a container without IPv6 no address of it
	fromSingle   = "28.0"                            // the first with --ipv4=false and all gateway modes
	headAddress6 = "Addresses and links with IPv6"   // headings of docs/parity.md
	headAccess6  = "Who reaches whom by IPv6"        //
	headPublish6 = "Published ports with IPv6"       //
	headRefused6 = "What is refused concerning IPv6" //
)

// from27 is scenarios whose measure is the first engine that filters IPv6 without being
// asked, or a newer one. What older ones have of it is experimental and lets much pass.
func from27(list []scenario) []scenario {
	for i := range list {
		if list[i].since == "" {
			list[i].since = fromDual
		}
	}
	return list
}

// dualNetwork is the arguments of a network with both families.
func dualNetwork(more ...string) []string {
	return slices.Concat([]string{"--ipv6", "--subnet", net4, "--subnet", net6}, more)
}

// dual is publicly on a network with both families.
func dual(s *stage, servers string, args ...string) {
	s.network("n0", dualNetwork()...)
	s.serve("web", servers, append([]string{"--net", "n0"}, args...)...)
	s.idle("ben", "--net", "n0")
	s.awaitAddresses("host", "web", "ben")
}

// onlySix is publicly on a network that has no IPv4.
func onlySix(s *stage, servers string, args ...string) {
	s.network("n0", "--ipv4=false", "--ipv6", "--subnet", net6)
	s.serve("web", servers, append([]string{"--net", "n0"}, args...)...)
	s.idle("ben", "--net", "n0")
	s.awaitAddresses("host", "web", "ben")
}

// awaitAddresses waits until no address is tentative: the kernel looks for duplicates of
// link-local ones for a second or two, in which they can't be used.
func (s *stage) awaitAddresses(places ...string) {
	for _, place := range places {
		p := s.place(place)
		if p == nil {
			continue
		}
		s.w.Eventually(5*time.Second, func() error {
			for _, a := range p.Addrs() {
				if slices.Contains(a.Flags, "tentative") && s.carries(place, a.Dev) {
					return fmt.Errorf("%s: %v is tentative", place, a)
				}
			}
			return nil
		})
	}
}

// carries tells whether a link has a carrier: without one the search does not begin.
func (s *stage) carries(place, link string) bool {
	l, ok := s.place(place).Link(link)
	return ok && l.Running
}

// linkLocal is the link-local IPv6 address of a link, found as linkOf finds it.
func (s *stage) linkLocal(place, link string) (string, error) {
	p, l, err := s.linkOf(place, link)
	if err != nil {
		return "", err
	}
	for _, a := range p.Addrs() {
		if a.Dev == l.Name && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() {
			return a.Prefix.Addr().String(), nil
		}
	}
	return "", fmt.Errorf("%s of %s has no link-local address", link, place)
}

// everywhere6 asks a port of dual's web by every address that leads to it: PROTO PORT…
func everywhere6(s *stage, proto string, ports ...int) {
	var lan, host, ben, web []string
	for _, port := range ports {
		at := func(addrs ...string) (out []string) {
			for _, a := range addrs {
				out = append(out, fmt.Sprintf("%s %s:%d", proto, a, port))
			}
			return out
		}
		lan = append(lan, at("[2001:db8::2]", "192.0.2.2", "[{ll host eth0}%eth0]")...)
		host = append(host, at("[2001:db8::2]", "[::1]", "192.0.2.2", "127.0.0.1", "[fd00:18::1]", "[{ll host eth0}%eth0]")...)
		ben = append(ben, at("[2001:db8::2]", "[fd00:18::1]", "192.0.2.2", "[{ll host n0}%eth0]")...)
		web = append(web, at("[2001:db8::2]", "192.0.2.2")...)
	}
	s.reach(from("lan", lan...), from("host", host...), from("ben", ben...), from("web", web...))
}

// ipv6Scenarios are about the addresses, links, routes and settings of networks with
// IPv6.
func ipv6Scenarios() []scenario {
	subnet := func(what, subnet string, more ...string) scenario {
		return scenario{name: "ipv6/subnet " + what, feature: headAddress6, play: func(s *stage) {
			s.network("n0", append([]string{"--ipv6", "--subnet", net4, "--subnet", subnet}, more...)...)
			s.serve("web", "tcp:80", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "ping {web6}", "tcp {web6}:80", "ping {web}"), from("host", "tcp {web6}:80"))
		}}
	}
	return []scenario{
		subnet("ULA /64", "fd00:18::/64"),
		subnet("GUA /64", "2001:db8:18::/64"),
		subnet("/48", "fd00:18::/48"),
		subnet("/80", "fd00:18::/80"),
		subnet("/112", "fd00:18::/112"),
		subnet("/120", "fd00:18::/120"),
		subnet("/126", "fd00:18::8/126"),
		subnet("/127", "fd00:18::8/127"),
		subnet("fe80 /64", "fe80::/64"),
		subnet("with a gateway", "fd00:18::/64", "--gateway", "fd00:18::ff"),
		subnet("with gateways of both families", "fd00:18::/64", "--gateway", "fd00:18::ff", "--gateway", "172.18.7.7"),
		subnet("with an ip-range", "fd00:18::/64", "--ip-range", "fd00:18::a0/124"),
		subnet("with DefaultGatewayIPv6", "fd00:18::/64", "--aux-address", "DefaultGatewayIPv6=fd00:18::9"),
		subnet("with auxiliary addresses", "fd00:18::/64", "--aux-address", "nas=fd00:18::2", "--aux-address", "nas4=172.18.0.2"),
		{name: "ipv6/automatic subnet", feature: headAddress6, since: fromDual, needs: fromDual, play: func(s *stage) {
			s.network("n0", "--ipv6", "--subnet", net4)
			s.serve("web", "tcp:80", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "tcp {web6}:80", "ping {web6}"))
			addr, _ := s.placeholder("web6")
			s.fact("address in fc00::/7", fmt.Sprint(strings.HasPrefix(addr, "fd")))
			s.network("n1", "--ipv6")
			s.idle("eve", "--net", "n1")
			next, _ := s.placeholder("eve6")
			s.fact("two networks have two subnets", fmt.Sprint(addr != next && next != ""))
		}},
		{name: "ipv6/no IPv4", feature: headAddress6, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			onlySix(s, "tcp:80")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "ping {web6}", "tcp {web6}:80", "ping fd00:18::1"), from("host", "tcp {web6}:80", "ping {web6}"))
			s.resolve("ben", "web")
		}},
		{name: "ipv6/no IPv4, automatic subnet", feature: headAddress6, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			s.network("n0", "--ipv4=false", "--ipv6")
			s.serve("web", "tcp:80", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.reach(from("ben", "tcp {web6}:80"))
		}},
		{name: "ipv6/neither family", feature: headAddress6, since: fromSingle, needs: fromSingle, play: func(s *stage) {
			s.network("n0", "--ipv4=false")
		}},
		{name: "ipv6/addresses of a container", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.idle("web", "--net", "n0", "--ip6", "fd00:18::aa", "--ip", "172.18.9.9", "--mac-address", "02:42:aa:bb:cc:dd")
			s.inside("web")
			s.idle("same", "--net", "n0", "--ip6", "fd00:18::aa")
			s.idle("outside", "--net", "n0", "--ip6", "fd00:77::aa")
			s.idle("gateway", "--net", "n0", "--ip6", "fd00:18::1")
			s.idle("next", "--net", "n0")
			s.awaitAddresses("next")
			s.reach(from("next", "ping {web6}", "ping fe80::42:aaff:febb:ccdd%eth0"))
			s.neighs("next")
			s.output("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.MacAddress}} {{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}} {{.Gateway}}{{end}}", "web")
		}},
		{name: "ipv6/link-local-ip", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.idle("web", "--net", "n0", "--link-local-ip", "fe80::77")
			s.inside("web")
		}},
		{name: "ipv6/plain", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.host("n0")
			s.serve("web", "tcp:80 udp:80", "--net", "n0")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.reach(from("ben", "ping {web6}", "tcp {web6}:80", "udp {web6}:80", "tcp {web6}:81", "ping fd00:18::1", "ping fd00:18::99"), from("web", "ping {ben6}"), from("host", "ping {web6}", "tcp {web6}:80"))
			s.neighs("ben")
			s.resolve("ben", "web", "ben", "nobody")
			s.forwarding()
			s.output("network", "inspect", "-f", "{{json .IPAM}} {{.Internal}} {{.EnableIPv6}} {{json .Options}}", "n0")
		}},
		{name: "ipv6/internal", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork("--internal")...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.host("n0")
			s.awaitAddresses("host", "ben", "web")
			s.reach(from("ben", "ping {web6}", "tcp {web6}:80", "ping fd00:18::1", "ping {ll web eth0}%eth0", "ping {ll host n0}%eth0"), from("host", "tcp {web6}:80", "ping {web6}", "tcp [::1]:8088", host6+"8088"))
		}},
		{name: "ipv6/first packets to a container", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			for _, a := range s.place("host").Addrs() {
				if a.Dev == s.bridge("n0") && a.Scope == "link" {
					asks := "once no duplicate is found, a second later"
					if slices.Contains(a.Flags, "nodad") {
						asks = "at once"
					}
					s.fact("the host asks for neighbours from "+normal(a.Prefix.Addr().String()), asks)
				}
			}
			s.awaitAddresses("web", "host")
			s.reach(from("lan", host6+"8088", "tcp 192.0.2.2:8088"))
		}, differs: []difference{{key: "the host asks for neighbours from fe80::EUI64", want: "at once", engines: "28.5",
			why: "better on purpose: what the host forwards by IPv6 to a bridge's first container doesn't wait for the search for duplicates of the bridge's own address"}}},
		{name: "ipv6/no IPv6 on the network", feature: headAddress6, play: func(s *stage) {
			publicly(s, "tcp:80")
			s.inside("web")
			s.awaitAddresses("web", "ben", "host")
			s.reach(from("ben", "ping {ll web eth0}%eth0", "ping ::1"), from("web", "ping ::1"))
		}, differs: []difference{{engines: "20.10", key: "reach * → ping ::1", want: "unreachable",
			why: "of the engine: it switches IPv6 off in containers of networks without it, lo included"}}},
		{name: "ipv6/connected to a second network with IPv6", feature: headAddress6, play: func(s *stage) {
			publicly(s, "tcp:80")
			s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.serve("eve", "tcp:80", "--net", "n1")
			s.docker("network", "connect", "n1", "web")
			s.inside("web")
			s.reach(from("eve", "tcp {web6@n1}:80"), from("web", "ping {eve6}", "ping 2001:db8::9"))
			s.docker("network", "disconnect", "n1", "web")
			s.inside("web")
		}},
		{name: "ipv6/two networks with IPv6", feature: headAddress6, play: func(s *stage) {
			dual(s, "tcp:80", "-p", "8088:80")
			s.network("n1", "--ipv6", "--subnet", other4, "--subnet", other6)
			s.idle("eve", "--net", "n1")
			s.docker("network", "connect", "n1", "web")
			s.inside("web")
			s.reach(from("eve", "tcp {web6@n1}:80", "ping {web6@n0}"), from("ben", "tcp {web6@n0}:80", "ping {web6@n1}"), from("lan", host6+"8088"))
			s.docker("network", "disconnect", "n0", "web")
			s.inside("web")
			s.reach(from("lan", host6+"8088"), from("eve", "tcp {web6@n1}:80"))
		}},
		{name: "ipv6/a container without IPv6 by sysctl", feature: headAddress6, since: withoutIPv6, play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.reach(from("lan", host6+"8088", "tcp 192.0.2.2:8088"), from("host", "tcp [::1]:8088", "tcp 127.0.0.1:8088", host6+"8088"), from("ben", host6+"8088", "ping fd00:18::2"))
		}, differs: []difference{
			{engines: "20.10 26.1", key: "reach * → tcp [*]:8088", want: "timed out", why: untold},
			{engines: "20.10 26.1", key: "reach ben → ping fd00:18::2", want: "timed out", why: untold}}},
		{name: "ipv6/a link without IPv6 by sysctl", feature: headAddress6, needs: "27.0", play: func(s *stage) {
			s.network("n0", dualNetwork()...)
			s.serve("web", "tcp:80", "--network", "name=n0,driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1", "-p", "8088:80")
			s.idle("ben", "--net", "n0")
			s.inside("web")
			s.reach(from("lan", host6+"8088", "tcp 192.0.2.2:8088"), from("host", "tcp [::1]:8088", "tcp 127.0.0.1:8088", host6+"8088"))
		}},
		{name: "ipv6/mtu", feature: headAddress6, play: func(s *stage) {
			s.network("n0", dualNetwork(option("driver.mtu", "1400")...)...)
			s.serve("web", "tcp:80", "--net", "n0")
			s.inside("web")
			s.host("n0")
		}},
	}
}

func ipv6RefusedScenarios() []scenario {
	refused := func(name string, commands ...[]string) scenario {
		return scenario{name: "refused6/" + name, feature: headRefused6, play: func(s *stage) {
			for i, args := range commands {
				s.network(fmt.Sprintf("x%d", i), args...)
			}
		}}
	}
	const noGateway = "the built-in driver refuses a gateway for an internal network in IPv4 and ignores it in IPv6; mybr refuses both"
	with4 := func(args ...string) []string { return append([]string{"--ipv6", "--subnet", net4}, args...) }
	return []scenario{
		refused("no subnet of IPv6", with4()), // up to 26.1
		explained(refused("overlap with fe80", with4("--subnet", "fe80::/63"), with4("--subnet", "fe80::/80"), with4("--subnet", "fe80::/10"), with4("--subnet", "fe80:1::/64")),
			difference{engines: "20.10", key: "left: *", want: "nothing", why: leavesBridge}),
		refused("overlapping subnets", with4("--subnet", net6), []string{"--ipv6", "--subnet", other4, "--subnet", net6},
			[]string{"--ipv6", "--subnet", other4, "--subnet", "fd00:18::/80"}, []string{"--ipv6", "--subnet", other4, "--subnet", "fd00:18::/32"}),
		refused("two subnets of IPv6", with4("--subnet", net6, "--subnet", other6)),
		explained(refused("/128 and multicast", with4("--subnet", "fd00:18::1/128"), with4("--subnet", "ff02::/64")),
			difference{engines: "20.10 26.1", key: "left: *", want: "nothing", why: leavesBridge}),
		refused("gateway outside the subnet", with4("--subnet", net6, "--gateway", "fd00:19::1")),
		refused("ip-range outside the subnet", with4("--subnet", net6, "--ip-range", "fd00:19::/80")),
		explained(refused("DefaultGatewayIPv6", with4("--subnet", net6, "--aux-address", "DefaultGatewayIPv6=fd00:19::9"),
			with4("--subnet", net6, "--aux-address", "DefaultGatewayIPv4=172.18.0.9", "--internal")),
			difference{engines: "26.1 28.5", key: "left: *", want: "nothing", why: leavesBridge},
			difference{engines: "20.10", key: "docker network rm x1", want: absent, why: "a bug of the engine: a network that it refused stays"}),
		{name: "refused6/DefaultGatewayIPv6 of an internal network", feature: headRefused6, play: func(s *stage) {
			s.network("n0", with4("--subnet", net6, "--aux-address", "DefaultGatewayIPv6=fd00:18::9", "--internal")...)
		}, differs: []difference{
			{key: "docker network create *", why: noGateway,
				want: "exit code 1: auxiliary address DefaultGatewayIPv6: no gateway can be set on an internal bridge network"},
			{key: "docker network rm *", want: absent, why: noGateway},
		}},
		refused("IPv6 subnet without --ipv6", []string{"--subnet", net4, "--subnet", net6}),
	}
}
