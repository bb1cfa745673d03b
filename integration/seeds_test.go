package integration

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// bridgeName is the option that names the bridge.
const bridgeName = "com.docker.network.bridge.name="

// TestSeeds builds, through Docker, what the source articles build by hand, and
// observes the same facts. A row's name begins with its article and section.
func TestSeeds(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, row := range []struct {
		name    string
		observe func(*testing.T, *world.World)
		cfg     world.Config
		full    bool // a row before shows the same
	}{
		{name: "S0.1_bridge", observe: seedBridge},
		{name: "S0.2_veth", observe: seedVeth},
		{name: "S0.3_default_route", observe: seedRoutes},
		{name: "S0.4_gateway_ping", observe: seedGatewayPing},
		{name: "S0.5_forward", observe: seedForward},
		{name: "S0.6_masquerade", observe: seedMasquerade},
		{name: "S1.1_host_and_container", observe: seedGatewayPing, full: true},
		{name: "S1.2_all_pairs", observe: seedAllPairs},
		{name: "S1.3_with_and_without_NAT", observe: seedNAT, cfg: nft},
		{name: "S1.4_published_port", observe: seedPublished, cfg: nft},
		{name: "S2.1_ARP_and_forward", observe: seedARP},
		{name: "S2.2_administrators_rules", observe: seedAdministrator, cfg: world.Config{LANs: []string{"192.0.2.10"}}},
		{name: "S2.2_isolation", observe: seedIsolation, cfg: nft},
		{name: "S2.2_published_across_networks", observe: seedPublishedAcross},
		{name: "S2.3_custom_network", observe: seedCustom},
		{name: "S2.4_beside_docker", observe: seedBeside},
		{name: "S3.1_namespaces", observe: seedNamespaces},
		{name: "S3.2_rp_filter", observe: seedRPFilter},
		{name: "S3.3_bridge_MAC", observe: seedBridgeMAC},
		{name: "S3.4_IPv4_and_IPv6", observe: seedLinkLocal, cfg: nft},
		{name: "S4.1_connect_disconnect", observe: seedConnect},
		{name: "S4.2_reach_outside", observe: seedMasquerade, full: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.full {
				world.Full(t)
			}
			t.Parallel()
			row.observe(t, world.New(t, row.cfg))
		})
	}
}

// article makes the articles' network: 172.18.0.0/16 on a bridge named mybr0.
func article(w *world.World) {
	w.Network("n0", "--subnet", "172.18.0.0/16", "-o", bridgeName+"mybr0")
}

func seedBridge(t *testing.T, w *world.World) {
	article(w)
	br := mustLink(t, w.Host, "mybr0")
	if br.Kind != "bridge" || !br.Up {
		t.Errorf("mybr0: kind %s, up %v, want a bridge that is up", br.Kind, br.Up)
	}
	if got := ipv4Prefix(t, w.Host, "mybr0").String(); got != "172.18.0.1/16" {
		t.Errorf("mybr0: address %s, want 172.18.0.1/16", got)
	}
	route := report.Route{Dst: netip.MustParsePrefix("172.18.0.0/16"), Dev: "mybr0", Src: netip.MustParseAddr("172.18.0.1")}
	if !hasRoute(w.Host, route) {
		t.Errorf("routes %v, want %v among them", w.Host.Routes(), route)
	}
	w.Docker("network", "rm", "n0")
	if hasRoute(w.Host, route) {
		t.Error("its route is there after docker network rm")
	}
	cleared(t, w)
}

func seedVeth(t *testing.T, w *world.World) {
	article(w)
	a := w.Idle("anna", "--net", "n0")
	eth0 := mustLink(t, a, "eth0")
	if eth0.Kind != "veth" || !eth0.Up || !eth0.Running {
		t.Errorf("eth0 %+v, want a veth that is up with a carrier", eth0)
	}
	want := w.Addr("anna", "n0") + "/16"
	if got := ipv4Prefix(t, a, "eth0").String(); got != want || want != "172.18.0.2/16" {
		t.Errorf("eth0 has %s, Docker says %s, want 172.18.0.2/16", got, want)
	}
	if mac := w.Docker("inspect", "-f", "{{.NetworkSettings.Networks.n0.MacAddress}}", "anna"); mac != eth0.MAC {
		t.Errorf("eth0 has MAC %s, Docker says %s", eth0.MAC, mac)
	}
	host := hostEnd(t, w, a, "eth0")
	if br := mustLink(t, w.Host, "mybr0"); host.Master != br.Index || !host.Up {
		t.Errorf("the host's end %+v, want it up and a port of mybr0 (%d)", host, br.Index)
	}
	// Forwarding is 3, BR_STATE_FORWARDING of linux/if_bridge.h.
	if state := w.Host.Run("cat", "/sys/class/net/"+host.Name+"/brport/state"); state != "3" {
		t.Errorf("the host's end is in bridge state %s, want 3", state)
	}
	linkLocal(t, a)
}

