package integration

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestPort changes the published ports of containers that run, under traffic.
func TestPort(t *testing.T) {
	withBackend(t, world.IPTables, []string{secondLAN}, portsLive)
}

// port runs mybr port, and returns what it prints.
func port(w *world.World, args string) string {
	return w.Host.Run(append([]string{"mybr", "port"}, strings.Fields(args)...)...)
}

func portsLive(t *testing.T, w *world.World) {
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "n0")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr1", "--subnet", "172.19.0.0/16", "-o", "mybr.publish.from="+world.LANAddr+","+world.LANAddr6, "n1")
	w.Serve("web", []string{"--net", "n0", "-p", "8080:80"}, "tcp:80", "tcp:81", "udp:81", "tcp:82")
	w.Serve("relayed", []string{"--net", "n1"}, "tcp:80", "udp:80")
	w.StartDockerProxy()
	places := map[string][]*world.Place{"first": {w.LANs[0]}, "second": {w.LANs[1]}, "host": {w.Host}}
	clients := func(network, port string) map[string]func() world.Outcome {
		all := map[string]func() world.Outcome{}
		for name, at := range places {
			all[name] = func() world.Outcome { return at[0].Get(network, world.HostAddr+":"+port, soon) }
			all[name+"6"] = func() world.Outcome { return at[0].Get(network, "["+world.HostAddr6+"]:"+port, soon) }
		}
		all["loopback"] = func() world.Outcome { return w.Host.Get(network, "127.0.0.1:"+port, soon) }
		return all
	}
	const everybody = "first first6 second second6 host host6 loopback"
	stay := w.Traffic(w.LANs[0].Flow(report.Stream, world.HostAddr+":8080"), w.LANs[0].Flow(report.Connects, "["+world.HostAddr6+"]:8080"))

	reaches(t, "before", clients("tcp", "8081"), "")
	out := port(w, "add web 8081:81 8081:81/udp")
	for _, line := range []string{"81/tcp -> 0.0.0.0:8081", "81/tcp -> [::]:8081", "81/udp -> 0.0.0.0:8081", "81/udp -> [::]:8081"} {
		if !slices.Contains(strings.Split(out, "\n"), line) {
			t.Errorf("mybr port add does not print %q:\n%s", line, out)
		}
	}
	reaches(t, "added", clients("tcp", "8081"), everybody)
	reaches(t, "added", clients("udp", "8081"), everybody)
	if chosen := port(w, "add web 127.0.0.1::82"); !strings.HasPrefix(chosen, "82/tcp -> 127.0.0.1:") {
		t.Errorf("mybr port add prints %q", chosen)
	} else {
		_, number, _ := strings.Cut(chosen, "127.0.0.1:")
		reaches(t, "a chosen port", clients("tcp", strings.TrimSpace(number)), "loopback")
	}
	port(w, "add relayed 8090:80 8090:80/udp") // IPv6 is relayed, and the network has clients
	reaches(t, "limited and relayed", clients("tcp", "8090"), "first first6 host host6 loopback")
	reaches(t, "limited and relayed", clients("udp", "8090"), "first first6 host host6 loopback")
	if shown := w.Host.Run("mybr", "ports", "web"); !strings.Contains(shown, "ADDED") || strings.Count(shown, "  yes") != 5 {
		t.Errorf("mybr ports does not say what was added:\n%s", shown)
	}
	if shown := w.Proxied("port", "web"); !strings.Contains(shown, "81/tcp -> 0.0.0.0:8081") || !strings.Contains(shown, "81/udp -> [::]:8081") {
		t.Errorf("docker port by the proxy does not show what was added:\n%s", shown)
	}
	if shown := w.Proxied("ps", "--filter", "publish=8090/udp", "--format", "{{.Names}}"); strings.TrimSpace(shown) != "relayed" {
		t.Errorf("docker ps by the proxy finds %q", shown)
	}
	events := w.Host.Start("mybr", "events", "--history")
	w.Eventually(healWithin, func() error {
		for _, line := range events.Lines() {
			if strings.Contains(line, "port-published") && strings.Contains(line, "tcp 0.0.0.0:8081 -> 172.18.0.2:81") {
				return nil
			}
		}
		return errors.New("mybr events does not tell of what was added")
	})
	events.Stop()
	matches(t, w)

	portsRefused(t, w)

	w.KillMybr()
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	reaches(t, "after a restart", clients("tcp", "8081"), everybody)
	reaches(t, "after a restart", clients("udp", "8081"), everybody)
	reaches(t, "limited and relayed, after a restart", clients("tcp", "8090"), "first first6 host host6 loopback")

	goOn := w.Traffic(w.LANs[0].Flow(report.Stream, world.HostAddr+":8081"), w.LANs[1].Flow(report.Stream, "["+world.HostAddr6+"]:8081"))
	end := w.Traffic(w.LANs[0].Flow(report.UDP, world.HostAddr+":8090"), w.LANs[0].Flow(report.Stream, "["+world.HostAddr6+"]:8090"))
	port(w, "rm web 8081:81")
	port(w, "rm relayed 8090:80 8090:80/udp")
	reaches(t, "removed", clients("tcp", "8081"), "")
	reaches(t, "removed", clients("tcp", "8090"), "")
	reaches(t, "what is beside it", clients("udp", "8081"), everybody)
	if seen := end.Stop(); seen.Unsettled() != len(seen) {
		t.Errorf("UDP and what is relayed goes on by ports that were removed:\n%v", seen)
	}
	if seen := goOn.Stop(); seen.Broken() > 0 || seen.Unsettled() > 0 {
		t.Errorf("connections that NAT carries end with the port:\n%v", seen)
	}
	if seen := stay.Stop(); seen.Broken() > 0 || seen.Gap() > 5*time.Second || seen.Unsettled() > 0 {
		t.Errorf("a port that was not changed was interrupted:\n%v", seen)
	}
	portsThatMove(t, w, clients, everybody)
	portsOpened(t, w)

	// Docker's own port, until the container is started again.
	port(w, "rm web 8080:80")
	reaches(t, "Docker's own, removed", clients("tcp", "8080"), "")
	if shown := w.Host.Run("mybr", "ports", "web"); !strings.Contains(shown, "web: tcp 0.0.0.0:8080 -> 172.18.0.2:80 was taken away until the container is started again") {
		t.Errorf("mybr ports does not say what was taken away:\n%s", shown)
	}
	if shown := w.Proxied("port", "web"); strings.Contains(shown, "8080") {
		t.Errorf("docker port by the proxy shows what was taken away:\n%s", shown)
	}
	matches(t, w)
	w.RestartMybr()
	reaches(t, "Docker's own, removed, after a restart", clients("tcp", "8080"), "")
	w.Docker("restart", "-t", "0", "web")
	w.Ready("web")
	reaches(t, "started again", clients("tcp", "8080"), everybody)
	reaches(t, "what was added, started again", clients("udp", "8081"), "")
	if shown := w.Host.Run("mybr", "ports", "web"); strings.Contains(shown, "ADDED") || strings.Contains(shown, "taken away") {
		t.Errorf("something is left:\n%s", shown)
	}
	matches(t, w)
}

