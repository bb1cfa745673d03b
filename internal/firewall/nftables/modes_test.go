package nftables

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// eachDocker runs a test in a world with layouts of Docker's chains, in each family. What
// mybr has in iptables is the same with all of them but for Docker's own list of its bridges,
// which the last has not.
func eachDocker(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	for layout, variant := range map[string]string{"20.10": "legacy", "28.5": "nft", "29, no DOCKER-USER": "nft"} {
		for _, fam := range []family{ipv4(), ipv6()} {
			t.Run(layout+" "+fam.String(), func(t *testing.T) {
				t.Parallel()
				h := nettest.New(t)
				w := newWorld(t, h, kindOf(t, variant, fam))
				w.k.dockers()[layout](h)
				test(t, w)
			})
		}
	}
}

// mode is the world's policy with br0 in a mode, and what is open in it.
func (w *world) mode(direct firewall.Direct, openings ...firewall.Opening) firewall.Policy {
	p := w.policy(func(n *firewall.Network) {
		if n.V4.Direct = direct; direct == firewall.DirectRouted {
			n.V4.Masquerade, n.V4.Hairpin = false, false
		}
	})
	if direct == firewall.DirectRouted {
		p.Ports = slices.DeleteFunc(p.Ports, func(port firewall.Port) bool { return port.Bridge == "br0" })
	}
	p.Openings = dual(firewall.Policy{Openings: openings}).Openings
	return p
}

// pings checks who can be pinged, as "lan a, lan b".
func (w *world) pings(want bool, paths string) {
	w.t.Helper()
	for _, path := range strings.Split(paths, ", ") {
		from, to, _ := strings.Cut(path, " ")
		timeout := 300 * time.Millisecond
		if want {
			timeout = 5 * time.Second
		}
		if got := w.ping(from, to, timeout); got != want {
			w.t.Errorf("ping from %s to %s: %t", from, to, got)
		}
	}
}

// ping sends one echo request and reports whether it is answered in time (RFC 792, RFC
// 4443). The kernel adds the checksum for IPv6.
func (w *world) ping(from, to string, timeout time.Duration) bool {
	w.t.Helper()
	network, request, answer := "ip4:icmp", []byte{8, 0, 0, 0, 0, 7, 0, 1}, byte(0)
	if binary.BigEndian.PutUint16(request[2:], ^uint16(8<<8+7+1)); w.k.Family == model.IPv6 {
		network, request, answer = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 7, 0, 1}, 129
	}
	c := w.hosts[from].ListenPacket(network, w.k.in("0.0.0.0"))
	defer c.Close()
	peer := &net.IPAddr{IP: net.ParseIP(w.k.in(addresses[to]))}
	if _, err := c.WriteTo(request, peer); err != nil {
		w.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	for got := make([]byte, 1500); ; {
		n, by, err := c.ReadFrom(got)
		if err != nil {
			return false
		}
		if n == len(request) && got[0] == answer && bytes.Equal(got[4:n], request[4:]) && by.String() == peer.String() {
			return true
		}
	}
}

// Every layout: apart from Docker's bridge in both directions, but for published ports.
func TestMeaningBesideEveryDocker(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		w.apply(w.policy(nil))
		w.expect(everyPath + dockerPaths)
		w.pings(false, "lan a, c a, d a, a c, a d, i lan, lan i")
		w.pings(true, "a lan, a b, host a")
	})
}

// A routed network: its open ports and ICMP are for everybody, other networks included,
// nothing else is, and it is seen by its own addresses.
func TestRouted(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		w.apply(w.mode(firewall.DirectRouted, opening("tcp 172.18.0.2", 80, 2, ""), opening("udp 172.18.0.2", 80, 1, "")))
		const routed = `
			lan tcp a:80 -> a lan
			lan tcp a:81 -> a lan
			lan udp a:80 -> a lan
			c tcp a:80 -> a 172.18.0.1
			d tcp a:80 -> a *
			a tcp lan:80 -> lan a
			a tcp b:80 -> b a
			host tcp b:80 -> b 172.18.0.1
			a tcp 192.0.2.1:8180 -> c *
			a tcp 192.0.2.1:8017 -> d *
			lan tcp a:82 -> nothing
			lan udp a:81 -> nothing
			lan tcp b:80 -> nothing
			c tcp a:82 -> nothing
			d tcp a:82 -> nothing
			a tcp c:80 -> nothing
			a tcp d:81 -> nothing
			i tcp a:80 -> nothing
			lan tcp c:80 -> nothing`
		w.expect(routed)
		w.pings(true, "lan a, lan b, c a, d a, a lan")
		w.pings(false, "lan c, a c, a d, i a")
		w.k.do(w.host, "-P FORWARD ACCEPT")
		w.expect(routed)
	})
}

// An unprotected network: everything may enter, but not from other bridge networks.
func TestUnprotected(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		w.apply(w.mode(firewall.DirectAll))
		const open = `
			lan tcp a:80 -> a lan
			lan udp a:81 -> a lan
			lan tcp b:85 -> b lan
			lan tcp 192.0.2.1:8080 -> a lan
			c tcp 192.0.2.1:8080 -> a *
			d tcp 192.0.2.1:8080 -> a *
			a tcp 192.0.2.1:8180 -> c *
			a tcp 192.0.2.1:8017 -> d *
			a tcp lan:80 -> lan 192.0.2.1
			c tcp a:80 -> nothing
			d tcp a:80 -> nothing
			i tcp a:80 -> nothing
			a tcp c:80 -> nothing
			lan tcp c:80 -> nothing`
		w.expect(open)
		w.pings(true, "lan a, lan b")
		w.pings(false, "c a, d a, i a")
		w.apply(w.policy(nil))
		w.expect("lan tcp a:80 -> nothing")
	})
}