func seedRoutes(t *testing.T, w *world.World) {
	article(w)
	a := w.Idle("anna", "--net", "n0")
	want := []report.Route{
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.18.0.1"), Dev: "eth0"},
		{Dst: netip.MustParsePrefix("172.18.0.0/16"), Dev: "eth0", Src: netip.MustParseAddr("172.18.0.2")},
	}
	if got := a.Routes(); !slices.Equal(got, want) {
		t.Errorf("routes %v, want %v", got, want)
	}
}

func seedGatewayPing(t *testing.T, w *world.World) {
	article(w)
	a := w.Idle("anna", "--net", "n0")
	answered(t, "container pings gateway", a.Ping("172.18.0.1"))
	answered(t, "host pings container", w.Host.Ping("172.18.0.2"))
}

// eachBridgeNF runs a test with and without iptables being asked about frames between
// ports of a bridge, after making sure of the DROP policy that Docker sets.
func eachBridgeNF(t *testing.T, w *world.World, test func(t *testing.T)) {
	t.Helper()
	if policy := rules(w); !slices.Contains(policy, ":FORWARD DROP") {
		t.Fatalf("rules %q, want policy DROP in FORWARD", policy)
	}
	for _, value := range []string{"1", "0"} {
		t.Run("bridge-nf-call-iptables="+value, func(t *testing.T) {
			w.During(t)
			w.Host.Sysctl("net/bridge/bridge-nf-call-iptables", value)
			test(t)
		})
	}
}

func seedForward(t *testing.T, w *world.World) {
	article(w)
	a := w.Serve("anna", []string{"--net", "n0"}, "tcp:80", "udp:80")
	b := w.Serve("ben", []string{"--net", "n0"}, "tcp:80", "udp:80")
	eachBridgeNF(t, w, func(t *testing.T) {
		pingBoth(t, a, b)
		for _, network := range []string{"tcp", "udp"} {
			seenAs(t, network+" from a to b", a.Get(network, "172.18.0.3:80"), "172.18.0.2")
			seenAs(t, network+" from b to a", b.Get(network, "172.18.0.2:80"), "172.18.0.3")
		}
	})
}

func seedARP(t *testing.T, w *world.World) {
	article(w)
	a, b := w.Idle("anna", "--net", "n0"), w.Idle("ben", "--net", "n0")
	eachBridgeNF(t, w, func(t *testing.T) {
		pingBoth(t, a, b)
		addr, mac := ipv4(t, b, "eth0"), mustLink(t, b, "eth0").MAC
		resolved := slices.ContainsFunc(a.Neighs(), func(n report.Neigh) bool {
			return n.Addr.String() == addr && n.MAC == mac && n.Dev == "eth0"
		})
		if !resolved {
			t.Errorf("a's neighbours %v, want %s at %s", a.Neighs(), addr, mac)
		}
	})
}

func seedMasquerade(t *testing.T, w *world.World) {
	article(w)
	a := w.Idle("anna", "--net", "n0")
	w.Serve("ben", []string{"--net", "n0"}, "tcp:80", "udp:80")
	wire := w.LAN.Sniff("eth0")
	answered(t, "container pings the outside", a.Ping(world.LANAddr))
	wire.Want("echo request from the host's address", func(p report.Packet) bool {
		return p.Proto == "icmp" && p.Type == 8 && p.Src.String() == world.HostAddr && p.TTL == 63
	})
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	for _, network := range []string{"tcp", "udp"} {
		seenAs(t, network+" to the outside", a.Get(network, world.LANAddr+":7000"), world.HostAddr)
		seenAs(t, network+" to a container of the network", a.Get(network, "172.18.0.3:80"), "172.18.0.2")
	}
	for _, p := range wire.Packets() {
		if strings.HasPrefix(p.Src.String(), "172.18.") {
			t.Errorf("on the LAN's wire: %+v, a container's own address", p)
		}
	}
}

func seedAllPairs(t *testing.T, w *world.World) {
	article(w)
	var all []*world.Place
	for i := range 4 {
		all = append(all, w.Serve(fmt.Sprintf("c%d", i), []string{"--net", "n0"}, "tcp:80", "udp:80"))
	}
	var calls []func()
	for _, from := range all {
		for _, to := range all {
			addr, mine := ipv4(t, to, "eth0"), ipv4(t, from, "eth0")
			what := from.Name + " to " + to.Name
			calls = append(calls, func() {
				answered(t, "ping from "+what, from.Ping(addr))
				seenAs(t, "tcp from "+what, from.Get("tcp", addr+":80"), mine)
				seenAs(t, "udp from "+what, from.Get("udp", addr+":80"), mine)
			})
		}
	}
	together(calls...)
}
