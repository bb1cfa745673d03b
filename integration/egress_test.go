package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestEgress is about what containers may begin connections to, with packets of those who try
// otherwise. Each path is shown to be open without a list.
func TestEgress(t *testing.T) {
	withEachBackend(t, []string{secondLAN}, egress)
}

func egress(t *testing.T, w *world.World) {
	const option = "mybr.egress"
	for _, lan := range w.LANs {
		lan.Start("guest", "serve", "tcp:80", "udp:80", "tcp:81")
	}
	w.Host.Start("guest", "serve", "tcp:90", "udp:90")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "n1")
	w.Serve("other", []string{"--net", "n1", "--ip", "172.19.0.2", "-p", "8080:80"}, "tcp:80")
	w.Serve("neighbour", []string{"--net", "n0", "--ip", "172.18.0.9"}, "tcp:80")
	app := w.Serve("app", []string{"--net", "n0", "-p", "8090:80"}, "tcp:80")
	get := func(network, to string) func() world.Outcome {
		return func() world.Outcome { return app.Get(network, to, soon) }
	}
	paths := map[string]func() world.Outcome{
		"first": get("tcp", world.LANAddr+":80"), "first6": get("tcp", "["+world.LANAddr6+"]:80"), "firstudp": get("udp", world.LANAddr+":80"), "first81": get("tcp", world.LANAddr+":81"),
		"second": get("tcp", secondLAN+":80"), "second6": get("tcp", "["+secondLAN6+"]:80"),
		"gateway": get("tcp", "172.18.0.1:90"), "gatewayudp": get("udp", "172.18.0.1:90"), "host": get("tcp", world.HostAddr+":90"), "host6": get("tcp", "["+world.HostAddr6+"]:90"),
		"published": get("tcp", world.HostAddr+":8080"), "published6": get("tcp", "["+world.HostAddr6+"]:8080"), "publishedat": get("tcp", "172.18.0.1:8080"),
		"neighbour": get("tcp", "172.18.0.9:80"),
	}
	all := func() (names string) {
		for name := range paths {
			names += " " + name
		}
		return names
	}()
	open := func(what, want string) {
		t.Helper()
		reaches(t, what, paths, want)
		answered(t, what+": the LAN, at the published port", w.LANs[0].Get("tcp", world.HostAddr+":8090", soon))
	}
	set := func(args ...string) { t.Helper(); w.Host.Run(append([]string{"mybr"}, args...)...) }

	open("without a list", all)
	set("network", "set", "n0", option+"=none")
	open("none", "neighbour")
	matches(t, w)
	set("list", "set", "apis", world.LANAddr+":80/tcp", "["+world.LANAddr6+"]:80")
	set("network", "set", "n0", option+"=@apis,host:90/tcp")
	open("a list", "first first6 gateway host host6 neighbour")
	set("network", "set", "n0", option+"="+world.HostAddr+",["+world.HostAddr6+"]:8080")
	open("the host's address", "host published published6 neighbour")
	set("network", "set", "n0", option+"=172.19.0.0/16")
	open("the other network's addresses", "neighbour")

	// While mybr is away, and behind it; while somebody flushes, and behind that.
	set("network", "set", "n0", option+"=@apis")
	w.KillMybr()
	unanswered(t, "mybr is away: the gateway", paths["gateway"]())
	unanswered(t, "mybr is away: the LAN", paths["second"]())
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	open("after a restart", "first first6 neighbour")
	w.Host.Run("sh", "-c", "iptables -F; ip6tables -F; iptables -t nat -F; nft flush table ip mybr; nft flush table ip6 mybr; true")
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	open("after a flush", "first first6 neighbour")

	// What has begun ends, or goes on.
	set("network", "set", "n0", option+"=")
	stay := w.Traffic(app.Flow(report.Stream, world.LANAddr+":80"), w.LANs[1].Flow(report.Stream, world.HostAddr+":8090"))
	end := w.Traffic(app.Flow(report.Stream, secondLAN+":80"), app.Flow(report.UDP, world.LANAddr+":80"), app.Flow(report.Stream, "172.18.0.1:90"),
		app.Flow(report.Stream, world.HostAddr+":8080"))
	set("network", "set", "n0", option+"=@apis")
	open("a list that comes", "first first6 neighbour")
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Gap() > time.Second || seen.Unsettled() > 0 {
		t.Errorf("what may go on was interrupted:\n%v", seen)
	}
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("what may not go on does:\n%v", seen)
	}

	// One container, live and as it is created.
	set("endpoint", "set", "app", option+"=host:90")
	open("a container", "gateway gatewayudp host host6 neighbour")
	if shown := w.Host.Run("mybr", "network", "inspect", "n0"); !strings.Contains(shown, "mybr.egress=@apis (created without)") || !strings.Contains(shown, "app mybr.egress=host:90 (created without)") {
		t.Errorf("mybr network inspect does not say what is set:\n%s", shown)
	}
	sandbox := w.Idle("sandbox", "--network", "name=n0,driver-opt="+option+"=none")
	unanswered(t, "a sandbox: the LAN", sandbox.Get("tcp", world.LANAddr+":80", soon))
	unanswered(t, "a sandbox: the host", sandbox.Get("tcp", "172.18.0.1:90", soon))
	answered(t, "a sandbox: a neighbour", sandbox.Get("tcp", "172.18.0.9:80", soon))
	matches(t, w)
	if rules := w.Host.Run("mybr", "rules"); !strings.Contains(rules, "What the container with this address may begin.") {
		t.Errorf("mybr rules does not tell the reason:\n%s", rules)
	}
	for _, wrong := range []struct{ args, says string }{
		{"network set n0 mybr.egress=a.*.example.com", "option mybr.egress: a.*.example.com: * stands at the beginning of a name alone"},
		{"network set n0 mybr.egress=@nobody", "option mybr.egress: there is no list nobody"},
		{"list rm apis", "list apis is in use by network "},
		{"network set n1 mybr.publish.from=@apis", "option mybr.publish.from: list apis has "},
	} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(wrong.args)...)...); r.Code != 1 || !strings.Contains(r.Err, wrong.says) {
			t.Errorf("mybr %s: %+v, want %q", wrong.args, r, wrong.says)
		}
	}
	w.Docker("rm", "-f", "sandbox")
	set("endpoint", "set", "app", option+"=")
	set("network", "set", "n0", option+"=all")
	open("all", all)
	matches(t, w)
}

