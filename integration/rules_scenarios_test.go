package integration

import (
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/reconcile"
)

// scenario is one row of the rule book: what is asked of Docker, and, in the golden
// file of its name, what the kernel then has of mybr's.
type scenario struct {
	name, title string
	about       string   // one sentence or two for the rule book
	docker      []string // command lines without the word docker; "guest" is an image that waits
}

// chapter is scenarios that share a host.
type chapter struct {
	name        string
	engine      string
	chains      iptables.Docker   // where that engine makes its own
	mybr        []string          // flags of mybr serve
	options     reconcile.Options // what they come to
	defaultDrop firewall.Families // that mybr has the host forward; others the host forwards for itself
	scenarios   []scenario
}

const (
	create      = "network create -d mybr --subnet 172.18.0.0/16 -o com.docker.network.bridge.name=mybr0 "
	createDual  = create + "--ipv6 --subnet fd00:18::/64 "
	createOther = "network create -d mybr --subnet 172.19.0.0/16 -o com.docker.network.bridge.name=mybr1 "
	runWeb      = "run -d --name web --net net --ip 172.18.0.2 --ip6 fd00:18::2 "
	mode4       = "-o com.docker.network.bridge.gateway_mode_ipv4="
	mode6       = "-o com.docker.network.bridge.gateway_mode_ipv6="
)

