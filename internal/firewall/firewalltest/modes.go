package firewalltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// modes are scenarios of what may enter, beside layouts of Docker's chains.
func modes() []scenario {
	return []scenario{
		{"meaning beside every Docker", meaningBesideEveryDocker},
		{"routed", routed},
		{"unprotected", unprotected},
		{"openings", openings},
		{"mark", mark},
		{"family off", familyOff},
	}
}

// unlisted are such scenarios without Docker.
func unlisted() []scenario {
	return []scenario{{"unprotected without Docker", unprotectedWithoutDocker}}
}

// Mode is the world's policy with br0 in a mode, and what is open in it.
func (w *World) Mode(direct firewall.Direct, openings ...firewall.Opening) firewall.Policy {
	p := w.Policy(func(n *firewall.Network) {
		if n.V4.Direct = direct; direct == firewall.DirectRouted {
			n.V4.Masquerade, n.V4.Hairpin = false, false
		}
	})
	if direct == firewall.DirectRouted {
		p.Ports = slices.DeleteFunc(p.Ports, func(port firewall.Port) bool { return port.Bridge == "br0" })
	}
	p.Openings = Dual(firewall.Policy{Openings: openings}).Openings
	return p
}

// Pings checks who can be pinged, as "lan a, lan b".
func (w *World) Pings(want bool, paths string) {
	w.T.Helper()
	for _, path := range strings.Split(paths, ", ") {
		from, to, _ := strings.Cut(path, " ")
		timeout := 300 * time.Millisecond
		if want {
			timeout = 5 * time.Second
		}
		if got := w.ping(from, to, timeout); got != want {
			w.T.Errorf("ping from %s to %s: %t", from, to, got)
		}
	}
}

