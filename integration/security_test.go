package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestSecurity attacks. An attacker in a container has all rights over its own network
// namespace.
func TestSecurity(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	// What comes from addresses of others is dropped at the port otherwise, and rules behind it are
	// to hold by themselves.
	anySender := world.Config{MybrArgs: []string{"--spoof", "allow"}}
	for _, test := range []struct {
		name   string
		attack func(*testing.T, *world.World)
		cfg    world.Config
	}{
		{name: "forged_packets", attack: attackForged, cfg: anySender},
		{name: "flows_of_a_removed_container", attack: attackStale, cfg: nft},
		{name: "begun_before_the_port_was_there", attack: attackEarly},
		{name: "IPv6_out_of_an_internal_network", attack: attackLinkLocal, cfg: anySender},
		{name: "translated_by_others", attack: attackForeign, cfg: nft},
	} {
		t.Run(test.name, func(t *testing.T) {
			if world.Driver() != "mybr" {
				t.Skip("Docker's own driver lets most of it pass")
			}
			t.Parallel()
			test.attack(t, world.New(t, test.cfg))
		})
	}
}

// last marks the end of what is looked at: a packet that is let through.
const last = 9999

// until lets a last packet through, waits for it, and gives all that were seen.
func until(w *world.World, wire *world.Sniffer, from, to string) []report.Packet {
	w.Host.Run("guest", "send", "-src", from, "-sport", fmt.Sprint(last), "-dport", "9", to)
	wire.Want("last packet", func(p report.Packet) bool { return p.SrcPort == last })
	return wire.Packets()
}

// attackStale: a container has connections with a LAN host and is removed; another gets its
// address. What the kernel knows of the connections must not lead to the new container,
// which has published nothing and sent nothing.
func attackStale(t *testing.T, w *world.World) {
	article(w)
	server := w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	first := w.Serve("first", []string{"--net", "n0", "--ip", "172.18.0.2", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	stream := w.LAN.Start("guest", "stream", "-source-port", "5555", world.HostAddr+":8088")
	answered(t, "UDP to a published port", w.LAN.Get("udp", world.HostAddr+":8088", "--source-port=5556"))
	answered(t, "UDP from port 82", first.Get("udp", world.LANAddr+":7000", "--source-port=82"))
	first.Run("guest", "send", "-src", "172.18.0.2", "-proto", "tcp", "-sport", "83", "-dport", "7001", world.LANAddr)
	// The LAN host sends no packet that ends the connection.
	w.LAN.Run("iptables", "-A", "OUTPUT", "-p", "tcp", "-j", "DROP")
	stream.Stop()
	server.Stop()
	w.Docker("rm", "-f", "first")
	w.LAN.Run("iptables", "-F", "OUTPUT")

	second := w.Idle("second", "--net", "n0", "--ip", "172.18.0.2")
	wire := second.Sniff("eth0")
	attacks := map[uint16]string{
		80: "a TCP or UDP flow to a port that was published",
		82: "an answer to a UDP flow of the first's",
		83: "the other end of a TCP connection that the first began",
	}
	for _, flags := range []string{
		"-proto tcp -sport 5555 -dport 8088",
		"-proto tcp -sport 5555 -dport 8088 -flags A",
		"-proto udp -sport 5556 -dport 8088",
		"-proto udp -sport 7000 -dport 82",
		"-proto tcp -sport 7001 -dport 83",
	} {
		w.LAN.Run(append([]string{"guest", "send", "-src", world.LANAddr}, append(strings.Fields(flags), world.HostAddr)...)...)
	}
	for _, p := range until(w, wire, "172.18.0.1", "172.18.0.2") {
		if p.Src.String() == world.LANAddr {
			t.Errorf("%s has reached the second: %+v", attacks[p.DstPort], p)
		}
	}
}

// attackEarly: clients ask while a port is being published. What they began before the
// rules were there must not go past them: the internal network's spy would get out, and
// the LAN's client be seen with another address.
func attackEarly(t *testing.T, w *world.World) {
	article(w)
	w.Network("shut", "--subnet", "172.20.0.0/16", "--internal")
	spy := w.Idle("spy", "--net", "shut")
	ask := func(from *world.Place, addr string, port int, within string) (o world.Outcome) {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			o = from.Get("tcp", addr+":8088", fmt.Sprintf("--source-port=%d", port), "--timeout="+within)
			if o.Code == report.Answered || o.Code == report.TimedOut {
				return o
			}
		}
		return o
	}
	calls := []func(){
		func() {
			w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
		},
		// UDP's flow has no end while the client keeps sending, before the port is there and behind that.
		func() {
			get := func() world.Outcome {
				return w.LAN.Get("udp", world.HostAddr+":8088", "--source-port=6100", "--timeout=50ms")
			}
			o := get()
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end) && o.Code != report.Answered; {
				o = get()
			}
			seenAs(t, "from the LAN by UDP", o, world.LANAddr)
		},
	}
	for port := 6000; port < 6003; port++ {
		calls = append(calls,
			func() { unanswered(t, "out of an internal network", ask(spy, "172.20.0.1", port, "2500ms")) }, // with one more SYN
			// An engine of before 28.0 publishes before the container's interface is there, so
			// that the LAN's client may need several.
			func() { seenAs(t, "from the LAN", ask(w.LAN, world.HostAddr, port, "15s"), world.LANAddr) })
	}
	together(calls...)
}

