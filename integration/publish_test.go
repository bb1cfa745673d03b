package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/plugin"
)

// TestPublish observes every form of -p, with packets.
func TestPublish(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, test := range []struct {
		name    string
		observe func(*testing.T, *world.World)
		driver  string // "": any
		cfg     world.Config
	}{
		{name: "ranges", observe: publishRanges, cfg: nft},
		{name: "chosen_ports", observe: publishChosen, driver: "mybr"}, // Docker can tell of its own driver's only
		{name: "host_addresses", observe: publishAddresses},
		{name: "direct_routing", observe: publishDirect, driver: "mybr", cfg: nft}, // Docker's driver forbids it from 28.0 on
		{name: "UDP_port_changes_hands", observe: publishUDP, cfg: nft},
		{name: "connect_and_disconnect", observe: publishConnect, driver: "mybr"},
		{name: "held", observe: publishHeld},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.driver != "" && test.driver != world.Driver() {
				t.Skipf("is about the %s driver", test.driver)
			}
			t.Parallel()
			test.observe(t, world.New(t, test.cfg))
		})
	}
}

func publishRanges(t *testing.T, w *world.World) {
	article(w)
	before := len(rules(w))
	web := w.Serve("web", []string{"--net", "n0", "-p", "7000-7099:7000-7099", "-p", "8000-8099:100-199", "-p", "8000-8099:100-199/udp"},
		"tcp:7000", "tcp:7057", "tcp:7099", "tcp:100", "tcp:142", "tcp:199", "udp:100", "udp:142", "udp:199")
	if w.Driver == "mybr" && w.Backend() == world.IPTables {
		if n := len(rules(w)) - before; n != 3 {
			t.Errorf("300 ports took %d rules, want 3", n)
		}
	}
	places := map[string]*world.Place{world.LANAddr: w.LAN, world.HostAddr: w.Host}
	for client, from := range places {
		for host, container := range map[int]int{7000: 7000, 7057: 7057, 7099: 7099, 8000: 100, 8042: 142, 8099: 199} {
			o := from.Get("tcp", fmt.Sprintf("%s:%d", world.HostAddr, host))
			seenAs(t, fmt.Sprintf("tcp port %d", host), o, client)
			if o.Code == report.Answered && int(o.Answer.Server.Port()) != container {
				t.Errorf("tcp port %d leads to %d, want %d", host, o.Answer.Server.Port(), container)
			}
		}
		for host, container := range map[int]int{8000: 100, 8042: 142, 8099: 199} {
			o := from.Get("udp", fmt.Sprintf("%s:%d", world.HostAddr, host))
			seenAs(t, fmt.Sprintf("udp port %d", host), o, client)
			if o.Code == report.Answered && int(o.Answer.Server.Port()) != container {
				t.Errorf("udp port %d leads to %d, want %d", host, o.Answer.Server.Port(), container)
			}
		}
	}
	answered(t, "127.0.0.1, in the middle of a shifted range", w.Host.Get("tcp", "127.0.0.1:8042"))
	answered(t, "from itself, in the middle of a shifted range", web.Get("tcp", world.HostAddr+":8042"))
	for _, port := range []string{"6999", "7100", "7999", "8100"} {
		unanswered(t, "port "+port+", beside the range", w.LAN.Get("tcp", world.HostAddr+":"+port, soon))
	}
}

// published asks mybr what is published.
func published(t *testing.T, w *world.World) []view.Port {
	t.Helper()
	all, err := plugin.Client{RunDir: w.Path("/run/mybr")}.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all.Ports
}

