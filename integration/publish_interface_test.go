package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestPublishInterface is about who reaches published ports, told by the interface of the host that
// they come by.
func TestPublishInterface(t *testing.T) {
	withEachBackend(t, []string{secondLAN}, publishInterface)
}

// The addresses of the host at eth1, and of the second host of the LAN, which is there, too.
const (
	inner, inner6             = "198.51.100.1", "2001:db8:7::1"
	innerClient, innerClient6 = "198.51.100.2", "2001:db8:7::2"
)

func publishInterface(t *testing.T, w *world.World) {
	const option = "mybr.publish.interface"
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "-o", option+"=eth1", "-o", option+".8081=all",
		"--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "-o", option+"=eth1", "n1")
	w.Serve("web", []string{"--net", "n0", "-p", "8080:80", "-p", "8080:80/udp", "-p", "8081:81", "-p", "127.0.0.1:8082:82"}, "tcp:80", "udp:80", "tcp:81", "tcp:82")
	neighbour := w.Idle("neighbour", "--net", "n0")
	stranger := w.Idle("stranger", "--net", "n1")
	// IPv6 at the host's addresses is relayed to a container that has IPv4 alone.
	w.Serve("relayed", []string{"--net", "n1", "-p", "8090:80", "-p", "8090:80/udp"}, "tcp:80", "udp:80")
	first, second := w.LANs[0], w.LANs[1]
	clients := func(network, port string) map[string]func() world.Outcome {
		at := func(p *world.Place, address string) func() world.Outcome {
			return func() world.Outcome { return p.Get(network, address+":"+port, soon) }
		}
		six := func(address string) string { return "[" + address + "]" }
		return map[string]func() world.Outcome{
			"eth0": at(first, world.HostAddr), "eth0-6": at(first, six(world.HostAddr6)),
			"eth1": at(second, inner), "eth1-6": at(second, six(inner6)),
			"both": at(second, world.HostAddr), "both6": at(second, six(world.HostAddr6)),
			"host": at(w.Host, world.HostAddr), "host6": at(w.Host, six(world.HostAddr6)), "loopback": at(w.Host, "127.0.0.1"), "loopback6": at(w.Host, six("::1")),
			"neighbour": at(neighbour, world.HostAddr), "stranger": at(stranger, world.HostAddr),
		}
	}
	const local = " host host6 loopback loopback6 "
	reaches(t, "before there is such an interface", clients("tcp", "8080"), "neighbour"+local)

	w.Host.Cable("eth1", second)
	for place, addresses := range map[*world.Place][]string{w.Host: {inner + "/24", inner6 + "/64"}, second: {innerClient + "/24", innerClient6 + "/64"}} {
		for _, a := range addresses {
			place.Address("eth1", a)
		}
	}
	for _, to := range []string{inner, "[" + inner6 + "]"} { // a moment after a veth pair is up, it still drops
		w.Eventually(healWithin, func() error {
			if o := second.Get("tcp", to+":8081", soon); o.Code != report.Answered {
				return fmt.Errorf("a port that every interface reaches: %v", o)
			}
			return nil
		})
	}
	by := func(when string) {
		t.Helper()
		reaches(t, when+", tcp", clients("tcp", "8080"), "eth1 eth1-6 neighbour"+local)
		reaches(t, when+", udp", clients("udp", "8080"), "eth1 eth1-6 neighbour"+local)
		reaches(t, when+", relayed tcp", clients("tcp", "8090"), "eth1 eth1-6 stranger"+local)
		reaches(t, when+", relayed udp", clients("udp", "8090"), "eth1 eth1-6 stranger"+local)
	}
	by("at first")
	reaches(t, "a port of its own", clients("tcp", "8081"), "eth0 eth0-6 eth1 eth1-6 both both6 neighbour stranger"+local)
	matches(t, w)

	// By which interface a packet comes counts, and not which address it is sent to.
	second.Run("ip", "route", "add", world.HostAddr+"/32", "via", inner, "src", innerClient)
	second.Run("ip", "-6", "route", "add", world.HostAddr6+"/128", "via", inner6, "src", innerClient6)
	reaches(t, "the other interface's address", clients("tcp", "8080"), "eth1 eth1-6 both both6 neighbour"+local)
	reaches(t, "the other interface's address, relayed", clients("udp", "8090"), "eth1 eth1-6 both both6 stranger"+local)
	second.Run("ip", "route", "del", world.HostAddr+"/32", "via", inner)
	second.Run("ip", "-6", "route", "del", world.HostAddr6+"/128", "via", inner6)

	// Another address of the interface needs nobody to notice.
	const other = "198.51.100.77"
	w.Host.Run("ip", "address", "del", inner+"/24", "dev", "eth1") // first: the kernel removes what was added behind it, too
	w.Host.Address("eth1", other+"/24")
	answered(t, "another address", second.Get("tcp", other+":8080", soon))
	w.Host.Address("eth1", inner+"/24")

	// While mybr is away, and behind it; while somebody flushes, and behind that.
	w.KillMybr()
	for _, get := range []string{"eth0", "eth0-6", "stranger"} {
		unanswered(t, "mybr is away: from "+get, clients("tcp", "8080")[get]())
	}
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	by("after a restart")
	w.Host.Run("sh", "-c", "iptables -F; ip6tables -F; iptables -t nat -F; nft flush chain ip mybr forward; nft flush chain ip6 mybr forward; true")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	by("after a flush")

	publishInterfaceLive(t, w, clients)

	mybrRefuses(t, w, []refusal{
		{"network set n0 " + option + "=eth/1", "option " + option + ": eth/1 is no name of an interface"},
		{"network set n0 " + option + ".8080=eth+", "option " + option + ".8080: eth+ is a pattern: name each interface"},
		{"endpoint set web " + option + "=none", "option " + option + ": none is no interface: mybr.publish.from=none closes ports"},
		{"network set n0 " + option + ".0=eth1", "option " + option + ".0: 0 is no port"},
	})
	dockerRefuses(t, w, option, [][]string{
		{"network", "create", "-d", "mybr", "-o", option + "=abcdefghijklmnop", "n2"},
		{"network", "create", "-d", "mybr", "-o", option + "=eth1", "-o", "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected", "n2"},
		{"network", "create", "-d", "mybr", "-o", option + "=eth1", "--internal", "n2"},
		{"run", "--rm", "--network", "name=n0,driver-opt=" + option + "=a b", "guest", "true"},
	})
	by("after what was refused")
	matches(t, w)
}