// TestEgressForgedBeginning: a packet from the address of somebody outside, which a container
// sends itself, looks to the host like the beginning of a connection from there; what the
// container sends then would be answers. Where there is a list no such packet gets into the
// bridge.
func TestEgressForgedBeginning(t *testing.T) {
	withEachBackend(t, nil, forgedBeginning)
}

func forgedBeginning(t *testing.T, w *world.World) {
	const last = 9998 // the port of what may be sent
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64",
		"-o", fmt.Sprintf("mybr.egress=%s:%d/udp,[%s]:%d/udp", world.LANAddr, last, world.LANAddr6, last), "n0")
	eve := w.Idle("eve", "--net", "n0", "--ip", "172.18.0.2", "--ip6", "fd00:18::2", "-p", "53:9053/udp")
	var round uint
	// out reports in which families eve's datagrams reach a port of the LAN that is not listed.
	out := func() (families string) {
		t.Helper()
		round++
		wire := w.LAN.Sniff("eth0")
		defer wire.Stop()
		port := 10000 + round // another connection each time
		send := func(src, dst string, sport, dport uint) {
			eve.Run("guest", "send", "-src", src, "-proto", "udp", "-sport", fmt.Sprint(sport), "-dport", fmt.Sprint(dport), dst)
		}
		for _, a := range [][3]string{{"172.18.0.2", world.HostAddr, world.LANAddr}, {"fd00:18::2", world.HostAddr6, world.LANAddr6}} {
			send(a[2], a[1], port, 53)
			send(a[0], a[2], 9053, port)
		}
		send("172.18.0.2", world.LANAddr, 9053, last)
		send("fd00:18::2", world.LANAddr6, 9053, last)
		w.Eventually(healWithin, func() error {
			families = ""
			arrived := 0
			for _, p := range wire.Packets() {
				switch {
				case p.Proto == "udp" && p.DstPort == last:
					arrived++
				case p.Proto == "udp" && p.DstPort == uint16(port) && p.Dst.Is4():
					families += "4"
				case p.Proto == "udp" && p.DstPort == uint16(port):
					families += "6"
				}
			}
			if arrived < 2 {
				return fmt.Errorf("of what may be sent %d arrive, want one of each family", arrived)
			}
			return nil
		})
		return families
	}
	if got := out(); got != "" {
		t.Errorf("datagrams of family %s get past the list", got)
	}
	w.KillMybr()
	w.Host.Run("nft", "delete", "table", "bridge", "mybr-spoof")
	if got := out(); !strings.Contains(got, "6") { // of IPv4, rp_filter may keep them back
		t.Errorf("without the check of senders the test says nothing: %q get past the list", got)
	}
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	if got := out(); got != "" {
		t.Errorf("healed: datagrams of family %s get past the list", got)
	}
	for command, says := range map[string]string{
		"network set n0 mybr.spoof=allow":                "option mybr.spoof: allow can't be had together with mybr.egress",
		"endpoint set --network n0 eve mybr.spoof=allow": "option mybr.spoof: allow can't be had together with mybr.egress",
	} {
		if r := w.Host.Try(append([]string{"mybr"}, strings.Fields(command)...)...); r.Code != 1 || !strings.Contains(r.Err, says) {
			t.Errorf("mybr %s: %+v, want %q", command, r, says)
		}
	}
}
