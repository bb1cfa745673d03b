package firewalltest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/nettest"
)

// EveryPath lists which client reaches which server, and by what address the server sees it.
const EveryPath = `
	host tcp a:80 -> a 172.18.0.1
	host tcp i:80 -> i 172.20.0.1
	a tcp b:80 -> b a
	b tcp a:80 -> a b
	lan tcp 192.0.2.1:8080 -> a lan
	lan udp 192.0.2.1:8080 -> a lan
	lan tcp 192.0.2.1:8180 -> c lan
	host tcp 192.0.2.1:8080 -> a 192.0.2.1
	host udp 192.0.2.1:8080 -> a 192.0.2.1
	host tcp 172.18.0.1:8080 -> a 172.18.0.1
	a tcp lan:80 -> lan 192.0.2.1
	c tcp lan:80 -> lan 192.0.2.1
	a tcp 192.0.2.1:8180 -> c 172.19.0.1
	c tcp 192.0.2.1:8080 -> a 172.18.0.1
	c tcp 172.18.0.1:8080 -> a 172.18.0.1
	c udp 192.0.2.1:8080 -> a 172.18.0.1
	a tcp 192.0.2.1:8090 -> b 172.18.0.1
	b tcp 192.0.2.1:8080 -> a 172.18.0.1
	b udp 192.0.2.1:8080 -> a 172.18.0.1

	lan tcp a:80 -> nothing
	lan udp a:80 -> nothing
	lan tcp i:80 -> nothing
	a tcp c:80 -> nothing
	c tcp a:80 -> nothing
	c udp a:80 -> nothing
	i tcp a:80 -> nothing
	a tcp i:80 -> nothing
	i tcp lan:80 -> nothing
	i tcp 192.0.2.1:8080 -> nothing
`

// DockerPaths are those between mybr's networks and a bridge of Docker's.
const DockerPaths = `
	d tcp lan:80 -> lan 192.0.2.1
	lan tcp 192.0.2.1:8017 -> d lan
	a tcp 192.0.2.1:8017 -> d *
	d tcp 192.0.2.1:8080 -> a *
	d udp 192.0.2.1:8080 -> a *
	a tcp d:80 -> nothing
	a tcp d:81 -> nothing
	a udp d:80 -> nothing
	d tcp a:80 -> nothing
	d udp a:80 -> nothing
	i tcp d:80 -> nothing
	d tcp i:80 -> nothing
	i tcp 192.0.2.1:8017 -> nothing
`

// packets are scenarios of what may pass, wherever iptables is or is not.
func packets() []scenario {
	return []scenario{
		{"open without rules", openWithoutRules},
		{"meaning", meaning},
		{"internal is closed both ways", internalIsClosedBothWays},
		{"no icc", noICC},
	}
}

// packetsBeside are those where iptables has Docker's chains.
func packetsBeside() []scenario {
	return []scenario{
		{"meaning beside Docker", meaningBesideDocker},
		{"administrator is obeyed", administratorIsObeyed},
		{"connections go on", connectionsGoOn},
	}
}

// acceptByDefault has iptables forward what none of its rules drops.
func (w *World) acceptByDefault() {
	if w.Stand.Name != Alone {
		w.Stand.Do(w.Host, "-P FORWARD ACCEPT")
	}
}

// What is dropped is dropped by mybr's rules: without them everything is open.
func openWithoutRules(w *World) {
	w.acceptByDefault()
	for line := range strings.Lines(EveryPath + DockerPaths) {
		if f := strings.Fields(line); len(f) == 5 && f[4] == "nothing" && !strings.HasPrefix(f[2], lanHost) {
			server, _, _ := strings.Cut(f[2], ":")
			w.Expect(fmt.Sprintf("%s %s %s -> %s %s", f[0], f[1], f[2], server, f[0]))
		}
	}
}