// attackOrder: whatever other programs do to the rules, and in whatever order they start, networks stay
// apart, in both directions, and published ports stay open.
func attackOrder(t *testing.T, w *world.World) {
	all := build(t, w)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"FORWARD accepts what nobody has spoken of", func() { w.Host.Run("iptables", "-P", "FORWARD", "ACCEPT") }},
		{"FORWARD drops it", func() { w.Host.Run("iptables", "-P", "FORWARD", "DROP") }},
		{"Docker makes another network", func() {
			w.Docker("network", "create", "-d", "bridge", "--subnet", "172.31.0.0/16", "later")
			all = append(all, city{net: "later", place: w.Serve("in-later", []string{"--net", "later", "-p", "8005:80"}, "tcp:80"), addr: "172.31.0.2", port: "8005"})
		}},
		{"dockerd starts again", w.RestartDocker},
		{"FORWARD accepts, after that", func() { w.Host.Run("iptables", "-P", "FORWARD", "ACCEPT") }},
		{"FORWARD is flushed, mybr starts again", func() { w.Host.Run("iptables", "-F", "FORWARD"); restart(w) }},
		{"after that Docker makes another network", func() { w.Docker("network", "create", "-d", "bridge", "latest") }},
		{"DOCKER-USER is flushed, mybr starts again", func() { w.Host.Run("iptables", "-F", "DOCKER-USER"); restart(w) }},
		{"mybr's chains are emptied, mybr starts again", func() {
			for _, chain := range []string{"MYBR-FORWARD", "MYBR-ISOLATE"} {
				w.Host.Run("iptables", "-F", chain)
			}
			if w.Backend() == world.NFTables {
				w.Host.Run("nft", "flush", "chain", "ip", "mybr", "forward")
			}
			restart(w)
		}},
	} {
		step.do()
		apart(t, w, step.name, all)
		for _, to := range all[:2] {
			seenAs(t, step.name+": published in "+to.net, w.LAN.Get("tcp", world.HostAddr+":"+to.port), world.LANAddr)
		}
	}
}

// restart starts mybr again and waits until it has looked at everything, as requests do.
func restart(w *world.World) {
	w.RestartMybr()
	looked(w)
}

// looked waits until mybr has looked at everything since it started.
func looked(w *world.World) {
	w.Network("tick")
	w.Docker("network", "rm", "tick")
}

