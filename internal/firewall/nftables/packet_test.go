package nftables

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/nettest"
)

// everyPath lists which client reaches which server, and by what address the server sees it.
const everyPath = `
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

// dockerPaths are those between mybr's networks and a bridge of Docker's.
const dockerPaths = `
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

// Without iptables, and beside it, with a policy of DROP, and a rule that drops at the end.
func TestMeaning(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		if k.name == alone {
			w.expect("lan tcp a:80 -> a lan\n c tcp a:80 -> a c\n i tcp lan:80 -> lan i") // what is dropped is dropped by mybr's rules
			w.apply(w.policy(nil))
			w.expect(everyPath)
			return
		}
		k.do(h, "-A FORWARD -j DROP")
		w.apply(w.policy(nil))
		w.expect(everyPath)
		k.do(h, "-A FORWARD -j DROP")
		w.expect(everyPath)
		k.do(h, "-P FORWARD ACCEPT\n-D FORWARD -j DROP\n-D FORWARD -j DROP")
		w.expect(everyPath)
	})
}

// Beside Docker 20.10's own bridge: apart in both directions, but for published
// ports; also when Docker puts its rules on top again, and when DOCKER-USER is flushed.
func TestMeaningBesideDocker(t *testing.T) {
	t.Parallel()
	eachBeside(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		k.docker2010(h)
		w.expect("a tcp d:80 -> d\n d tcp a:80 -> a\n a tcp d:81 -> nothing") // Docker alone keeps neither apart
		w.apply(w.policy(nil))
		w.expect(everyPath + dockerPaths)
		k.do(h, `
			-D FORWARD -j DOCKER-USER
			-D FORWARD -j DOCKER-ISOLATION-STAGE-1
			-I FORWARD -i docker0 -o docker0 -j ACCEPT
			-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
			-I FORWARD -o docker0 -j DOCKER
			-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			-I FORWARD -j DOCKER-ISOLATION-STAGE-1
			-I FORWARD -j DOCKER-USER`)
		w.expect(everyPath + dockerPaths)
		w.apply(w.policy(nil))
		k.do(h, "-F DOCKER-USER")
		w.expect(everyPath + dockerPaths)
		k.do(h, "-P FORWARD ACCEPT")
		w.expect(everyPath + dockerPaths)
	})
}

// Not even one packet passes between an internal network and another interface,
// where an answer would be dropped anyway.
func TestInternalIsClosedBothWays(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		if k.name != alone {
			k.do(h, "-P FORWARD ACCEPT")
		}
		paths := [][2]string{{"i", "lan"}, {"lan", "i"}, {"i", "d"}, {"d", "i"}}
		for _, path := range paths {
			if !w.arrives(path[0], path[1], 5*time.Second) {
				t.Errorf("without rules nothing arrives from %s at %s", path[0], path[1])
			}
		}
		w.apply(w.policy(nil))
		h.Run("conntrack", "-F")
		for _, path := range paths {
			if w.arrives(path[0], path[1], 200*time.Millisecond) {
				t.Errorf("a packet from %s has arrived at %s", path[0], path[1])
			}
		}
		if !w.arrives("a", "lan", 5*time.Second) {
			t.Error("nothing arrives from an ordinary network")
		}
	})
}

// arrives sends a datagram and reports whether it arrives in time.
func (w *world) arrives(from, to string, timeout time.Duration) bool {
	w.t.Helper()
	// A port of its own each time: commands that start meanwhile keep sockets open a little longer.
	l := w.hosts[to].ListenPacket(w.net("udp"), w.k.in("0.0.0.0:0"))
	defer l.Close()
	port := netip.MustParseAddrPort(l.LocalAddr().String()).Port()
	c, err := w.hosts[from].Dial(w.net("udp"), w.k.in(fmt.Sprintf("%s:%d", addresses[to], port)), timeout)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		w.t.Fatal(err)
	}
	_ = l.SetReadDeadline(time.Now().Add(timeout))
	_, _, err = l.ReadFrom(make([]byte, 1))
	return err == nil
}

// The administrator's drops in DOCKER-USER are obeyed. What it accepts is dropped all the same
// where mybr does, but for what it has marked before.
func TestAdministratorIsObeyed(t *testing.T) {
	t.Parallel()
	eachBeside(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		k.docker2010(h)
		w.apply(w.policy(nil))
		w.expect("lan tcp 192.0.2.1:8080 -> a\n lan tcp a:80 -> nothing\n c tcp a:80 -> nothing\n a tcp lan:80 -> lan")
		k.do(h, `
			-I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 -j DROP
			-I DOCKER-USER -i eth0 -o br0 -p tcp -d 172.18.0.2 --dport 81 -j ACCEPT
			-I DOCKER-USER -i br0 -o eth0 -p tcp --dport 82 -j REJECT`)
		const obeyed = `
			lan tcp 192.0.2.1:8080 -> nothing
			lan tcp 192.0.2.1:8090 -> b lan
			lan tcp a:81 -> nothing
			lan tcp a:80 -> nothing
			c tcp a:81 -> nothing
			a tcp lan:82 -> nothing
			a tcp lan:80 -> lan`
		w.expect(obeyed)
		w.apply(w.policy(nil))
		w.expect(obeyed)
	})
}

// Containers of a network without icc are kept apart: what the bridge ports let
// through is left to the bridge; by way of the host nothing passes.
func TestNoICC(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		w.hosts["a"].Run("ip", "route", "add", k.in("172.18.0.3/32"), "via", k.in("172.18.0.1")) // round the bridge's ports
		w.hosts["b"].Run("ip", "route", "add", k.in("172.18.0.2/32"), "via", k.in("172.18.0.1"))
		h.Echo(w.net("tcp"), k.in("0.0.0.0:8090")) // stands for the process, which holds the port
		w.apply(w.policy(nil))
		w.expect("a tcp b:80 -> b\n a tcp 192.0.2.1:8090 -> b")
		for _, port := range []string{"va", "vb"} {
			h.Run("ip", "link", "set", port, "type", "bridge_slave", "isolated", "on")
		}
		w.apply(w.policy(func(n *firewall.Network) { n.ICC = false }))
		for _, call := range []string{"0", "1"} {
			h.Sysctl("net/bridge/bridge-nf-call-"+k.command(), call)
			w.expect(`
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
	})
}

// Rules may change under a connection: it goes on, with a difference and in full.
func TestConnectionsGoOn(t *testing.T) {
	t.Parallel()
	eachBeside(t, func(t *testing.T, h *nettest.Host, k stand) {
		w := newWorld(t, h, k)
		k.docker2010(h)
		p := w.policy(nil)
		w.apply(p)
		c, err := w.hosts["lan"].Dial(w.net("tcp"), k.in("192.0.2.1:8080"), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		more := p
		more.Ports = append(more.Ports[:len(p.Ports):len(p.Ports)], binding(p.Networks[1], k.in("udp 0.0.0.0:8999 172.19.0.2:80"), 1))
		less := firewall.Policy{Networks: p.Networks[:1], Ports: []firewall.Port{p.Ports[0], p.Ports[4]}}
		for _, step := range []struct{ have, want *firewall.Policy }{{&p, &more}, {&more, &less}, {nil, &p}} {
			apply(t, w.b, step.have, *step.want)
			if _, err := c.Write([]byte("still there?")); err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if n, err := c.Read(make([]byte, 64)); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		}
	})
}