// publishInterfaceLive changes a network and an endpoint while connections are open: those stand
// still, or end, that come by an interface that counts no more, and the others go on.
func publishInterfaceLive(t *testing.T, w *world.World, clients func(network, port string) map[string]func() world.Outcome) {
	first, second := w.LANs[0], w.LANs[1]
	const both = " neighbour host host6 loopback loopback6 "
	stay := w.Traffic(first.Flow(report.Stream, world.HostAddr+":8081"), w.Host.Flow(report.Stream, "127.0.0.1:8080"), w.Host.Flow(report.Stream, "127.0.0.1:8090"))
	end := w.Traffic(second.Flow(report.Stream, inner+":8080"), second.Flow(report.UDP, inner+":8080"), second.Flow(report.Stream, "["+inner6+"]:8080"),
		second.Flow(report.Stream, "["+inner6+"]:8090"), second.Flow(report.UDP, "["+inner6+"]:8090"))
	w.Host.Run("mybr", "network", "set", "n0", "mybr.publish.interface=eth0,mybr1")
	w.Host.Run("mybr", "network", "set", "n1", "mybr.publish.interface=eth0")
	reaches(t, "another interface", clients("tcp", "8080"), "eth0 eth0-6 both both6 stranger"+both)
	reaches(t, "another interface, relayed", clients("tcp", "8090"), "eth0 eth0-6 both both6 stranger host host6 loopback loopback6")
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Gap() > time.Second || seen.Unsettled() > 0 {
		t.Errorf("who may be connected was interrupted:\n%v", seen)
	}
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("who may not be connected still is:\n%v", seen)
	}
	matches(t, w)
	if said := w.Host.Try("mybr", "explain", innerClient, inner+":8080"); !strings.Contains(said.Out, "MYBR-IFC-") && !strings.Contains(said.Out, "arriving-") {
		t.Errorf("mybr explain does not name what drops it: %+v", said)
	}
	if said := w.Host.Try("mybr", "explain", innerClient6, "["+inner6+"]:8090"); !strings.Contains(said.Out, "takes nothing from outside that comes by eth1, only by eth0") {
		t.Errorf("mybr explain does not say what the process takes: %+v", said)
	}

	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.interface=eth1", "mybr.publish.interface.8080/udp=all", "mybr.publish.from.8080/tcp="+innerClient)
	reaches(t, "an endpoint, with clients", clients("tcp", "8080"), "eth1"+both)
	reaches(t, "an endpoint's port", clients("udp", "8080"), "eth0 eth0-6 eth1 eth1-6 both both6 stranger"+both)
	shown := w.Host.Run("mybr", "network", "inspect", "n0")
	for _, line := range []string{"mybr.publish.interface=eth0,mybr1 (created with eth1)", "web mybr.publish.interface=eth1 (created without)", "web mybr.publish.interface.8080/udp=all (created without)"} {
		if !strings.Contains(shown, line) {
			t.Errorf("mybr network inspect does not print %q:\n%s", line, shown)
		}
	}
	if ports := w.Host.Run("mybr", "ports", "web"); !strings.Contains(ports, "INTERFACE") || !strings.Contains(ports, "eth1") {
		t.Errorf("mybr ports does not say by which interface they are reached:\n%s", ports)
	}
	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.interface=", "mybr.publish.interface.8080/udp=", "mybr.publish.from.8080/tcp=")
	w.Host.Run("mybr", "network", "set", "n0", "mybr.publish.interface=")
	w.Host.Run("mybr", "network", "set", "n1", "mybr.publish.interface=")
}
