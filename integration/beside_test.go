package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// TestBeside runs another manager of the host's firewall beside the engine: what
// networks are for goes on, whatever that does to the rules of all.
func TestBeside(t *testing.T) {
	t.Parallel()
	nft := world.Config{Firewall: world.InShort(world.NFTables)}
	for _, test := range []struct {
		name    string
		observe func(*testing.T, *world.World)
		driver  string // "": any
		cfg     world.Config
	}{
		{name: "firewalld", observe: besideFirewalld},
		{name: "firewalld_comes_later", observe: besideLateFirewalld, cfg: nft},
		{name: "firewalld_of_the_administrator", observe: besideOtherZone, driver: "mybr"}, // Docker's refuses the network
		{name: "ufw", observe: besideUFW, cfg: nft},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.driver != "" && test.driver != world.Driver() {
				t.Skipf("is about the %s driver", test.driver)
			}
			t.Parallel()
			w := world.New(t, test.cfg)
			program, _, _ := strings.Cut(test.name, "_")
			if os.Getenv("MYBR_TEST_ENGINE") != "" && w.Host.Try("sh", "-c", "command -v "+program).Code != 0 {
				t.Skipf("the release of the engine was made without %s", program)
			}
			test.observe(t, w)
		})
	}
}

// firewalld is a running firewalld, with a system bus of the world's own.
type firewalld struct {
	w   *world.World
	run *world.Proc
}

func startFirewalld(w *world.World) *firewalld {
	w.Host.Run("mkdir", "-p", "/run/dbus")
	w.Host.Start("dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address")
	f := &firewalld{w: w}
	f.start()
	return f
}

func (f *firewalld) start() {
	f.run = f.w.Host.Start("sh", "-c", "echo started; exec firewalld --nofork --nopid --log-file=/run/firewalld.log")
	f.w.Eventually(30*time.Second, func() error {
		if r := f.w.Host.Try("firewall-cmd", "--state"); r.Code != 0 {
			return fmt.Errorf("firewalld: %s%s, log: %s", r.Out, r.Err, strings.Join(f.run.Lines(), "\n"))
		}
		return nil
	})
}

// zoneOf is the zone that an interface was put into; "" is none.
func (f *firewalld) zoneOf(link string) string {
	zone := f.w.Host.Try("firewall-cmd", "--get-zone-of-interface="+link).Out
	return strings.Replace(strings.TrimSpace(zone), "no zone", "", 1)
}

// beside is a host with networks of the driver under test and one of Docker's own.
type beside struct {
	w                             *world.World
	web, ben, far, db, dan, their *world.Place
}

// makeBeside makes the networks mybr0 (172.18.0.0/16, with the published port 8088), mybr1
// (172.19.0.0/16) and the internal mybr2 (172.20.0.0/16), and Docker's their0
// (172.21.0.0/16).
func makeBeside(w *world.World) *beside {
	b := &beside{w: w}
	for i, internal := range [][]string{nil, nil, {"--internal"}} {
		w.Network(fmt.Sprint("n", i), append(internal, "--subnet", fmt.Sprintf("172.%d.0.0/16", 18+i), "-o", fmt.Sprint(bridgeName, "mybr", i))...)
	}
	w.Docker("network", "create", "-d", "bridge", "--subnet", "172.21.0.0/16", "-o", bridgeName+"their0", "n3")
	b.web = w.Serve("web", []string{"--net", "n0", "-p", "8088:80", "-p", "8088:80/udp"}, "tcp:80", "udp:80", "tcp:81")
	b.ben = w.Idle("ben", "--net", "n0")
	b.far = w.Serve("far", []string{"--net", "n1"}, "tcp:80")
	b.db = w.Serve("db", []string{"--net", "n2"}, "tcp:80")
	b.dan = w.Idle("dan", "--net", "n2")
	b.their = w.Serve("their", []string{"--net", "n3"}, "tcp:80")
	w.LAN.Start("guest", "serve", "tcp:7000")
	return b
}

// access is a request from one place to another, and whether it is answered. mybrs are those
// that are no better with Docker's own driver, before 28: behind ufw, what goes through
// docker-proxy is what comes in, and is dropped; behind firewalld, internal bridges are
// in no zone; and a client with a route to a container reaches it.
type access struct {
	what, network, to string
	from              *world.Place
	open, mybrs       bool
}

