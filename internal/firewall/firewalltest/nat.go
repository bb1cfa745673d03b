package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// sources are scenarios of published ports, and of what address packets come from.
func sources() []scenario {
	return []scenario{
		{"hairpin masquerade", hairpin(nil, "172.18.0.1")},
		{"hairpin plain", hairpin(func(n *firewall.Network) { n.V4.Masquerade = false }, "172.18.0.1")},
		{"hairpin snat", hairpin(func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr(lanHost) }, lanHost)},
		{"source address", sourceAddress},
		{"ranges", ranges},
		{"count", count},
		{"invalid does not leave", invalidDoesNotLeave},
	}
}

// Published ports of a network are reached from the network itself, be it by the
// container that publishes them, whether bridged frames pass iptables or not, whatever
// the kernel checks of source addresses, and with every kind of source translation.
func hairpin(change func(*firewall.Network), seen string) func(*World) {
	return func(w *World) {
		w.Apply(w.Policy(change))
		for _, port := range []string{"va", "vb"} {
			w.Host.Run("ip", "link", "set", port, "type", "bridge_slave", "hairpin", "on")
		}
		filters := []string{"0", "1", "2"}
		if w.Stand.IP == model.IPv6 {
			filters = filters[:1] // IPv6 has no rp_filter
		}
		for _, call := range []string{"0", "1"} {
			w.Host.Sysctl("net/bridge/bridge-nf-call-"+w.Stand.command(), call)
			for _, filter := range filters {
				for _, conf := range []string{"all", "default", "br0", "br1", "eth0"} {
					w.Host.Sysctl("net/ipv4/conf/"+conf+"/rp_filter", filter)
				}
				w.Expect(fmt.Sprintf(`
					a tcp 192.0.2.1:8080 -> a %[1]s
					a udp 192.0.2.1:8080 -> a %[1]s
					a tcp 172.18.0.1:8080 -> a %[1]s
					b tcp 192.0.2.1:8080 -> a %[1]s
					b udp 192.0.2.1:8080 -> a %[1]s
					a tcp 192.0.2.1:8090 -> b %[1]s
					a tcp b:80 -> b a
					c tcp 192.0.2.1:8080 -> a
					a tcp 192.0.2.1:8180 -> c
					lan tcp 192.0.2.1:8080 -> a lan
					host tcp 192.0.2.1:8080 -> a 192.0.2.1
					a tcp lan:80 -> lan
					lan tcp b:80 -> nothing
					a tcp c:80 -> nothing`, seen))
				if w.T.Failed() {
					w.T.Fatalf("bridge-nf-call-iptables %s, rp_filter %s", call, filter)
				}
			}
		}
	}
}

