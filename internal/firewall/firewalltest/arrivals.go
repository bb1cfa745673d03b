package firewalltest

import (
	"net"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// By is a limit of what comes by some interfaces.
func By(via model.Interfaces, l firewall.Limit) firewall.Limit {
	l.Via = via
	return l
}

// Who reaches a port that is limited by interfaces is told by the one that the packet came by: that
// of the LAN, or the bridge of another network, whichever address it has and is sent to. The host
// and the port's own network always do, and other ports have nothing to do with it.
func byInterface(w *World) {
	plain := w.Policy(nil)
	w.Apply(plain)
	w.Expect(EveryPath)
	have := plain
	for _, c := range []struct {
		via      model.Interfaces
		from     model.Clients
		lan, too string
	}{
		{"eth0", "", "a lan", "nothing"},
		{"eth0,wg0", "", "a lan", "nothing"},
		{"br1", "", "nothing", "a"},
		{"br1,eth0", "", "a lan", "a"},
		{"eth1", "", "nothing", "nothing"}, // it isn't there
		{"eth0", Clients("192.0.2.2/32"), "a lan", "nothing"},
		{"br1,eth0", Clients("192.0.2.2/32"), "a lan", "nothing"},
		{"eth0", Clients("172.19.0.0/16"), "nothing", "nothing"},
		{"none", "", "nothing", "nothing"},
	} {
		want := withLimits(plain, By(c.via, Limit("172.18.0.2", 80, 1, c.from)))
		Apply(w.T, w.Backend, &have, want)
		have = want
		w.Expect(`
			lan tcp 192.0.2.1:8080 -> ` + c.lan + `
			lan tcp 172.18.0.1:8080 -> ` + c.lan + `
			c tcp 192.0.2.1:8080 -> ` + c.too + `
			c tcp 172.18.0.1:8080 -> ` + c.too + unlimited)
		if rest, err := w.Backend.Plan(w.T.Context(), nil, want); err != nil || len(rest) > 0 {
			w.T.Fatalf("%s: then there is %q to do: %v", c.via, rest.Changes(), err)
		}
	}
	Apply(w.T, w.Backend, &have, plain)
	w.Expect(EveryPath)
}

// What is open at a container's own address is reached by the same interfaces.
func byInterfaceRouted(w *World) {
	open := w.Mode(firewall.DirectRouted, Opening("tcp 172.18.0.2", 80, 2, ""))
	w.Apply(open)
	w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> a\n lan tcp a:81 -> a lan\n c tcp a:81 -> a")
	w.Apply(withLimits(open, By("eth0", Limit("172.18.0.2", 80, 1, ""))))
	w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> nothing\n lan tcp a:81 -> a lan\n c tcp a:81 -> a\n host tcp a:80 -> a")
	w.Apply(withLimits(open, By("br1", Limit("172.18.0.2", 80, 2, ""))))
	w.Expect("lan tcp a:80 -> nothing\n c tcp a:80 -> a\n lan tcp a:81 -> nothing\n c tcp a:81 -> a")
}

// A connection stands still as soon as its interface is none of the port's any more, also one from
// another network, and goes on when it is one again. Others are not interrupted.
func otherInterfaces(w *World) {
	w.Apply(w.Policy(nil))
	open := func(from, network string) net.Conn {
		c, err := w.Hosts[from].Dial(w.Net(network), w.Stand.In("192.0.2.1:8080"), 5*time.Second)
		if err != nil {
			w.T.Fatal(err)
		}
		w.T.Cleanup(func() { c.Close() })
		if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
			w.T.Fatal(err)
		}
		return c
	}
	conns := map[string]net.Conn{"eth0": open("lan", "tcp"), "br1": open("c", "tcp"), "own": open("b", "tcp"), "host": open("host", "tcp")}
	have := w.Policy(nil)
	for _, via := range []model.Interfaces{"eth0", "br1", "br1,eth0"} {
		want := withLimits(w.Policy(nil), By(via, Limit("172.18.0.2", 80, 1, "")))
		Apply(w.T, w.Backend, &have, want)
		have = want
		for name, c := range conns {
			expected, timeout := name == "own" || name == "host" || via.Has(name), 300*time.Millisecond
			if expected {
				timeout = 5 * time.Second
			}
			_ = c.SetDeadline(time.Now().Add(timeout)) // that of the first question may have passed
			if _, err := c.Write([]byte("still there?")); err != nil {
				w.T.Fatal(err)
			}
			n, err := c.Read(make([]byte, 1024))
			if (err == nil && n > 0) != expected {
				w.T.Errorf("%s, by %s: %d bytes, %v", via, name, n, err)
			}
		}
	}
}
