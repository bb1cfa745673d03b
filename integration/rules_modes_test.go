package integration

import (
	"net/netip"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
)

// renderedScenario is a scenario of the rule book that is not run: its rules are what
// the records render to that its commands lead to.
type renderedScenario struct {
	scenario
	options reconcile.Options
	change  func(n *model.Network, e *model.Endpoint) // of a network with IPv4 and IPv6 and a container that publishes a port
}

const (
	createDual = create + "--ipv6 --subnet fd00:18::/64 "
	runWeb     = "run -d --name web --net net --ip 172.18.0.2 --ip6 fd00:18::2 "
	mode4      = "-o com.docker.network.bridge.gateway_mode_ipv4="
	mode6      = "-o com.docker.network.bridge.gateway_mode_ipv6="
)

var renderedScenarios = []renderedScenario{
	{scenario{"ipv6", "A network with IPv6",
		"The same in both families. Clients with link-local addresses are served by the process.",
		[]string{createDual + "net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{},
		func(*model.Network, *model.Endpoint) {}},
	{scenario{"ipv6-only", "A network without IPv4",
		"`--ipv4=false`, from Docker 28: nothing passes by IPv4, whatever address a container gives itself. IPv4 clients of published ports are served by the process.",
		[]string{"network create -d mybr --ipv4=false --ipv6 --subnet fd00:18::/64 -o com.docker.network.bridge.name=mybr0 net",
			"run -d --name web --net net --ip6 fd00:18::2 -p 8080:80 guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, e *model.Endpoint) {
			n.V4, e.V4, e.Ports = model.Subnet{}, netip.Prefix{}, e.Ports[1:]
		}},
	{scenario{"ipv6-ranges", "Ranges in IPv6, and a fixed source address",
		"Ranges are one rule each in IPv6 too. `host_ipv6`: what leaves the network takes this address of the host.",
		[]string{createDual + "-o com.docker.network.host_ipv6=2001:db8::2 net",
			runWeb + "-p [::]:7000-7999:7000-7999 -p [2001:db8::2]:8000-8999:80-1079 guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, e *model.Endpoint) {
			n.V6.SNAT = netip.MustParseAddr("2001:db8::2")
			e.Ports = []model.PortBinding{
				binding("[::]:7000", "[fd00:18::2]:7000", 1000),
				binding("[2001:db8::2]:8000", "[fd00:18::2]:80", 1000),
			}
		}},
	{scenario{"routed", "Routed networks",
		"`gateway_mode=routed`: no translation. The published ports, and ICMP, are open at the container's own addresses, from everywhere.",
		[]string{createDual + mode4 + "routed " + mode6 + "routed net", runWeb + "-p 80 -p 7000-7009/udp guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, e *model.Endpoint) {
			n.V4.Mode, n.V6.Mode, e.Ports = model.ModeRouted, model.ModeRouted, nil
			e.Open = []model.PortSpan{{Proto: model.TCP, First: 80, Count: 1}, {Proto: model.UDP, First: 7000, Count: 10}}
		}},
	{scenario{"routed-ipv6", "IPv4 translated, IPv6 routed",
		"Each family has a mode of its own.",
		[]string{createDual + mode6 + "routed net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, e *model.Endpoint) {
			n.V6.Mode, e.Ports = model.ModeRouted, e.Ports[:1]
			e.Open = []model.PortSpan{{Proto: model.TCP, First: 80, Count: 1}}
		}},
	{scenario{"unprotected", "Unprotected networks",
		"`gateway_mode=nat-unprotected`: every port is open at the container's own addresses, but not to other bridge networks, Docker's included.",
		[]string{createDual + mode4 + "nat-unprotected " + mode6 + "nat-unprotected net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, _ *model.Endpoint) {
			n.V4.Mode, n.V6.Mode = model.ModeNATUnprotected, model.ModeNATUnprotected
		}},
	{scenario{"isolated", "Isolated networks",
		"`gateway_mode=isolated`, for internal networks: the rules are those of an internal network; the host has no address on the bridge.",
		[]string{createDual + "--internal " + mode4 + "isolated " + mode6 + "isolated net", runWeb + "guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, e *model.Endpoint) {
			n.Internal, e.Ports = true, nil
			n.V4.Mode, n.V6.Mode = model.ModeIsolated, model.ModeIsolated
		}},
	{scenario{"trusted", "Trusted interfaces of the host",
		"`trusted_host_interfaces`: published ports can be reached at the container's own addresses too, from these interfaces.",
		[]string{createDual + "-o com.docker.network.bridge.trusted_host_interfaces=eth0:wg0 net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{},
		func(n *model.Network, _ *model.Endpoint) { n.Trusted = []string{"eth0", "wg0"} }},
	{scenario{"direct-routing", "Direct routing",
		"mybr's `--allow-direct-routing`: published ports can be reached at the container's own addresses too, from everywhere.",
		[]string{"mybr serve --allow-direct-routing", createDual + "net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{DirectRouting: true},
		func(*model.Network, *model.Endpoint) {}},
	{scenario{"accept-fwmark", "Marked packets",
		"mybr's `--bridge-accept-fwmark`: what the administrator has marked passes to and from every network.",
		[]string{"mybr serve --bridge-accept-fwmark 0x1/0x3", createDual + "net", runWeb + "-p 8080:80 guest sleep"}},
		reconcile.Options{Accept: firewall.Mark{Value: 1, Mask: 3}},
		func(*model.Network, *model.Endpoint) {}},
}

// snapshot is what mybr has on record.
func (s renderedScenario) snapshot() model.Snapshot {
	n := model.Network{ID: "net", Bridge: "mybr0", Owned: true, ICC: true, V4: subnetOf("172.18.0.1/16"), V6: subnetOf("fd00:18::1/64")}
	e := model.Endpoint{ID: "web", NetworkID: "net",
		V4: netip.MustParsePrefix("172.18.0.2/16"), V6: netip.MustParsePrefix("fd00:18::2/64"),
		Ports: []model.PortBinding{binding("0.0.0.0:8080", "172.18.0.2:80", 1), binding("[::]:8080", "[fd00:18::2]:80", 1)}}
	s.change(&n, &e)
	return model.Snapshot{Networks: []model.Network{n}, Endpoints: []model.Endpoint{e}}
}

func subnetOf(gateway string) model.Subnet {
	p := netip.MustParsePrefix(gateway)
	return model.Subnet{Prefix: p.Masked(), Gateway: p.Addr(), Address: p, Masquerade: true}
}

func binding(host, container string, count uint16) model.PortBinding {
	return model.PortBinding{Proto: model.TCP, Count: count,
		Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(container)}
}