// Without iptables, and with its policy of DROP and without Docker, and again when a rule
// drops at the end, and at the end of the chain beforehand.
func meaning(w *World) {
	if w.Stand.Name == Alone {
		w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> a c\n i tcp lan:80 -> lan i") // what is dropped is dropped by mybr's rules
		w.Apply(w.Policy(nil))
		w.Expect(EveryPath)
		return
	}
	w.Stand.Do(w.Host, "-A FORWARD -j DROP")
	w.Apply(w.Policy(nil))
	w.Expect(EveryPath)
	w.Stand.Do(w.Host, "-A FORWARD -j DROP")
	w.Expect(EveryPath)
	w.Stand.Do(w.Host, "-P FORWARD ACCEPT\n-D FORWARD -j DROP\n-D FORWARD -j DROP")
	w.Expect(EveryPath)
}

// Beside Docker 20.10's own bridge: apart in both directions, but for published
// ports; also when Docker puts its rules on top again, and when DOCKER-USER is flushed.
func meaningBesideDocker(w *World) {
	w.Stand.Docker2010(w.Host)
	w.Expect("a tcp d:80 -> d\n d tcp a:80 -> a\n a tcp d:81 -> nothing") // Docker alone keeps neither apart
	w.Apply(w.Policy(nil))
	w.Expect(EveryPath + DockerPaths)
	w.Stand.Do(w.Host, `
		-D FORWARD -j DOCKER-USER
		-D FORWARD -j DOCKER-ISOLATION-STAGE-1
		-I FORWARD -i docker0 -o docker0 -j ACCEPT
		-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
		-I FORWARD -o docker0 -j DOCKER
		-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-I FORWARD -j DOCKER-ISOLATION-STAGE-1
		-I FORWARD -j DOCKER-USER`)
	w.Expect(EveryPath + DockerPaths)
	w.Apply(w.Policy(nil))
	w.Stand.Do(w.Host, "-F DOCKER-USER")
	w.Expect(EveryPath + DockerPaths)
	w.Stand.Do(w.Host, "-P FORWARD ACCEPT")
	w.Expect(EveryPath + DockerPaths)
}

// Not even one packet passes between an internal network and another interface,
// where an answer would be dropped anyway.
func internalIsClosedBothWays(w *World) {
	w.acceptByDefault()
	paths := [][2]string{{"i", "lan"}, {"lan", "i"}, {"i", "d"}, {"d", "i"}}
	for _, path := range paths {
		if !w.arrives(path[0], path[1], 5*time.Second) {
			w.T.Errorf("without rules nothing arrives from %s at %s", path[0], path[1])
		}
	}
	w.Apply(w.Policy(nil))
	w.Host.Run("conntrack", "-F")
	for _, path := range paths {
		if w.arrives(path[0], path[1], 200*time.Millisecond) {
			w.T.Errorf("a packet from %s has arrived at %s", path[0], path[1])
		}
	}
	if !w.arrives("a", "lan", 5*time.Second) {
		w.T.Error("nothing arrives from an ordinary network")
	}
}

// arrives sends a datagram and reports whether it arrives in time.
func (w *World) arrives(from, to string, timeout time.Duration) bool {
	w.T.Helper()
	// A port of its own each time: commands that start meanwhile keep sockets open a little longer.
	l := w.Hosts[to].ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:0"))
	defer l.Close()
	port := netip.MustParseAddrPort(l.LocalAddr().String()).Port()
	c, err := w.Hosts[from].Dial(w.Net("udp"), w.Stand.In(fmt.Sprintf("%s:%d", Address(to), port)), timeout)
	if err != nil {
		w.T.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		w.T.Fatal(err)
	}
	_ = l.SetReadDeadline(time.Now().Add(timeout))
	_, _, err = l.ReadFrom(make([]byte, 1))
	return err == nil
}

