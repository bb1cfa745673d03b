package integration

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// forgeries are packets that may reach only a neighbour on the same network.
// Words in capitals are replaced: VICTIM, GATEWAY (of the victim's network), NEIGHBOUR
// (a container on it).
var forgeries = []struct{ name, flags string }{
	{"TCP SYN to a port that is published", "-proto tcp -dport 80"},
	{"TCP SYN to a port that isn't", "-proto tcp -dport 81"},
	{"TCP ACK out of the blue", "-proto tcp -flags A"},
	{"TCP SYN+ACK out of the blue", "-proto tcp -flags SA"},
	{"TCP RST", "-proto tcp -flags R"},
	{"TCP FIN", "-proto tcp -flags F"},
	{"TCP without flags", "-proto tcp -flags="},
	{"TCP with all flags", "-proto tcp -flags FSRPAU"},
	{"TCP SYN+FIN", "-proto tcp -flags SF"},
	{"UDP to a port that is published", "-proto udp -dport 80"},
	{"UDP, as if from a name server", "-proto udp -sport 53 -dport 40001"},
	{"ICMP echo request", "-proto icmp -dport 8"},
	{"ICMP echo reply without a request", "-proto icmp -dport 0"},
	{"ICMP unreachable about nothing", "-proto icmp -dport 3"},
	{"ICMP redirect", "-proto icmp -dport 5"},
	{"SCTP INIT", "-proto sctp"},
	{"IP in IP", "-proto 4"},
	{"IPv6 in IP", "-proto 41"},
	{"GRE", "-proto 47"},
	{"ESP", "-proto 50"},
	{"VRRP", "-proto 112"},
	{"a protocol that nobody knows", "-proto 253"},
	{"a first fragment", "-proto udp -more"},
	{"its second fragment", "-proto udp -fragment 3"},
	{"a second fragment of nothing", "-proto tcp -fragment 8"},
	{"with a record route option", "-proto udp -options 0707040000000000"},
	{"from a neighbour of the victim's", "-src NEIGHBOUR -proto udp"},
	{"TCP from a neighbour of the victim's", "-src NEIGHBOUR -proto tcp"},
	{"from the victim itself", "-src VICTIM -proto udp"},
	{"from the victim's gateway", "-src GATEWAY -proto udp"},
	{"from the host", "-src " + world.HostAddr + " -proto udp"},
	{"from the host's loopback", "-src 127.0.0.1 -proto udp"},
	{"from a multicast group", "-src 224.0.0.1 -proto udp"},
	{"from everybody", "-src 255.255.255.255 -proto udp"},
}

// attackForged sends every forgery from everywhere to containers that must not be
// reached from there.
func attackForged(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Network("shut", "--subnet", "172.20.0.0/16", "--internal")
	w.Network("apart", "--subnet", "172.21.0.0/16", "-o", "com.docker.network.bridge.enable_icc=false")
	w.Docker("network", "create", "-d", "bridge", "--subnet", "172.30.0.0/16", "theirs")
	run := map[string]*world.Place{world.LANAddr: w.LAN}
	for _, c := range [][]string{{"n0", "172.18.0.2", "-p", "8088:80", "-p", "8088:80/udp"}, {"n0", "172.18.0.3"}, {"n1", "172.19.0.2"}, {"shut", "172.20.0.2"}, {"shut", "172.20.0.3"}, {"apart", "172.21.0.2", "-p", "8089:80"}, {"apart", "172.21.0.3"}, {"theirs", "172.30.0.2"}} {
		run[c[1]] = w.Serve(c[1], append([]string{"--net", c[0], "--ip", c[1]}, c[2:]...), "tcp:80", "udp:80")
	}
	for _, subnet := range []string{"172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16", "172.21.0.0/16", "172.30.0.0/16"} {
		routeTo(t, w.LAN, subnet)
	}
	run["172.20.0.3"].Run("ip", "route", "replace", "default", "via", "172.20.0.1")

	if got := forge(t, w, run, "172.18.0.3", "172.18.0.2"); len(got) < len(forgeries)*2/3 {
		t.Errorf("a neighbour on the same network gets through only with %d packets of %d: the rest of this test says nothing", len(got), len(forgeries))
	}
	for _, victim := range []struct{ addr, from string }{
		{"172.18.0.2", "192.0.2.9 172.19.0.2 172.20.0.3 172.21.0.3 172.30.0.2"},
		{"172.19.0.2", "192.0.2.9 172.18.0.3 172.20.0.3 172.30.0.2"},
		{"172.20.0.2", "192.0.2.9 172.18.0.3 172.21.0.3 172.30.0.2"},
		{"172.21.0.2", "192.0.2.9 172.18.0.3 172.20.0.3 172.21.0.3 172.30.0.2"},
		{"172.30.0.2", "172.18.0.3 172.20.0.3 172.21.0.3"},
		{world.LANAddr, "172.20.0.3"},
	} {
		for _, from := range strings.Fields(victim.from) {
			for _, p := range forge(t, w, run, from, victim.addr) {
				t.Errorf("from %s to %s came %+v", from, victim.addr, p)
			}
		}
	}
	// By way of the host, not of the bridge.
	run["172.21.0.3"].Run("ip", "route", "add", "172.21.0.2/32", "via", "172.21.0.1")
	for _, p := range forge(t, w, run, "172.21.0.3", "172.21.0.2") {
		t.Errorf("to a neighbour kept apart, by way of the host, came %+v", p)
	}
}

// forge sends all forgeries and gives those that arrived.
func forge(t *testing.T, w *world.World, run map[string]*world.Place, from, to string) (arrived []report.Packet) {
	t.Helper()
	victim := netip.MustParseAddr(to)
	b := victim.As4()
	at := func(last byte) string { return netip.AddrFrom4([4]byte{b[0], b[1], b[2], last}).String() }
	gateway := at(1)
	if to == world.LANAddr {
		gateway = world.HostAddr
	}
	wire := run[to].Sniff("eth0")
	defer wire.Stop()
	fill := strings.NewReplacer("VICTIM", to, "NEIGHBOUR", at(99), "GATEWAY", gateway)
	argv := []string{"guest", "send"}
	for _, f := range forgeries {
		argv = append(argv, "-src", from)
		argv = append(argv, strings.Fields(fill.Replace(f.flags))...)
		argv = append(argv, to, ",")
	}
	if sent, _ := strconv.Atoi(run[from].Run(argv...)); sent < len(forgeries)*2/3 {
		t.Errorf("from %s to %s only %d packets of %d leave", from, to, sent, len(forgeries))
	}
	for _, p := range until(w, wire, gateway, to) {
		if p.Proto != "arp" && p.Src.Is4() && p.Src != victim && p.SrcPort != last {
			arrived = append(arrived, p)
		}
	}
	return arrived
}
