package nftables

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// Published ports of a network are reached from the network itself, be it by the
// container that publishes them, whether bridged frames pass iptables or not, whatever
// the kernel checks of source addresses, and with every kind of source translation.
func TestHairpin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*firewall.Network)
		seen   string
	}{
		"masquerade": {nil, "172.18.0.1"},
		"plain":      {func(n *firewall.Network) { n.V4.Masquerade = false }, "172.18.0.1"},
		"snat":       {func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr(lanHost) }, lanHost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
				w := newWorld(t, h, k)
				w.apply(w.policy(c.change))
				for _, port := range []string{"va", "vb"} {
					h.Run("ip", "link", "set", port, "type", "bridge_slave", "hairpin", "on")
				}
				filters := []string{"0", "1", "2"}
				if k.Family == model.IPv6 {
					filters = filters[:1] // IPv6 has no rp_filter
				}
				for _, call := range []string{"0", "1"} {
					h.Sysctl("net/bridge/bridge-nf-call-"+k.command(), call)
					for _, filter := range filters {
						for _, conf := range []string{"all", "default", "br0", "br1", "eth0"} {
							h.Sysctl("net/ipv4/conf/"+conf+"/rp_filter", filter)
						}
						w.expect(fmt.Sprintf(`
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
							a tcp c:80 -> nothing`, c.seen))
						if t.Failed() {
							t.Fatalf("bridge-nf-call-iptables %s, rp_filter %s", call, filter)
						}
					}
				}
			})
		})
	}
}

// Without masquerading containers are seen by their own address, replies come back,
// and still nobody gets in by it. With a fixed address that one is seen.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		// IPv6 knows no first address: one that is deprecated is not chosen.
		h.Run("ip", "address", "add", k.in("192.0.2.77/24"), "dev", "eth0", "preferred_lft", "0")
		w.apply(w.policy(func(n *firewall.Network) { n.V4.Masquerade = false }))
		w.expect(`
			a tcp lan:80 -> lan a
			a udp lan:80 -> lan a
			a tcp 192.0.2.1:8180 -> c a
			c tcp lan:80 -> lan 192.0.2.1
			lan tcp a:80 -> nothing
			c tcp a:80 -> nothing`)
		w.apply(w.policy(func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.77") }))
		w.expect(`
			a tcp lan:80 -> lan 192.0.2.77
			c tcp lan:80 -> lan 192.0.2.1
			lan tcp 192.0.2.77:8080 -> a lan
			lan tcp a:80 -> nothing`)
	})
}

// Ranges: equal ones, shifted ones, of both ends, and one address of the host alone.
func TestRanges(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		h.Address("eth0", k.in("192.0.2.77/24"))
		p := w.policy(nil)
		br0 := p.Networks[0]
		p = firewall.Policy{Networks: p.Networks, Ports: []firewall.Port{
			binding(br0, "tcp 0.0.0.0:80 172.18.0.2:80", 10),
			binding(br0, "tcp 0.0.0.0:9000 172.18.0.3:80", 10),
			binding(br0, "udp 0.0.0.0:9000 172.18.0.3:80", 2),
			binding(br0, "tcp 192.0.2.77:7000 172.18.0.2:85", 1),
		}}
		w.apply(dual(p))
		for i := range 10 {
			for first, server := range map[int]string{80: "a", 9000: "b"} {
				if got := w.port(server, "lan", fmt.Sprintf("192.0.2.1:%d", first+i)); got != 80+i {
					t.Errorf("port %d leads to %s port %d", first+i, server, got)
				}
			}
		}
		w.expect(`
			lan udp 192.0.2.1:9000 -> b lan
			lan udp 192.0.2.1:9001 -> b lan
			a tcp 192.0.2.1:9009 -> b 172.18.0.1
			c tcp 192.0.2.1:89 -> a
			lan tcp 192.0.2.77:7000 -> a lan
			lan tcp 192.0.2.1:7000 -> nothing
			lan tcp 192.0.2.1:9010 -> nothing
			lan tcp 192.0.2.1:90 -> nothing`)
	})
}

// port connects from a host to an address and returns the port of the container that
// took the connection, as the container's own namespace shows it.
func (w *world) port(server, from, address string) int {
	w.t.Helper()
	c, err := w.hosts[from].Dial(w.net("tcp"), w.k.in(address), 5*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
		w.t.Fatal(err)
	}
	peer := c.LocalAddr().(*net.TCPAddr)
	out := w.hosts[server].Run("ss", "-Htn", "state", "established", "dport", fmt.Sprintf(":%d", peer.Port))
	f := strings.Fields(out)
	if len(f) < 3 {
		w.t.Fatalf("%s has no connection from %s: %q", server, peer, out)
	}
	ap, err := netip.ParseAddrPort(f[2])
	if err != nil {
		w.t.Fatal(err)
	}
	return int(ap.Port())
}