func (b *beside) accesses() (accesses []access) {
	for _, y := range []access{
		{"from the LAN to the published port", "tcp", world.HostAddr + ":8088", b.w.LAN, true, false},
		{"from the LAN to the published port", "udp", world.HostAddr + ":8088", b.w.LAN, true, false},
		{"from the host to the published port", "tcp", world.HostAddr + ":8088", b.w.Host, true, false},
		{"from the host to the published port at 127.0.0.1", "tcp", "127.0.0.1:8088", b.w.Host, true, false},
		{"from the host to the container", "tcp", "172.18.0.2:81", b.w.Host, true, false},
		{"from the host to the internal network", "tcp", "172.20.0.2:80", b.w.Host, true, false},
		{"from the container to the LAN", "tcp", world.LANAddr + ":7000", b.web, true, false},
		{"from the neighbour", "tcp", "172.18.0.2:81", b.ben, true, false},
		{"from the neighbour by the host's address", "tcp", world.HostAddr + ":8088", b.ben, true, true},
		{"from another network by the host's address", "tcp", world.HostAddr + ":8088", b.far, true, true},
		{"from Docker's network by the host's address", "tcp", world.HostAddr + ":8088", b.their, true, true},
		{"inside the internal network", "tcp", "172.20.0.2:80", b.dan, true, true},

		{"from another network", "tcp", "172.18.0.2:81", b.far, false, false},
		{"to another network", "tcp", "172.19.0.2:80", b.web, false, false},
		{"from Docker's network", "tcp", "172.18.0.2:81", b.their, false, false},
		{"to Docker's network", "tcp", theirs, b.web, false, false},
		{"from the internal network to the LAN", "tcp", world.LANAddr + ":7000", b.db, false, false},
		{"from another network to the internal one", "tcp", "172.20.0.2:80", b.web, false, false},
		{"from the LAN to the container", "tcp", "172.18.0.2:81", b.w.LAN, false, true},
	} {
		if !y.mybrs || b.w.Driver == "mybr" {
			accesses = append(accesses, y)
		}
	}
	return accesses
}

// theirs is the container of Docker's network.
const theirs = "172.21.0.2:80"

// only is the requests that are answered, or those that are not.
func only(accesses []access, open bool) []access {
	return slices.DeleteFunc(slices.Clone(accesses), func(y access) bool { return y.open != open })
}

func (y access) try() error {
	flag := "--timeout=2s"
	if !y.open {
		flag = soon
	}
	o := y.from.Get(y.network, y.to, flag)
	if got := o.Code == report.Answered; got != y.open {
		return fmt.Errorf("%s %s: %v", y.network, y.what, o)
	}
	return nil
}

// awaits waits until every request fares as it ought to: firewalls take their time, and
// Docker puts its rules back one by one.
func (b *beside) awaits(t *testing.T, when string, accesses []access) {
	t.Helper()
	for _, y := range accesses {
		b.w.Eventually(20*time.Second, func() error {
			if err := y.try(); err != nil {
				return fmt.Errorf("%s: %w", when, err)
			}
			return nil
		})
	}
}

func besideFirewalld(t *testing.T, w *world.World) {
	f := startFirewalld(w)
	w.RestartDocker() // Docker looks for firewalld when it starts
	b := makeBeside(w)
	routeTo(t, w.LAN, "172.18.0.0/16")
	b.zones(t, f)
	all := b.accesses()
	for _, y := range all {
		if err := y.try(); err != nil {
			t.Errorf("to begin with: %v", err)
		}
	}
	if os.Getenv("MYBR_TEST_ENGINE") != "28.5" { // Docker 20.10 forgets what isolates its bridges when firewalld reloads
		all = slices.DeleteFunc(all, func(y access) bool { return !y.open && w.Driver != "mybr" })
	}
	stream := w.LAN.Start("guest", "stream", world.HostAddr+":8088")
	w.Host.Run("firewall-cmd", "--reload") // the others end connections: firewall-cmd(1)
	flowing(t, w, "after a reload", stream)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"after a reload", func() { w.Host.Run("firewall-cmd", "--reload") }},
		{"after a complete reload", func() { w.Host.Run("firewall-cmd", "--complete-reload") }},
		{"after a restart", func() { f.run.Stop(); f.start() }},
	} {
		c.do()
		b.awaits(t, c.what, all)
		b.zones(t, f)
	}

	// What was published before the reload can be changed after it, and goes.
	w.Docker("rm", "-f", "web", "ben")
	w.Serve("web", []string{"--net", "n0", "-p", "8089:80"}, "tcp:80")
	answered(t, "a port published afterwards", w.LAN.Get("tcp", world.HostAddr+":8089"))
	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "n0")
	if zone := f.zoneOf("mybr0"); zone != "" {
		t.Errorf("mybr0 is gone, and still in the zone %s", zone)
	}
}