func publishChosen(t *testing.T, w *world.World) {
	article(w)
	w.Host.Sysctl("net/ipv4/ip_local_port_range", "40000 40005")
	w.Host.Sysctl("net/ipv4/ip_local_reserved_ports", "40001-40002")
	serve := func(name string, args ...string) string {
		w.Serve(name, append([]string{"--net", "n0"}, args...), "tcp:80")
		return w.Addr(name, "n0")
	}
	host := func(addr string) (found []string) {
		for _, p := range published(t, w) {
			if p.Container.Addr().String() == addr && p.Host.Addr().Is4() {
				found = append(found, fmt.Sprint(p.Host.Port()))
			}
		}
		return found
	}
	var chosen []string
	for _, name := range []string{"anna", "ben", "carl", "dora"} {
		got := host(serve(name, "-p", "80"))
		if len(got) != 1 || !slices.Contains([]string{"40000", "40003", "40004", "40005"}, got[0]) || slices.Contains(chosen, got[0]) {
			t.Errorf("%s got the ports %v, after %v", name, got, chosen)
			continue
		}
		chosen = append(chosen, got[0])
		o := w.LAN.Get("tcp", world.HostAddr+":"+got[0])
		if answered(t, name, o); o.Answer.Name != name {
			t.Errorf("port %s leads to %s, want %s", got[0], o.Answer.Name, name)
		}
	}
	r := w.DockerTry("run", "--rm", "--net", "n0", "-p", "80", world.Image, "sysctl", "kernel.hostname")
	if r.Code != 125 || !strings.Contains(r.Err, "all ports are allocated") {
		t.Errorf("a fifth container: exit code %d, %s", r.Code, r.Err)
	}
	w.Host.Sysctl("net/ipv4/ip_local_port_range", "50000 60999") // the host's own connections need some too
	for _, port := range chosen {
		answered(t, "at [::1]", w.Host.Get("tcp", "[::1]:"+port))
	}
	for i, name := range []string{"emma", "fred"} {
		if got, want := host(serve(name, "-p", "9000-9001:80")), fmt.Sprint(9000+i); !slices.Equal(got, []string{want}) {
			t.Errorf("%s got the ports %v of 9000-9001, want %s", name, got, want)
		}
	}
	r = w.DockerTry("run", "--rm", "--net", "n0", "-p", "9000-9001:80", world.Image, "sysctl", "kernel.hostname")
	if r.Code != 125 || !strings.Contains(r.Err, "failed to bind a host port of 0.0.0.0:9000-9001/tcp: all ports are allocated") {
		t.Errorf("a third container on 9000-9001: exit code %d, %s", r.Code, r.Err)
	}
}

func publishAddresses(t *testing.T, w *world.World) {
	article(w)
	second(t, w)
	w.Serve("web", []string{"--net", "n0", "-p", world.HostAddr + ":8001:80", "-p", "127.0.0.1:8002:80", "-p", "0.0.0.0:8003:80", "-p", "127.0.0.2:8002:81"}, "tcp:80", "tcp:81")
	seenAs(t, "at the one address", w.LAN.Get("tcp", world.HostAddr+":8001"), world.LANAddr)
	unanswered(t, "at the other address", w.LAN.Get("tcp", "192.0.2.3:8001", soon))
	unanswered(t, "at 127.0.0.1, published elsewhere", w.Host.Get("tcp", "127.0.0.1:8001", soon))
	answered(t, "at 127.0.0.1", w.Host.Get("tcp", "127.0.0.1:8002"))
	if o := w.Host.Get("tcp", "127.0.0.2:8002"); o.Answer.Server.Port() != 81 {
		t.Errorf("at 127.0.0.2: %v, want the server at port 81", o)
	}
	unanswered(t, "at a loopback port from the host's address", w.Host.Get("tcp", world.HostAddr+":8002", soon))
	unanswered(t, "at a loopback port from the LAN", w.LAN.Get("tcp", world.HostAddr+":8002", soon))
	answered(t, "at 0.0.0.0", w.Host.Get("tcp", "127.0.0.1:8003"))
	unanswered(t, "at ::1, published for IPv4 alone", w.Host.Get("tcp", "[::1]:8003", soon))

	if w.Driver == "bridge" {
		return // it keeps martians out from 28.0 on
	}
	// A host of the LAN routes 127.0.0.0/8 here, and this host even takes it.
	for _, p := range []*world.Place{w.Host, w.LAN} {
		for _, name := range []string{"all", "eth0"} {
			p.Sysctl("net/ipv4/conf/"+name+"/route_localnet", "1")
			p.Sysctl("net/ipv4/conf/"+name+"/rp_filter", "0")
		}
	}
	w.LAN.Run("ip", "route", "add", "127.0.0.2/32", "via", world.HostAddr, "src", world.LANAddr)
	w.LAN.Run("ip", "route", "del", "local", "127.0.0.0/8", "table", "local")
	unanswered(t, "at a loopback port by a routed martian", w.LAN.Get("tcp", "127.0.0.2:8002", soon))
}