// ping sends one echo request and reports whether it is answered in time (RFC 792, RFC
// 4443). The kernel adds the checksum for IPv6.
func (w *World) ping(from, to string, timeout time.Duration) bool {
	w.T.Helper()
	network, request, answer := "ip4:icmp", []byte{8, 0, 0, 0, 0, 7, 0, 1}, byte(0)
	if binary.BigEndian.PutUint16(request[2:], ^uint16(8<<8+7+1)); w.Stand.IP == model.IPv6 {
		network, request, answer = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 7, 0, 1}, 129
	}
	c := w.Hosts[from].ListenPacket(network, w.Stand.In("0.0.0.0"))
	defer c.Close()
	peer := &net.IPAddr{IP: net.ParseIP(w.Stand.In(Address(to)))}
	if _, err := c.WriteTo(request, peer); err != nil {
		w.T.Fatal(err)
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

// Advertise sends a router advertisement (RFC 4861, section 4.2) with a lifetime of 0 to an
// address of the host.
func (w *World) Advertise(from, to string) {
	w.T.Helper()
	c := w.Hosts[from].ListenPacket("ip6:ipv6-icmp", "::")
	defer c.Close()
	if _, err := c.WriteTo(append([]byte{134}, make([]byte, 15)...), &net.IPAddr{IP: net.ParseIP(w.Stand.In(to))}); err != nil {
		w.T.Fatal(err)
	}
}

// Every layout: apart from Docker's bridge in both directions, but for published ports.
func meaningBesideEveryDocker(w *World) {
	w.Apply(w.Policy(nil))
	w.Expect(EveryPath + DockerPaths)
	w.Pings(false, "lan a, c a, d a, a c, a d, i lan, lan i")
	w.Pings(true, "a lan, a b, host a")
}

// A routed network: its open ports and ICMP are for everybody, other networks included,
// nothing else is, and it is seen by its own addresses.
func routed(w *World) {
	w.Apply(w.Mode(firewall.DirectRouted, Opening("tcp 172.18.0.2", 80, 2, ""), Opening("udp 172.18.0.2", 80, 1, "")))
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
	w.Expect(routed)
	w.Pings(true, "lan a, lan b, c a, d a, a lan")
	w.Pings(false, "lan c, a c, a d, i a")
	w.Stand.Do(w.Host, "-P FORWARD ACCEPT")
	w.Expect(routed)
}

// An unprotected network: everything may enter, but not from other bridge networks.
func unprotected(w *World) {
	w.Apply(w.Mode(firewall.DirectAll))
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
	w.Expect(open)
	w.Pings(true, "lan a, lan b")
	w.Pings(false, "c a, d a, i a")
	if strings.Contains(w.Stand.Save(w.Host, "-t", "filter"), "-A DOCKER-ISOLATION-STAGE-2 ") {
		w.Stand.Do(w.Host, "-F DOCKER-ISOLATION-STAGE-2\n-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP\n-A DOCKER-ISOLATION-STAGE-2 -j RETURN")
		w.Apply(w.Mode(firewall.DirectAll)) // what follows Docker's start
		w.Expect(open)
	}
	w.Apply(w.Policy(nil))
	w.Expect("lan tcp a:80 -> nothing")
	if w.suite.Closed != nil {
		w.suite.Closed(w)
	}
}

// Without Docker's list, mybr's own networks are kept out of an unprotected one.
func unprotectedWithoutDocker(w *World) {
	w.Apply(w.Mode(firewall.DirectAll))
	w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> nothing\n i tcp a:80 -> nothing\n c tcp 192.0.2.1:8080 -> a")
}

// What is open is so for the interface that it names, and openings come and go by
// differences, the first and the last of a network like any other.
func openings(w *World) {
	none := w.Mode(firewall.DirectOpenings)
	from := w.Mode(firewall.DirectOpenings, Opening("tcp 172.18.0.2", 80, 1, "eth0"), Opening("tcp 172.18.0.2", 81, 1, "eth1"))
	Apply(w.T, w.Backend, nil, none)
	w.Expect("lan tcp a:80 -> nothing\n lan tcp 192.0.2.1:8080 -> a lan")
	Apply(w.T, w.Backend, &none, from)
	w.Expect(`
		lan tcp a:80 -> a lan
		lan tcp 192.0.2.1:8080 -> a lan
		a tcp lan:80 -> lan 192.0.2.1
		lan tcp a:81 -> nothing
		c tcp a:80 -> nothing
		d tcp a:80 -> nothing`)
	w.Pings(false, "lan a")
	Apply(w.T, w.Backend, &from, none)
	w.Expect("lan tcp a:80 -> nothing\n lan tcp 192.0.2.1:8080 -> a lan")
}

// What bears the mark passes, to and from an internal network too.
func mark(w *World) {
	w.Stand.Do(w.Host, `
		-t mangle -A PREROUTING -p tcp --dport 82 -j MARK --set-mark 5
		-t mangle -A PREROUTING -p tcp --sport 82 -j MARK --set-mark 5`)
	w.Apply(w.Policy(nil))
	w.Expect("lan tcp a:82 -> nothing\n lan tcp i:82 -> nothing\n a tcp lan:82 -> lan")
	p := w.Policy(nil)
	p.Accept = firewall.Mark{Value: 1, Mask: 3}
	w.Apply(p)
	w.Expect(`
		lan tcp a:82 -> a lan
		lan tcp i:82 -> i lan
		c tcp a:82 -> a *
		d tcp a:82 -> a *
		lan tcp a:81 -> nothing
		lan tcp i:81 -> nothing
		c tcp a:81 -> nothing`)
	p.Accept = firewall.Mark{Value: 1, Mask: 7}
	w.Apply(p)
	w.Expect("lan tcp a:82 -> nothing\n lan tcp i:82 -> nothing")
}

// In a family that a network hasn't, nothing passes, whatever addresses there are; the
// other family is as ever.
func familyOff(w *World) {
	w.Stand.Do(w.Host, "-P FORWARD ACCEPT")
	p := w.Policy(nil)
	w.Stand.off(&p.Networks[0])
	p.Ports = slices.DeleteFunc(p.Ports, func(port firewall.Port) bool {
		return port.Bridge == "br0" && w.Stand.IP.Has(port.Container.Addr())
	})
	w.Apply(p)
	w.Expect(`
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
			w.T.Errorf("a packet from %s has arrived at %s", path[0], path[1])
		}
	}
}

// off switches the family that the test is about off.
func (s Stand) off(n *firewall.Network) {
	if s.IP == model.IPv4 {
		n.V4 = firewall.Family{}
	} else {
		n.V6 = firewall.Family{}
	}
}

// Clients with link-local addresses reach published ports by the process, at every
// address of the host.
func linkLocalClients(w *World) {
	w.Host.Echo("tcp6", "[::]:8080") // stands for the process, which holds the port
	w.Apply(w.Policy(nil))
	lan := w.Hosts["lan"]
	w.Expect("lan tcp 192.0.2.1:8080 -> a lan")
	zone := strings.Split(lan.Run("ip", "-o", "link", "show", "eth0"), ":")[0]
	local := strings.Fields(w.Host.Run("ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"))[3]
	address := fmt.Sprintf("[%s%%%s]:8080", netip.MustParsePrefix(local).Addr(), zone)
	if a, err := lan.Ask("tcp6", address, 5*time.Second); err != nil || a.Server != "host" || !a.Client.Addr().IsLinkLocalUnicast() {
		w.T.Errorf("%s: %+v, %v", address, a, err)
	}
}

// Docker has no chains for IPv6: its bridges are those that it has rules for in IPv4.
func unprotectedInAFamilyWithoutDocker(w *World) {
	four := w.Stand
	four.IP = model.IPv4
	for name, docker := range map[string]func(*nettest.Host){"20.10": four.Docker2010, "29": four.Docker29} {
		four.Do(w.Host, "-F FORWARD\n-F\n-X\n-t nat -F\n-t nat -X\n-t raw -F")
		docker(w.Host)
		w.acceptByDefault()
		w.Apply(w.Policy(nil))
		w.Apply(w.Mode(firewall.DirectAll))
		w.Expect("lan tcp a:80 -> a lan\n d tcp a:80 -> nothing\n a tcp b:80 -> b a")
		if w.T.Failed() {
			w.T.Fatal(name)
		}
	}
}
