package parity

import (
	"github.com/mybr/mybr/integration/world"
	"strings"
)

// pooled creates a network whose addresses are those of the driver's own IPAM driver,
// if it has one. That is not to be seen in the fact.
func (s *stage) pooled(name string, args ...string) bool {
	return s.networkWith([]string{"--ipam-driver", "mybr"}, name, args...)
}

// given adds the addresses that containers have in n0.
func given(s *stage, containers ...string) {
	for _, c := range containers {
		s.fact("address of "+c, strings.TrimSpace(s.try("inspect", "-f", "{{.NetworkSettings.Networks.n0.IPAddress}}", c).Out))
	}
}

const (
	nameless    = "a protocol limit: an IPAM driver isn't told the name of the network"
	hostsMapped = "an engine's bug: dockerd writes an IPv4 address that it got from a remote IPAM driver as one of IPv6 (::ffff:…); the C library reads it as IPv4"
	twoDrivers  = "the two subnets are of different IPAM drivers, so that it is the network's driver who finds that they overlap, with the built-in driver's words for that"
	noRoutes    = "safer on purpose: mybr's IPAM driver chooses no subnet that the host has a route into, by a gateway either"
	inTurn      = "mybr's IPAM driver gives addresses in turn, so that one that was just given up is not another container's at once"
)

// ipamScenarios compare Docker's IPAM driver with mybr's.
func ipamScenarios() []scenario {
	const ipam = "Addresses of mybr's IPAM driver"
	return []scenario{
		{name: "ipam/range, gateway and reserved addresses", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.0/16", "--gateway", "172.18.200.1", "--ip-range", "172.18.8.0/29", "--aux-address", "router=172.18.8.1", "--aux-address", "nas=172.18.9.9")
			s.idle("c1", "--net", "n0")
			s.idle("c2", "--net", "n0")
			given(s, "c1", "c2")
			s.inside("c1")
			s.host("n0")
			s.reach(from("c1", "ping {c2}", "ping 172.18.200.1", "ping 192.0.2.9"))
			s.output("network", "inspect", "-f", "{{json .IPAM.Config}}", "n0")
		}, differs: []difference{
			{engines: "28.5", key: "inside c1: /etc/hosts", why: hostsMapped, want: "127.0.0.1 localhost; ::1 localhost ip6-localhost ip6-loopback; " +
				"fe00:: ip6-localnet; ff00:: ip6-mcastprefix; ff02::1 ip6-allnodes; ff02::2 ip6-allrouters; ::ffff:172.18.8.0 c1"},
		}},
		{name: "ipam/addresses of the user's", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.0/16")
			s.serve("web", "tcp:80", "--net", "n0", "--ip", "172.18.7.7", "--mac-address", "02:42:aa:bb:cc:dd", "-p", "8088:80")
			s.idle("same", "--net", "n0", "--ip", "172.18.7.7")
			s.idle("gateway", "--net", "n0", "--ip", "172.18.0.1")
			s.idle("outside", "--net", "n0", "--ip", "172.19.0.2")
			s.idle("ben")
			s.docker("network", "connect", "--ip", "172.18.7.8", "n0", "ben")
			s.reach(from("ben", "tcp {web}:80"), from("lan", "tcp 192.0.2.2:8088"))
			s.docker("restart", "-t", "0", "web")
			running(s, "web")
			given(s, "web", "ben")
			s.docker("network", "disconnect", "n0", "ben")
			s.docker("network", "connect", "--ip", "172.18.7.8", "n0", "ben")
			given(s, "ben")
		}},
		{name: "ipam/exhausted", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.0/30")
			s.idle("web", "--net", "n0")
			given(s, "web")
			s.idle("full", "--net", "n0")
			s.docker("rm", "-f", "web")
			s.docker("start", "full")
			given(s, "full")
			s.host("n0")
		}, differs: []difference{
			{key: "docker run full *", want: "exit code 125: request address: pool mybr-local/172.18.0.0/30 is exhausted: all 2 addresses of 172.18.0.0/30 are in use", why: nameless},
		}},
		{name: "ipam/address given again", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.0/16")
			s.idle("web", "--net", "n0")
			s.idle("ben", "--net", "n0")
			given(s, "web", "ben")
			s.docker("restart", "-t", "0", "web")
			given(s, "web")
			s.docker("rm", "-f", "ben")
			s.idle("eve", "--net", "n0")
			given(s, "eve")
			s.reach(from("eve", "ping {web}"))
		}, differs: []difference{
			{key: "address of web (2)", want: "172.18.0.4", why: inTurn},
			{key: "address of eve", want: "172.18.0.5", why: inTurn},
			{key: "reach eve → ping {web}", want: "answered by 172.18.0.4, TTL 64", why: inTurn},
		}},
		{name: "ipam/subnets of its own choice", feature: ipam, world: &world.Config{}, play: func(s *stage) {
			subnets := func(networks ...string) {
				for _, n := range networks {
					s.output("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", n)
				}
			}
			for _, n := range []string{"n0", "n1", "n2"} {
				s.pooled(n)
			}
			subnets("n0", "n1", "n2")
			s.idle("web", "--net", "n0")
			given(s, "web")
			s.reach(from("web", "ping 192.0.2.9"))
			s.docker("network", "rm", "n1")
			s.pooled("n3")
			subnets("n3")
		}, differs: []difference{{engines: "20.10 26.1", key: "docker network inspect * n3", want: "ok: 172.19.0.0/16",
			why: "as Docker's IPAM driver has it later on: the first subnet that is free"}}},
		{name: "ipam/route of the host's", feature: ipam, world: &world.Config{}, play: func(s *stage) {
			s.on("host", "ip", "route", "add", "172.18.77.0/24", "via", "192.0.2.9")
			s.afterwards("host", "ip", "route", "del", "172.18.77.0/24")
			s.pooled("n0")
			s.output("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", "n0")
		}, differs: []difference{{key: "docker network inspect *", want: "ok: 172.19.0.0/16", why: noRoutes}}},
		{name: "ipam/overlapping subnets", feature: ipam, play: func(s *stage) {
			s.pooled("n0", "--subnet", "172.18.0.0/16")
			s.pooled("n1", "--subnet", "172.18.5.0/24")
			s.pooled("n2", "--subnet", "172.16.0.0/12")
			s.network("n3", "--subnet", "172.18.0.0/16")
		}, differs: []difference{{key: "docker network create * n3", why: twoDrivers,
			want: "exit code 1: cannot create network ID (br-ID): conflicts with network ID (br-ID): networks have overlapping IPv4: 172.18.0.0/16 and 172.18.0.0/16"}}},
		{name: "ipam/both families", feature: ipam, since: fromDual, play: func(s *stage) {
			s.pooled("n0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64")
			s.serve("web", "tcp:80", "--net", "n0", "-p", "8088:80")
			s.idle("ben", "--net", "n0", "--ip", "172.18.0.9", "--ip6", "fd00:18::99")
			s.host("n0")
			s.reach(from("ben", "tcp {web}:80", "tcp {web6}:80"), from("web", "ping {ben6}"), from("lan", "tcp 192.0.2.2:8088", "tcp [2001:db8::2]:8088"))
			settings(s, "web", "n0")
			s.docker("restart", "-t", "0", "ben")
			s.reach(from("ben", "tcp {web6}:80"), from("web", "ping {ben6}"))
			settings(s, "ben", "n0")
		}},
	}
}
