package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestPublishFrom is about who reaches published ports, told by their own addresses.
func TestPublishFrom(t *testing.T) {
	withBackend(t, world.NFTables, []string{secondLAN}, publishFrom)
}

// The second host of the LAN.
const secondLAN, secondLAN6 = "192.0.2.10", "2001:db8::10"

// reaches asks a port at an address, from all clients at once: from those it is answered whose
// names are told, and from no others.
func reaches(t *testing.T, what string, clients map[string]func() world.Outcome, want string) {
	t.Helper()
	var calls []func()
	for name, get := range clients {
		calls = append(calls, func() {
			if strings.Contains(" "+want+" ", " "+name+" ") {
				answered(t, what+": from "+name, get())
			} else if o := get(); o.Code == report.Answered { // the process resets, and rules drop
				t.Errorf("%s: from %s: %v, want no answer", what, name, o)
			}
		})
	}
	together(calls...)
}

func publishFrom(t *testing.T, w *world.World) {
	w.Host.Run("mybr", "list", "set", "office", world.LANAddr+","+world.LANAddr6)
	const option = "mybr.publish.from"
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "-o", option+"=@office", "-o", option+".8081=all",
		"--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "-o", option+"="+world.LANAddr+","+world.LANAddr6, "n1")
	w.Serve("web", []string{"--net", "n0", "-p", "8080:80", "-p", "8080:80/udp", "-p", "8081:81", "-p", "127.0.0.1:8082:82"}, "tcp:80", "udp:80", "tcp:81", "tcp:82")
	neighbour := w.Idle("neighbour", "--net", "n0")
	stranger := w.Idle("stranger", "--net", "n1")
	// IPv6 at the host's addresses is relayed to a container that has IPv4 alone.
	w.Serve("relayed", []string{"--net", "n1", "-p", "8090:80", "-p", "8090:80/udp"}, "tcp:80", "udp:80")
	clients := func(network, port string) map[string]func() world.Outcome {
		v4, v6 := world.HostAddr+":"+port, "["+world.HostAddr6+"]:"+port
		get := func(p *world.Place, to string) func() world.Outcome {
			return func() world.Outcome { return p.Get(network, to, soon) }
		}
		return map[string]func() world.Outcome{
			"first": get(w.LANs[0], v4), "first6": get(w.LANs[0], v6), "second": get(w.LANs[1], v4), "second6": get(w.LANs[1], v6),
			"host": get(w.Host, v4), "host6": get(w.Host, v6), "loopback": get(w.Host, "127.0.0.1:"+port), "loopback6": get(w.Host, "[::1]:"+port),
			"neighbour": get(neighbour, v4), "stranger": get(stranger, v4),
		}
	}
	const local, all = " host host6 loopback loopback6 ", " first first6 second second6 "
	office := func(when string) {
		t.Helper()
		reaches(t, when+", tcp", clients("tcp", "8080"), "first first6 neighbour"+local)
		reaches(t, when+", udp", clients("udp", "8080"), "first first6 neighbour"+local)
		reaches(t, when+", relayed tcp", clients("tcp", "8090"), "first first6 stranger"+local)
		reaches(t, when+", relayed udp", clients("udp", "8090"), "first first6 stranger"+local)
	}
	office("at first")
	reaches(t, "a port of its own", clients("tcp", "8081"), all+"neighbour stranger"+local)
	matches(t, w)

	// While mybr is away, and behind it; while somebody flushes, and behind that.
	w.KillMybr()
	for _, get := range []string{"second", "second6", "stranger"} {
		unanswered(t, "mybr is away: from "+get, clients("tcp", "8080")[get]())
	}
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	office("after a restart")
	w.Host.Run("sh", "-c", "iptables -F; ip6tables -F; iptables -t nat -F; nft flush chain ip mybr forward; nft flush chain ip6 mybr forward; true")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	office("after a flush")

	publishFromLive(t, w, clients)

	mybrRefuses(t, w, []refusal{
		{"network set n0 mybr.publish.from=10.0.0.1/8", "option mybr.publish.from: 10.0.0.1/8 has bits behind its prefix: want 10.0.0.0/8, or 10.0.0.1"},
		{"network set n0 mybr.publish.from.0=all", "option mybr.publish.from.0: 0 is no port"},
		{"network set n0 mybr.publish.from=@nobody", "option mybr.publish.from: there is no list nobody: make it with mybr list set nobody"},
		{"network set n0 com.docker.network.driver.mtu=1400", "option com.docker.network.driver.mtu can't be changed while the network is there"},
		{"network set n9 mybr.publish.from=all", `network "n9" is unknown`},
		{"endpoint set nobody mybr.publish.from=all", `endpoint "nobody" is unknown`},
		{"list rm office", "list office is in use by network "},
		{"list set office 10.0.0.0/8,x", "list office: x: it is no address"},
	})
	dockerRefuses(t, w, option, [][]string{
		{"network", "create", "-d", "mybr", "-o", option + "=@nobody", "n2"},
		{"network", "create", "-d", "mybr", "-o", option + "=none", "-o", "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected", "n2"},
		{"network", "create", "-d", "mybr", "-o", option + "=none", "--internal", "n2"},
		{"run", "--rm", "--network", "name=n0,driver-opt=" + option + "=10.0.0.1/8", "guest", "true"},
	})
	office("after what was refused")
	matches(t, w)
}