// Without masquerading containers are seen by their own address, replies come back,
// and still nobody gets in by it. With a fixed address that one is seen.
func sourceAddress(w *World) {
	// IPv6 knows no first address: one that is deprecated is not chosen.
	w.Host.Run("ip", "address", "add", w.Stand.In("192.0.2.77/24"), "dev", "eth0", "preferred_lft", "0")
	w.Apply(w.Policy(func(n *firewall.Network) { n.V4.Masquerade = false }))
	w.Expect(`
		a tcp lan:80 -> lan a
		a udp lan:80 -> lan a
		a tcp 192.0.2.1:8180 -> c a
		c tcp lan:80 -> lan 192.0.2.1
		lan tcp a:80 -> nothing
		c tcp a:80 -> nothing`)
	w.Apply(w.Policy(func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.77") }))
	w.Expect(`
		a tcp lan:80 -> lan 192.0.2.77
		c tcp lan:80 -> lan 192.0.2.1
		lan tcp 192.0.2.77:8080 -> a lan
		lan tcp a:80 -> nothing`)
}

// Ranges: equal ones, shifted ones, of both ends, and one address of the host alone.
func ranges(w *World) {
	w.Host.Address("eth0", w.Stand.In("192.0.2.77/24"))
	p := w.Policy(nil)
	br0 := p.Networks[0]
	p = firewall.Policy{Networks: p.Networks, Ports: []firewall.Port{
		Port(br0, "tcp 0.0.0.0:80 172.18.0.2:80", 10),
		Port(br0, "tcp 0.0.0.0:9000 172.18.0.3:80", 10),
		Port(br0, "udp 0.0.0.0:9000 172.18.0.3:80", 2),
		Port(br0, "tcp 192.0.2.77:7000 172.18.0.2:85", 1),
	}}
	w.Apply(Dual(p))
	for i := range 10 {
		for first, server := range map[int]string{80: "a", 9000: "b"} {
			if got := w.port(server, "lan", fmt.Sprintf("192.0.2.1:%d", first+i)); got != 80+i {
				w.T.Errorf("port %d leads to %s port %d", first+i, server, got)
			}
		}
	}
	w.Expect(`
		lan udp 192.0.2.1:9000 -> b lan
		lan udp 192.0.2.1:9001 -> b lan
		a tcp 192.0.2.1:9009 -> b 172.18.0.1
		c tcp 192.0.2.1:89 -> a
		lan tcp 192.0.2.77:7000 -> a lan
		lan tcp 192.0.2.1:7000 -> nothing
		lan tcp 192.0.2.1:9010 -> nothing
		lan tcp 192.0.2.1:90 -> nothing`)
}

// port connects from a host to an address and returns the port of the container that
// took the connection, as the container's own namespace shows it.
func (w *World) port(server, from, address string) int {
	w.T.Helper()
	c, err := w.Hosts[from].Dial(w.Net("tcp"), w.Stand.In(address), 5*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	defer c.Close()
	if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
		w.T.Fatal(err)
	}
	peer := c.LocalAddr().(*net.TCPAddr)
	out := w.Hosts[server].Run("ss", "-Htn", "state", "established", "dport", fmt.Sprintf(":%d", peer.Port))
	f := strings.Fields(out)
	if len(f) < 3 {
		w.T.Fatalf("%s has no connection from %s: %q", server, peer, out)
	}
	ap, err := netip.ParseAddrPort(f[2])
	if err != nil {
		w.T.Fatal(err)
	}
	return int(ap.Port())
}

// A port counts the connections that its rule has translated, and nothing else; a port that
// has no rule is not counted.
func count(w *World) {
	p := w.Policy(nil)
	counts := func() map[model.PortBinding]firewall.Counter {
		w.T.Helper()
		counted, err := w.Backend.Count(w.T.Context(), p.Ports)
		if err != nil {
			w.T.Fatal(err)
		}
		return counted
	}
	if have := counts(); len(have) > 0 {
		w.T.Errorf("without rules: %v", have)
	}
	w.Apply(p)
	w.Expect("lan tcp 192.0.2.1:8080 -> a lan\n host tcp 192.0.2.1:8080 -> a *\n lan udp 192.0.2.1:8080 -> a lan\n lan tcp 192.0.2.1:8180 -> c lan")
	have := counts()
	for _, port := range p.Ports {
		want := uint64(0)
		if w.Stand.IP.Has(port.Container.Addr()) {
			want = map[string]uint64{"tcp 8080": 2, "udp 8080": 1, "tcp 8180": 1}[port.Proto.String()+" "+fmt.Sprint(port.Host.Port())]
		}
		if c, ok := have[port.PortBinding]; !ok || c.Connections != want {
			w.T.Errorf("%s: %d (%v), want %d", port.PortBinding, c.Connections, ok, want)
		}
	}
	stranger := p.Ports[0]
	stranger.Host = p.Ports[2].Host
	if c, err := w.Backend.Count(w.T.Context(), []firewall.Port{stranger}); err != nil || len(c) > 0 {
		w.T.Errorf("a port without a rule: %v %v", c, err)
	}
}