// Without Docker's list, mybr's own networks are kept out of an unprotected one.
func TestUnprotectedWithoutDocker(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		w.apply(w.mode(firewall.DirectAll))
		w.expect("lan tcp a:80 -> a lan\n c tcp a:80 -> nothing\n i tcp a:80 -> nothing\n c tcp 192.0.2.1:8080 -> a")
	})
}

// What is open is so for the interface that it names, and openings come and go by
// differences, the first and the last of a network like any other.
func TestOpenings(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		none := w.mode(firewall.DirectOpenings)
		from := w.mode(firewall.DirectOpenings, opening("tcp 172.18.0.2", 80, 1, "eth0"), opening("tcp 172.18.0.2", 81, 1, "eth1"))
		apply(t, w.b, nil, none)
		w.expect("lan tcp a:80 -> nothing\n lan tcp 192.0.2.1:8080 -> a lan")
		apply(t, w.b, &none, from)
		w.expect(`
			lan tcp a:80 -> a lan
			lan tcp 192.0.2.1:8080 -> a lan
			a tcp lan:80 -> lan 192.0.2.1
			lan tcp a:81 -> nothing
			c tcp a:80 -> nothing
			d tcp a:80 -> nothing`)
		w.pings(false, "lan a")
		apply(t, w.b, &from, none)
		w.expect("lan tcp a:80 -> nothing\n lan tcp 192.0.2.1:8080 -> a lan")
	})
}

// What bears the mark passes, to and from an internal network too.
func TestMark(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		w.k.do(w.host, `
			-t mangle -A PREROUTING -p tcp --dport 82 -j MARK --set-mark 5
			-t mangle -A PREROUTING -p tcp --sport 82 -j MARK --set-mark 5`)
		w.apply(w.policy(nil))
		w.expect("lan tcp a:82 -> nothing\n lan tcp i:82 -> nothing\n a tcp lan:82 -> lan")
		p := w.policy(nil)
		p.Accept = firewall.Mark{Value: 1, Mask: 3}
		w.apply(p)
		w.expect(`
			lan tcp a:82 -> a lan
			lan tcp i:82 -> i lan
			c tcp a:82 -> a *
			d tcp a:82 -> a *
			lan tcp a:81 -> nothing
			lan tcp i:81 -> nothing
			c tcp a:81 -> nothing`)
		p.Accept = firewall.Mark{Value: 1, Mask: 7}
		w.apply(p)
		w.expect("lan tcp a:82 -> nothing\n lan tcp i:82 -> nothing")
	})
}

// In a family that a network hasn't, nothing passes, whatever addresses there are; the
// other family is as ever.
func TestFamilyOff(t *testing.T) {
	eachDocker(t, func(t *testing.T, w *world) {
		w.k.do(w.host, "-P FORWARD ACCEPT")
		p := w.policy(nil)
		w.k.off(&p.Networks[0])
		p.Ports = slices.DeleteFunc(p.Ports, func(port firewall.Port) bool {
			return port.Bridge == "br0" && w.k.Has(port.Container.Addr())
		})
		w.apply(p)
		w.expect(`
			host tcp a:80 -> a
			a tcp b:80 -> b a
			lan tcp 192.0.2.1:8180 -> c lan
			lan tcp a:80 -> nothing
			c tcp a:80 -> nothing
			d tcp a:80 -> nothing
			a tcp c:80 -> nothing
			a tcp 192.0.2.1:8180 -> nothing
			a tcp 192.0.2.1:8017 -> nothing`)
		for _, path := range [][2]string{{"a", "lan"}, {"lan", "a"}} {
			if w.arrives(path[0], path[1], 200*time.Millisecond) {
				t.Errorf("a packet from %s has arrived at %s", path[0], path[1])
			}
		}
	})
}

// off switches the family that the test is about off.
func (k stand) off(n *firewall.Network) {
	if k.Family == model.IPv4 {
		n.V4 = firewall.Family{}
	} else {
		n.V6 = firewall.Family{}
	}
}

// Clients with link-local addresses reach published ports by the process, at every
// address of the host.
func TestLinkLocalClients(t *testing.T) {
	t.Parallel()
	for _, name := range []string{alone, "nft"} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			w := newWorld(t, h, kindOf(t, name, ipv6()))
			h.Echo("tcp6", "[::]:8080") // stands for the process, which holds the port
			w.apply(w.policy(nil))
			lan := w.hosts["lan"]
			w.expect("lan tcp 192.0.2.1:8080 -> a lan")
			zone := strings.Split(lan.Run("ip", "-o", "link", "show", "eth0"), ":")[0]
			local := strings.Fields(h.Run("ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"))[3]
			address := fmt.Sprintf("[%s%%%s]:8080", netip.MustParsePrefix(local).Addr(), zone)
			if a, err := lan.Ask("tcp6", address, 5*time.Second); err != nil || a.Server != "host" || !a.Client.Addr().IsLinkLocalUnicast() {
				t.Errorf("%s: %+v, %v", address, a, err)
			}
		})
	}
}