// apart sends packets between all containers of different networks, one of which is the
// tested driver's.
func apart(t *testing.T, w *world.World, when string, all []city) {
	t.Helper()
	for i, to := range all {
		wire := to.place.Sniff("eth0")
		for j, from := range all {
			if i == j || i > 1 && j > 1 { // the first two are the tested driver's
				continue
			}
			send := strings.ReplaceAll("send -proto tcp TO , -proto tcp -flags A TO , -proto udp TO , -proto icmp -dport 8 TO", "TO", "-src "+from.addr+" "+to.addr)
			from.place.Run(append([]string{"guest"}, strings.Fields(send)...)...)
		}
		gateway := netip.MustParseAddr(to.addr).Prev().String()
		for _, p := range until(w, wire, gateway, to.addr) {
			if p.Proto != "arp" && p.Src.Is4() && p.Src.String() != to.addr && p.SrcPort != last && p.Dst.String() == to.addr && p.Src.String() != gateway {
				t.Errorf("%s: in %s has come %+v", when, to.net, p)
			}
		}
		wire.Stop()
	}
}

// attackLinkLocal: a container of an internal network gives itself IPv6, which nobody
// asked mybr to filter, and looks for a way out.
func attackLinkLocal(t *testing.T, w *world.World) {
	article(w)
	w.Network("shut", "--subnet", "172.20.0.0/16", "--internal", "-o", bridgeName+"mybr1")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	honest, spy := w.Idle("honest", "--net", "n0"), w.Idle("spy", "--net", "shut")
	linkLocal(t, honest)
	linkLocal(t, spy)
	bridge := func(name string) string {
		for _, a := range mustLink(t, w.Host, name).Addrs {
			if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
				return a.Addr().String()
			}
		}
		return "fe80::1"
	}
	for _, network := range []string{"tcp", "udp"} {
		answered(t, network+" from a network with a way out", honest.Get(network, "["+bridge("mybr0")+"%eth0]:8088"))
		unanswered(t, network+" from an internal network to a port published elsewhere", spy.Get(network, "["+bridge("mybr1")+"%eth0]:8088", soon))
		unanswered(t, network+" by IPv4", spy.Get(network, "172.20.0.1:8088", soon))
	}
	// The host routes IPv6 for reasons of its own.
	w.Host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	for addr, p := range map[string]*world.Place{"fd00::2/64": w.Host, "fd00::9/64": w.LAN, "fd00:1::2/64": spy} {
		p.Run("ip", "addr", "add", addr, "dev", "eth0", "nodad")
	}
	spy.Run("ip", "route", "add", "default", "via", bridge("mybr1"), "dev", "eth0")
	wire := w.LAN.Sniff("eth0")
	spy.Try("guest", "ping", soon, "fd00::9")
	for _, p := range until(w, wire, world.HostAddr, world.LANAddr) {
		if p.Src.String() == "fd00:1::2" {
			t.Errorf("out of an internal network came %+v", p)
		}
	}
}

// attackForeign: another program, as kube-proxy does, translates an address of its own to a
// container. That opens this container's port alone.
func attackForeign(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Network("shut", "--subnet", "172.20.0.0/16", "--internal")
	w.Serve("web", []string{"--net", "n0", "--ip", "172.18.0.2"}, "tcp:80", "tcp:81")
	w.Serve("db", []string{"--net", "shut", "--ip", "172.20.0.2"}, "tcp:80")
	other, spy := w.Idle("other", "--net", "n1"), w.Idle("spy", "--net", "shut")
	spy.Run("ip", "route", "replace", "default", "via", "172.20.0.1")
	for service, to := range map[string]string{"10.96.0.1": "172.18.0.2:80", "10.96.0.2": "172.20.0.2:80"} {
		w.Host.Run("iptables", "-t", "nat", "-I", "PREROUTING", "-d", service, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", to)
	}
	routeTo(t, w.LAN, "10.96.0.0/16")
	answered(t, "the port that is led to", other.Get("tcp", "10.96.0.1:80"))
	unanswered(t, "a port beside it", other.Get("tcp", "10.96.0.1:81", soon))
	unanswered(t, "the container itself", other.Get("tcp", "172.18.0.2:80", soon))
	unanswered(t, "out of an internal network", spy.Get("tcp", "10.96.0.1:80", soon))
	unanswered(t, "into an internal network, from another", other.Get("tcp", "10.96.0.2:80", soon))
	unanswered(t, "into an internal network, from the LAN", w.LAN.Get("tcp", "10.96.0.2:80", soon))
}