// portsRefused asks for what can't be had: nothing changes.
func portsRefused(t *testing.T, w *world.World) {
	w.Docker("network", "create", "-d", "mybr", "--internal", "--subnet", "172.22.0.0/16", "inner")
	w.Idle("inside", "--net", "inner")
	holder := w.Host.Start("guest", "serve", "tcp:9090")
	defer holder.Stop()
	before := w.Host.Run("mybr", "ports", "-o", "json", "--docker", "none")
	for _, c := range []struct{ args, says string }{
		{"add web 8082:82 8080:81", "Bind for 0.0.0.0:8080 failed: port is already allocated"},
		{"add relayed 8081:80", "Bind for 0.0.0.0:8081 failed: port is already allocated"},
		{"add web 9090:82", "failed to bind host port for 0.0.0.0:9090:172.18.0.2:82/tcp: address already in use"},
		{"add web 203.0.113.77:9091:82", "failed to bind host port for 203.0.113.77:9091:172.18.0.2:82/tcp: cannot assign requested address"},
		{"add web 8082:0", `port "8082:0": 0 is no container port: want a number from 1 to 65535, or a range such as 8000-8010`},
		{"add inside 8082:82", "is internal and publishes nothing"},
		{"add nobody 8082:82", `container "nobody" is unknown`},
		{"rm web 8080:80 8082:82", "port 8082:82/tcp of the container is not published"},
		{"rm relayed 8080:80", "port 8080:80/tcp of the container is not published"},
	} {
		r := w.Host.Try(append([]string{"mybr", "port"}, strings.Fields(c.args)...)...)
		if r.Code != 1 || !strings.Contains(r.Err, c.says) || strings.Contains(r.Err, "Internal Server Error") {
			t.Errorf("mybr port %s: %+v, want %q", c.args, r, c.says)
		}
	}
	after := w.Host.Run("mybr", "ports", "-o", "json", "--docker", "none")
	if before, after := withoutCounts(before), withoutCounts(after); before != after {
		t.Errorf("what was refused has changed something, from\n%s\nto\n%s", before, after)
	}
	matches(t, w)
}