// zones compares with what Docker does for its own bridges.
func (b *beside) zones(t *testing.T, f *firewalld) {
	t.Helper()
	bridges := []string{"mybr0", "mybr1", "their0"}
	if b.w.Driver == "mybr" {
		bridges = append(bridges, "mybr2") // Docker leaves internal ones out, before 28
	}
	for _, bridge := range bridges {
		b.w.Eventually(20*time.Second, func() error {
			if zone := f.zoneOf(bridge); zone != "docker" {
				return fmt.Errorf("%s is in the zone %q, want docker", bridge, zone)
			}
			return nil
		})
	}
}

// besideLateFirewalld: neither the bus nor firewalld is there when mybr starts.
func besideLateFirewalld(t *testing.T, w *world.World) {
	b := makeBeside(w)
	f := startFirewalld(w)
	if w.Driver != "mybr" {
		w.RestartDocker() // it has not found the bus when it started
		w.Docker("start", "web", "ben", "far", "db", "dan", "their")
		for name, p := range map[string]**world.Place{"web": &b.web, "ben": &b.ben, "far": &b.far, "db": &b.db, "dan": &b.dan, "their": &b.their} {
			*p = w.Container(name)
		}
		for _, name := range []string{"web", "far", "db", "their"} {
			w.Ready(name)
		}
		b.zones(t, f)
		b.awaits(t, "behind firewalld", only(b.accesses(), true))
		return
	}
	w.Eventually(60*time.Second, func() error { // mybr looks for the bus now and then
		if zone := f.zoneOf("mybr0"); zone != "docker" {
			return fmt.Errorf("mybr0 is in the zone %q, want docker", zone)
		}
		return nil
	})
	var own []access
	for _, y := range b.accesses() {
		if y.from != b.their && y.to != theirs { // Docker knows nothing of it, and its rules are gone
			own = append(own, y)
		}
	}
	b.awaits(t, "behind firewalld", own)

	// The bus and firewalld go; firewalld has flushed all rules on its way out.
	f.run.Stop()
	b.awaits(t, "without firewalld", own)
}

// besideOtherZone: what the administrator has put into a zone stays there. Docker's own
// driver refuses such a network.
func besideOtherZone(t *testing.T, w *world.World) {
	f := startFirewalld(w)
	w.RestartDocker()
	w.Host.Run("firewall-cmd", "--zone=trusted", "--add-interface=mybr0")
	w.Network("n0", "-o", bridgeName+"mybr0")
	w.Serve("web", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	answered(t, "the published port", w.LAN.Get("tcp", world.HostAddr+":8088"))
	w.Docker("rm", "-f", "web")
	w.Docker("network", "rm", "n0")
	if zone := f.zoneOf("mybr0"); zone != "trusted" {
		t.Errorf("mybr0 is in the zone %q, where it was not put", zone)
	}
}

func besideUFW(t *testing.T, w *world.World) {
	b := makeBeside(w)
	routeTo(t, w.LAN, "172.18.0.0/16")
	all := b.accesses()
	before := rules(w)
	for _, command := range [][]string{{"--force", "enable"}, {"reload"}, {"disable"}, {"--force", "enable"}} {
		what := "ufw " + command[len(command)-1]
		w.Host.Run(append([]string{"ufw"}, command...)...)
		now := rules(w)
		for _, rule := range before {
			if !strings.HasPrefix(rule, ":") && !slices.Contains(now, rule) {
				t.Errorf("%s: the rule is gone: %s", what, rule)
			}
		}
		for _, y := range all {
			if err := y.try(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	// And what is made while it is there.
	w.Network("n4", "--subnet", "172.22.0.0/16")
	late := w.Serve("late", []string{"--net", "n4", "-p", "8089:80"}, "tcp:80")
	answered(t, "a port published behind ufw", w.LAN.Get("tcp", world.HostAddr+":8089"))
	answered(t, "from a network made behind ufw", late.Get("tcp", world.LANAddr+":7000"))
	unanswered(t, "to another network", late.Get("tcp", "172.18.0.2:81", soon))
}