// The administrator's drops in DOCKER-USER are obeyed, and what it accepts as far as the
// backend says (Suite.Accepted).
func administratorIsObeyed(w *World) {
	w.Stand.Docker2010(w.Host)
	w.Apply(w.Policy(nil))
	w.Expect("lan tcp 192.0.2.1:8080 -> a\n lan tcp a:80 -> nothing\n c tcp a:80 -> nothing\n a tcp lan:80 -> lan")
	w.Stand.Do(w.Host, `
		-I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 -j DROP
		-I DOCKER-USER -i eth0 -o br0 -p tcp -d 172.18.0.2 --dport 81 -j ACCEPT
		-I DOCKER-USER -i br1 -o br0 -p tcp -d 172.18.0.2 --dport 81 -j ACCEPT
		-I DOCKER-USER -i docker0 -o br0 -p tcp -d 172.18.0.2 --dport 81 -j ACCEPT
		-I DOCKER-USER -i br0 -o eth0 -p tcp --dport 82 -j REJECT`)
	obeyed := fmt.Sprintf(`
		lan tcp 192.0.2.1:8080 -> nothing
		lan tcp 192.0.2.1:8090 -> b lan
		lan tcp a:81 -> %[1]s lan
		lan tcp a:80 -> nothing
		c tcp a:81 -> %[1]s *
		c tcp a:80 -> nothing
		d tcp a:81 -> %[1]s *
		d tcp a:80 -> nothing
		a tcp lan:82 -> nothing
		a tcp lan:80 -> lan`, w.suite.Accepted)
	w.Expect(obeyed)
	w.Apply(w.Policy(nil))
	w.Expect(obeyed)
}

// Containers of a network without icc are kept apart: what the bridge ports let
// through is left to the bridge; by way of the host nothing passes.
func noICC(w *World) {
	w.Hosts["a"].Run("ip", "route", "add", w.Stand.In("172.18.0.3/32"), "via", w.Stand.In("172.18.0.1")) // round the bridge's ports
	w.Hosts["b"].Run("ip", "route", "add", w.Stand.In("172.18.0.2/32"), "via", w.Stand.In("172.18.0.1"))
	w.Host.Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:8090")) // stands for the process, which holds the port
	w.Apply(w.Policy(nil))
	w.Expect("a tcp b:80 -> b\n a tcp 192.0.2.1:8090 -> b")
	for _, port := range []string{"va", "vb"} {
		w.Host.Run("ip", "link", "set", port, "type", "bridge_slave", "isolated", "on")
	}
	w.Apply(w.Policy(func(n *firewall.Network) { n.ICC = false }))
	for _, call := range []string{"0", "1"} {
		w.Host.Sysctl("net/bridge/bridge-nf-call-"+w.Stand.command(), call)
		w.Expect(`
			a tcp b:80 -> nothing
			b tcp a:80 -> nothing
			a tcp 192.0.2.1:8090 -> host a
			lan tcp 192.0.2.1:8090 -> b lan
			c tcp 192.0.2.1:8090 -> b
			host tcp 192.0.2.1:8090 -> b
			a tcp 192.0.2.1:8180 -> c
			a tcp lan:80 -> lan
			host tcp a:80 -> a
			lan tcp b:80 -> nothing`)
	}
}

// Rules may change under a connection: it goes on, with a difference and in full.
func connectionsGoOn(w *World) {
	w.Stand.Docker2010(w.Host)
	p := w.Policy(nil)
	w.Apply(p)
	c, err := w.Hosts["lan"].Dial(w.Net("tcp"), w.Stand.In("192.0.2.1:8080"), 5*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	defer c.Close()
	if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
		w.T.Fatal(err)
	}
	more := p
	more.Ports = append(more.Ports[:len(p.Ports):len(p.Ports)], Port(p.Networks[1], w.Stand.In("udp 0.0.0.0:8999 172.19.0.2:80"), 1))
	less := firewall.Policy{Networks: p.Networks[:1], Ports: []firewall.Port{p.Ports[0], p.Ports[4]}}
	for _, step := range []struct{ have, want *firewall.Policy }{{&p, &more}, {&more, &less}, {nil, &p}} {
		Apply(w.T, w.Backend, step.have, *step.want)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("still there?")); err != nil {
			w.T.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 64)); err != nil || n == 0 {
			w.T.Fatal(n, err)
		}
	}
}