// withoutCounts is JSON without the lines that count connections.
func withoutCounts(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.Contains(line, `"connections"`) }), "\n")
}

// portsThatMove has another network become the container's default route, and then the first again.
func portsThatMove(t *testing.T, w *world.World, clients func(network, port string) map[string]func() world.Outcome, everybody string) {
	w.Docker("network", "create", "-d", "mybr", "--ipv6", "--subnet", "172.21.0.0/16", "--subnet", "fd00:21::/64", "a0")
	where := func(when, address string) {
		t.Helper()
		reaches(t, when, clients("tcp", "8080"), everybody)
		reaches(t, when, clients("udp", "8081"), everybody)
		if shown := w.Host.Run("mybr", "ports", "web"); strings.Count(shown, address) != 3 { // two, and the one at 127.0.0.1
			t.Errorf("%s: not all are published at %s:\n%s", when, address, shown)
		}
	}
	w.Docker("network", "connect", "a0", "web")
	where("another default route", w.Addr("web", "a0"))
	port(w, "add web 8083:82")
	reaches(t, "added there", clients("tcp", "8083"), everybody)
	port(w, "rm web 8083:82")
	w.Docker("network", "disconnect", "a0", "web")
	reaches(t, "the first again", clients("tcp", "8080"), everybody)
	port(w, "add web 8081:81/udp") // what was added ended with the endpoint that had it last
	reaches(t, "the first again", clients("udp", "8081"), everybody)
	matches(t, w)
}

// portsOpened opens ports of a routed network at the container's own address.
func portsOpened(t *testing.T, w *world.World) {
	w.Docker("network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "--subnet", "172.23.0.0/16", "r0")
	w.Serve("routed", []string{"--net", "r0", "-p", "8070:80"}, "tcp:80", "tcp:81")
	routeTo(t, w.LAN, "172.23.0.0/16")
	get := func(port string) world.Outcome { return w.LAN.Get("tcp", "172.23.0.2:"+port, soon) }
	answered(t, "routed", get("80"))
	unanswered(t, "not published yet", get("81"))
	if out := port(w, "add routed 8071:81"); strings.TrimSpace(out) != "81/tcp -> 172.23.0.2:81" {
		t.Errorf("mybr port add prints %q", out)
	}
	answered(t, "opened", get("81"))
	unanswered(t, "at the host's address", w.LAN.Get("tcp", world.HostAddr+":8071", soon))
	matches(t, w)
	port(w, "rm routed 81 80")
	unanswered(t, "closed", get("81"))
	unanswered(t, "Docker's own, closed", get("80"))
	matches(t, w)
}