// chapters are the rule book. Docker 20.10 has chains for IPv4 only, 28.5 for both
// families.
var chapters = []chapter{
	{name: "usual", engine: world.OwnEngine, chains: iptables.Docker{V4: true, Bridges: []string{"docker0"}}, scenarios: []scenario{
		{"network", "A network",
			"What every network has.",
			[]string{create + "net"}},
		{"published", "Published ports",
			"One rule for each port. A port on 127.0.0.1 has none: the process relays it.",
			[]string{create + "net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8053:53/udp -p 192.0.2.2:8443:443 -p 127.0.0.1:9090:90 guest sleep"}},
		{"publish-from", "Published ports that some clients reach",
			"`mybr.publish.from`: what comes to the container's ports from elsewhere has to come from these clients, and only they are answered. Host and neighbors always may.",
			[]string{create + "-o mybr.publish.from=192.168.0.0/16,198.51.100.7 net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8053:53/udp guest sleep"}},
		{"publish-interface", "Published ports that some interfaces reach",
			"`mybr.publish.interface`: what comes to the container's ports from elsewhere has to come by these interfaces, each packet of it. Host and neighbors always may.",
			[]string{create + "-o mybr.publish.interface=eth1,wg0 net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8053:53/udp guest sleep"}},
		{"egress", "What containers may begin",
			"`mybr.egress`: a list is a chain of its own, and all that have the same list share it. What is new and on its way out has to be in it, and what is sent to the host itself, for as long as it lasts; a container's own list counts before that of its network.",
			[]string{create + "-o mybr.egress=192.0.2.0/24:443/tcp,198.51.100.7,host:53 net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep",
				"run -d --name closed --network name=net,ip=172.18.0.3,driver-opt=mybr.egress=none guest sleep"}},
		{"many-ports", "Many published ports",
			"More than 16 are spread over a tree of chains, by protocol and number, so that a connection meets few of them.",
			[]string{create + "net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8001:80 -p 8003:80 -p 8005:80 -p 8007:80 -p 8009:80 -p 8011:80 -p 8013:80 -p 8015:80 -p 8017:80 -p 8019:80 -p 8021:80 -p 8023:80 -p 8025:80 -p 8027:80 -p 443:443 -p 53:53/udp -p 60000-60099:60000-60099/udp guest sleep"}},
		{"ranges", "Ranges of published ports",
			"One rule for each range, whether the numbers are the same on both sides or shifted.",
			[]string{create + "net",
				"run -d --name many --net net --ip 172.18.0.2 -p 7000-7999:7000-7999 -p 8000-8999:80-1079 -p 6000-6009:6000-6009/udp guest sleep"}},
		{"sctp", "SCTP",
			"Translated like TCP and UDP; conntrack knows it.",
			[]string{create + "net",
				"run -d --name sig --net net --ip 172.18.0.2 -p 3868:3868/sctp guest sleep"}},
		{"icc-off", "A network whose containers are kept apart",
			"`enable_icc=false`: the bridge's ports are isolated from each other; what goes through the host is dropped here. Published ports stay reachable, from the network itself through the process.",
			[]string{create + "-o com.docker.network.bridge.enable_icc=false net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 -p 8443:443 guest sleep"}},
		{"internal", "An internal network",
			"`--internal`: nothing in, nothing out, no translation.",
			[]string{create + "--internal net",
				"run -d --name db --net net --ip 172.18.0.2 guest sleep"}},
		{"masquerade-off", "A network that keeps its addresses",
			"`enable_ip_masquerade=false`: containers are seen with their own addresses. Published ports work all the same.",
			[]string{create + "-o com.docker.network.bridge.enable_ip_masquerade=false net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
		{"snat", "A fixed source address",
			"`host_ipv4`: what leaves the network takes this address of the host.",
			[]string{create + "-o com.docker.network.host_ipv4=192.0.2.2 net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
		{"inhibit", "A bridge without an address",
			"`inhibit_ipv4`: another machine is the gateway; nothing can turn back through the host.",
			[]string{create + "-o com.docker.network.bridge.inhibit_ipv4=true net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
		{"host-binding", "A default address for published ports",
			"`host_binding_ipv4`: ports that name no address are published there.",
			[]string{create + "-o com.docker.network.bridge.host_binding_ipv4=192.0.2.2 net",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
		{"two-networks", "Two networks",
			"Rules of different networks commute: those of a network that comes later follow.",
			[]string{create + "net",
				createOther + "other",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep",
				"run -d --name api --net other --ip 172.19.0.2 -p 8081:80 guest sleep"}},
		{"many-networks", "Many networks",
			"Of more than four networks, those that a packet belongs to are found through a tree of chains: by its addresses, and where those don't tell, by the bridges' names.",
			[]string{create + "net",
				"network create -d mybr --subnet 172.19.0.0/16 -o com.docker.network.bridge.name=mybr1 n1",
				"network create -d mybr --subnet 172.20.0.0/16 -o com.docker.network.bridge.name=mybr2 n2",
				"network create -d mybr --subnet 172.21.0.0/16 -o com.docker.network.bridge.name=mybr3 n3",
				"network create -d mybr --subnet 172.22.0.0/16 -o com.docker.network.bridge.name=mybr4 n4",
				"run -d --name web --net net --ip 172.18.0.2 -p 8080:80 guest sleep"}},
		{"ipv6", "A network with IPv6",
			"The same in both families. Clients with link-local addresses are served by the process.",
			[]string{createDual + "net", runWeb + "-p 8080:80 guest sleep"}},
		{"ipv6-ranges", "Ranges in IPv6, and a fixed source address",
			"Ranges are one rule each in IPv6 too. `host_ipv6`: what leaves the network takes this address of the host.",
			[]string{createDual + "-o com.docker.network.host_ipv6=2001:db8::2 net",
				runWeb + "-p [::]:7000-7999:7000-7999 -p [2001:db8::2]:8000-8999:80-1079 guest sleep"}},
		{"routed", "Routed networks",
			"`gateway_mode=routed`: no translation. The published ports, and ICMP, are open at the container's own addresses, from everywhere.",
			[]string{createDual + mode4 + "routed " + mode6 + "routed net", runWeb + "-p 80 -p 7000-7009/udp guest sleep"}},
		{"routed-ipv6", "IPv4 translated, IPv6 routed",
			"Each family has a mode of its own.",
			[]string{createDual + mode6 + "routed net", runWeb + "-p 8080:80 guest sleep"}},
		{"unprotected", "Unprotected networks",
			"`gateway_mode=nat-unprotected`: every port is open at the container's own addresses, but not to other bridge networks, Docker's included.",
			[]string{createDual + mode4 + "nat-unprotected " + mode6 + "nat-unprotected net", runWeb + "-p 8080:80 guest sleep"}},
		{"isolated", "Isolated networks",
			"`gateway_mode=isolated`, for internal networks: the rules are those of an internal network; the host has no address on the bridge.",
			[]string{createDual + "--internal " + mode4 + "isolated " + mode6 + "isolated net", runWeb + "guest sleep"}},
		{"trusted", "Trusted interfaces of the host",
			"`trusted_host_interfaces`: published ports can be reached at the container's own addresses too, from these interfaces.",
			[]string{createDual + "-o com.docker.network.bridge.trusted_host_interfaces=eth0:wg0 net", runWeb + "-p 8080:80 guest sleep"}},
	}},
	{name: "direct-routing", engine: world.OwnEngine, chains: iptables.Docker{V4: true, Bridges: []string{"docker0"}},
		mybr: []string{"--allow-direct-routing"}, options: reconcile.Options{DirectRouting: true},
		scenarios: []scenario{{"direct-routing", "Direct routing",
			"mybr's `--allow-direct-routing`: published ports can be reached at the container's own addresses too, from everywhere.",
			[]string{createDual + "net", runWeb + "-p 8080:80 guest sleep"}}}},
	{name: "accept-fwmark", engine: world.OwnEngine, chains: iptables.Docker{V4: true, Bridges: []string{"docker0"}},
		mybr: []string{"--accept-fwmark", "0x1/0x3"}, options: reconcile.Options{Accept: firewall.Mark{Value: 1, Mask: 3}},
		scenarios: []scenario{{"accept-fwmark", "Marked packets",
			"mybr's `--accept-fwmark`: what the administrator has marked passes to and from every network, internal ones too.",
			[]string{createDual + "net", createOther + "--internal db", runWeb + "-p 8080:80 guest sleep"}}}},
	{name: "default-drop", engine: world.OwnEngine, chains: iptables.Docker{V4: true, Bridges: []string{"docker0"}}, defaultDrop: firewall.Families{V6: true},
		scenarios: []scenario{{"default-drop", "A host that forwards IPv6 for mybr alone",
			"Where mybr had to turn forwarding on (Docker does so for IPv4, and sets the policy of FORWARD to DROP), the host is no router for others: a chain behind all rules, `MYBR-FORWARD-DROP` of iptables or `last` of nftables, drops what none has accepted. It stays until the host is booted, for forwarding does.",
			[]string{createDual + "net", runWeb + "-p 8080:80 guest sleep"}}}},
	{name: "28.5", engine: "28.5", chains: iptables.Docker{V4: true, V6: true},
		scenarios: []scenario{{"ipv6-only", "A network without IPv4",
			"`--ipv4=false`, from Docker 28, here with Docker Engine 28.5: nothing passes by IPv4, whatever address a container gives itself. Ports are published at the host's IPv6 addresses only.",
			[]string{"network create -d mybr --ipv4=false --ipv6 --subnet fd00:18::/64 -o com.docker.network.bridge.name=mybr0 net",
				"run -d --name web --net net --ip6 fd00:18::2 -p 8080:80 guest sleep"}}}},
}

// scenarios are those of all chapters.
func scenarios() (all []scenario) {
	for _, c := range chapters {
		all = append(all, c.scenarios...)
	}
	return all
}
