package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/integration/world"
)

// removedWithoutMybr removes containers while mybr is away, which Docker gives up telling
// it: their ports and addresses can be had again, and no connection of theirs leads to the
// container that gets the address next. It takes more than a minute, for Docker and
// mybr both wait.
func removedWithoutMybr(t *testing.T, w *world.World) {
	pooled(w, "mybr", "n0", "--subnet", "10.77.0.0/29")
	stays := w.Serve("stays", []string{"--net", "n0", "--ip", "10.77.0.2", "-p", "8089:80"}, "tcp:80")
	w.Idle("fixed", "--net", "n0", "--ip", "10.77.0.3", "-p", "8090:80")
	w.Idle("c4", "--net", "n0")
	w.Serve("c5", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	w.Idle("c6", "--net", "n0")
	client := connect(t, w)
	w.KillMybr()
	client.silence()
	together(func() { w.DockerTry("rm", "-f", "fixed") }, func() { w.DockerTry("rm", "-f", "c5") })
	w.StartMybr()
	w.Eventually(driver.CheckInterval+20*time.Second, func() error {
		if list := published(t, w); len(list) != 2 {
			return fmt.Errorf("still published is %+v", list)
		}
		return nil
	})
	w.Serve("fixed", []string{"--net", "n0", "--ip", "10.77.0.3", "-p", "8090:80"}, "tcp:80")
	w.Idle("next", "--net", "n0")
	has(t, w, "next", "n0", "10.77.0.5")
	client.reachesNot(t, w.Container("next"), "10.77.0.1", "10.77.0.5")
	pingBoth(t, stays, w.Container("next"))
	pingBoth(t, stays, w.Container("fixed"))
	for _, port := range []string{"8089", "8090"} {
		seenAs(t, "port "+port, w.LAN.Get("tcp", world.HostAddr+":"+port), world.LANAddr)
	}
	if got := len(ports(t, w, "br-"+w.Docker("network", "inspect", "-f", "{{.Id}}", "n0")[:12])); got != 6-1 {
		t.Errorf("the bridge has %d ports, want 5", got)
	}
}

// oldClient is on the LAN and has tracked connections with port 8088 of the host, by TCP
// from its port 5555 and by UDP from 5556.
type oldClient struct {
	w      *world.World
	stream *world.Proc
}

func connect(t *testing.T, w *world.World) oldClient {
	t.Helper()
	c := oldClient{w, w.LAN.Start("guest", "stream", "-source-port", "5555", world.HostAddr+":8088")}
	answered(t, "UDP to the published port", w.LAN.Get("udp", world.HostAddr+":8088", "--source-port=5556"))
	return c
}

// silence ends the client without a packet that says so, until reachesNot: its connections
// stay tracked.
func (c oldClient) silence() {
	c.w.LAN.Run("iptables", "-A", "OUTPUT", "-p", "tcp", "-j", "DROP")
	c.stream.Stop()
}

// reachesNot sends more packets of the client's connections, and a first one from its
// source port, and fails the test if one of them gets to the container that has the
// address by now.
func (c oldClient) reachesNot(t *testing.T, container *world.Place, gateway, addr string) {
	t.Helper()
	c.w.LAN.Run("iptables", "-F", "OUTPUT")
	wire := container.Sniff("eth0")
	for _, packet := range []string{
		"-proto tcp -sport 5555 -dport 8088 -flags A",
		"-proto tcp -sport 5555 -dport 8088",
		"-proto udp -sport 5556 -dport 8088",
	} {
		c.w.LAN.Run(append([]string{"guest", "send", "-src", world.LANAddr}, append(strings.Fields(packet), world.HostAddr)...)...)
	}
	for _, p := range until(c.w, wire, gateway, addr) {
		if p.Src.String() == world.LANAddr {
			t.Errorf("a packet of a connection with the container that ended has reached %s: %+v", container.Name, p)
		}
	}
}

// endedWhileAway: while mybr is away a container's link goes, and with it its endpoint.
// Another container gets the address when mybr is back.
func endedWhileAway(t *testing.T, w *world.World) {
	article(w)
	first := w.Serve("first", []string{"--net", "n0", "--ip", "172.18.0.2", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	client := connect(t, w)
	link := hostEnd(t, w, first, "eth0").Name
	w.KillMybr()
	client.silence()
	w.Host.Run("ip", "link", "del", link)
	w.StartMybr()
	w.Eventually(10*time.Second, func() error {
		if list := published(t, w); len(list) > 0 {
			return fmt.Errorf("still published is %+v", list)
		}
		return nil
	})
	w.Docker("rm", "-f", "first")
	second := w.Idle("second", "--net", "n0", "--ip", "172.18.0.2")
	client.reachesNot(t, second, "172.18.0.1", "172.18.0.2")
	w.Docker("rm", "-f", "second")
	w.Serve("third", []string{"--net", "n0", "--ip", "172.18.0.2", "-p", "8088:80"}, "tcp:80")
	seenAs(t, "published again, with the same source port", w.LAN.Get("tcp", world.HostAddr+":8088", "--source-port=5555"), world.LANAddr)
}