// publishFromLive changes a list, a network and an endpoint while connections are open: those end
// that are no longer allowed, and the others go on.
func publishFromLive(t *testing.T, w *world.World, clients func(network, port string) map[string]func() world.Outcome) {
	port, relayed := world.HostAddr+":8080", "["+world.HostAddr6+"]:8090"
	stay := w.Traffic(w.LANs[1].Flow(report.Stream, world.HostAddr+":8081"), w.Host.Flow(report.Stream, "127.0.0.1:8080"),
		w.Host.Flow(report.Stream, "127.0.0.1:8090"))
	end := w.Traffic(w.LANs[0].Flow(report.Stream, port), w.LANs[0].Flow(report.UDP, port), w.LANs[0].Flow(report.Stream, "["+world.HostAddr6+"]:8080"),
		w.LANs[0].Flow(report.Stream, relayed))
	w.Host.Run("mybr", "list", "set", "office", secondLAN, secondLAN6)
	w.Host.Run("mybr", "network", "set", "n1", "mybr.publish.from=@office")
	const both = " neighbour host host6 loopback loopback6 "
	reaches(t, "another list", clients("tcp", "8080"), "second second6"+both)
	reaches(t, "another list, relayed", clients("tcp", "8090"), "second second6 stranger host host6 loopback loopback6")
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Gap() > time.Second || seen.Unsettled() > 0 {
		t.Errorf("who may be connected was interrupted:\n%v", seen)
	}
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("who may not be connected still is:\n%v", seen)
	}
	matches(t, w)

	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.from=none", "mybr.publish.from.8080/udp="+world.LANAddr)
	reaches(t, "an endpoint", clients("tcp", "8080"), both)
	reaches(t, "an endpoint's port", clients("udp", "8080"), "first"+both)
	shown := w.Host.Run("mybr", "network", "inspect", "n0")
	for _, line := range []string{"mybr.publish.from=@office", "web mybr.publish.from=none (created without)", "web mybr.publish.from.8080/udp=" + world.LANAddr} {
		if !strings.Contains(shown, line) {
			t.Errorf("mybr network inspect does not print %q:\n%s", line, shown)
		}
	}
	if ports := w.Host.Run("mybr", "ports", "web"); !strings.Contains(ports, "none") || !strings.Contains(ports, world.LANAddr) {
		t.Errorf("mybr ports does not say who reaches them:\n%s", ports)
	}
	w.Host.Run("mybr", "endpoint", "set", "web", "mybr.publish.from=", "mybr.publish.from.8080/udp=")
	w.Host.Run("mybr", "network", "set", "n0", "mybr.publish.from=all")
	reaches(t, "all", clients("tcp", "8080"), "first first6 second second6 stranger"+both)
	if shown := w.Host.Run("mybr", "network", "inspect", "n0"); !strings.Contains(shown, "mybr.publish.from=all (created with @office)") {
		t.Errorf("mybr network inspect does not say what was given:\n%s", shown)
	}
	w.Host.Run("mybr", "network", "set", "n0", "mybr.publish.from=")
	w.Host.Run("mybr", "network", "set", "n1", "mybr.publish.from=")
	w.Host.Run("mybr", "list", "set", "office", world.LANAddr, world.LANAddr6)
	if out := w.Host.Run("mybr", "list", "ls"); !strings.Contains(out, "office  1        192.0.2.9/32,2001:db8::9/128") {
		t.Errorf("mybr list ls prints\n%s", out)
	}
	w.Host.Run("mybr", "list", "set", "unused", "10.0.0.0/8")
	w.Host.Run("mybr", "list", "rm", "unused")
	w.Eventually(healWithin, func() error {
		if o := w.LANs[0].Get("tcp", port, soon); o.Code != report.Answered {
			return fmt.Errorf("put back: %v", o)
		}
		return nil
	})
}

// refusal is a command of mybr's, and what its error says.
type refusal struct{ args, says string }

func mybrRefuses(t *testing.T, w *world.World, all []refusal) {
	t.Helper()
	for _, wrong := range all {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(wrong.args)...)...); r.Code != 1 || !strings.Contains(r.Err, wrong.says) {
			t.Errorf("mybr %s: %+v, want %q", wrong.args, r, wrong.says)
		}
	}
}

// dockerRefuses runs commands of Docker's, each of which is refused because of this option.
func dockerRefuses(t *testing.T, w *world.World, option string, all [][]string) {
	t.Helper()
	for _, args := range all {
		if r := w.DockerTry(args...); r.Code == 0 || !strings.Contains(r.Err, "option "+option+": ") {
			t.Errorf("docker %s: %+v", strings.Join(args, " "), r)
		}
	}
}