func publishDirect(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16", "-o", "com.docker.network.bridge.enable_ip_masquerade=false")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80", "tcp:81")
	bare := w.Serve("bare", []string{"--net", "n1", "-p", "8089:80"}, "tcp:80", "tcp:81")
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	for _, subnet := range []string{"172.18.0.0/16", "172.19.0.0/16"} {
		routeTo(t, w.LAN, subnet)
	}
	for _, addr := range []string{"172.18.0.2", "172.19.0.2"} {
		unanswered(t, "ping "+addr, w.LAN.Ping(addr, soon))
		for _, port := range []string{"80", "81"} {
			unanswered(t, "directly to "+addr+":"+port, w.LAN.Get("tcp", addr+":"+port, soon))
		}
	}
	for _, port := range []string{"8088", "8089"} {
		seenAs(t, "the published port "+port, w.LAN.Get("tcp", world.HostAddr+":"+port), world.LANAddr)
	}
	seenAs(t, "out without masquerade", bare.Get("tcp", world.LANAddr+":7000"), "172.19.0.2")
	seenAs(t, "udp out without masquerade", bare.Get("udp", world.LANAddr+":7000"), "172.19.0.2")
	answered(t, "ping out without masquerade", bare.Ping(world.LANAddr))
}

// publishUDP: one client, one source port, and a port that one container after the
// other has: flows must not stick to the one that was there before.
func publishUDP(t *testing.T, w *world.World) {
	article(w)
	ask := func(when, want string) {
		t.Helper()
		for _, from := range []*world.Place{w.LAN, w.Host} {
			o := from.Get("udp", world.HostAddr+":8088", "--source-port=5555")
			if answered(t, when+", "+from.Name, o); o.Code == report.Answered && o.Answer.Name != want {
				t.Errorf("%s: %s is answered by %s, want %s", when, from.Name, o.Answer.Name, want)
			}
		}
	}
	// Before anybody has the port, the flow leads to the host itself.
	unanswered(t, "before", w.LAN.Get("udp", world.HostAddr+":8088", "--source-port=5555", soon))
	for _, name := range []string{"anna", "ben", "carl"} {
		w.Serve(name, []string{"--net", "n0", "-p", "8088:80/udp"}, "udp:80")
		ask(name+" has the port", name)
		w.Docker("network", "disconnect", "n0", name) // it goes on, so that its address isn't given again
		w.Idle("instead-of-"+name, "--net", "n0")
	}
}

// publishConnect: a container that is connected to a second network keeps its ports
// where they are; one that is disconnected loses them.
func publishConnect(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	w.Docker("network", "connect", "n1", "web")
	seenAs(t, "connected to both", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	w.Docker("network", "disconnect", "n0", "web")
	seenAs(t, "left with the second", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
	if list := published(t, w); len(list) == 0 || list[0].Container.Addr().String() != "172.19.0.2" {
		t.Errorf("published is %+v, want 172.19.0.2", list)
	}
	w.Docker("network", "disconnect", "n1", "web")
	unanswered(t, "left with none", w.LAN.Get("tcp", world.HostAddr+":8088", soon))
	if list := published(t, w); len(list) != 0 {
		t.Errorf("still published is %+v", list)
	}
	w.Docker("network", "connect", "n0", "web")
	seenAs(t, "connected again", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
}

// publishHeld: a published port is taken for every other program, Docker's own driver
// included, and the other way round.
func publishHeld(t *testing.T, w *world.World) {
	article(w)
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "127.0.0.1:8089:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80")
	for _, server := range []string{"tcp:0.0.0.0:8088", "tcp:" + world.HostAddr + ":8088", "tcp:127.0.0.1:8088", "tcp:[::1]:8088", "tcp:127.0.0.1:8089", "tcp:0.0.0.0:8089", "udp:0.0.0.0:8088", "udp:127.0.0.1:8088"} {
		if r := w.Host.Try("guest", "serve", server); r.Code == 0 || !strings.Contains(r.Err, "address already in use") {
			t.Errorf("another program takes %s: exit code %d, %s", server, r.Code, r.Err)
		}
	}
	w.Docker("network", "create", "-d", "bridge", "theirs")
	if r := w.DockerTry("run", "--rm", "--net", "theirs", "-p", "8088:80", world.Image, "sysctl", "kernel.hostname"); r.Code != 125 {
		t.Errorf("a container of Docker's own driver takes 8088: exit code %d, %s", r.Code, r.Err)
	}
	w.Docker("rm", "-f", "web")
	w.Serve("second", []string{"--net", "theirs", "-p", "8088:80"}, "tcp:80")
	r := w.DockerTry("run", "--rm", "--net", "n0", "-p", "8088:80", world.Image, "sysctl", "kernel.hostname")
	if r.Code != 125 || !strings.Contains(r.Err, "8088") {
		t.Errorf("a container takes 8088 from Docker's own driver: exit code %d, %s", r.Code, r.Err)
	}
	seenAs(t, "Docker's own driver keeps it", w.LAN.Get("tcp", world.HostAddr+":8088"), world.LANAddr)
}
