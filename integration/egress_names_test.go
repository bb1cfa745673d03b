package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// namedHosts is a world in which containers may reach hosts by their names: a name server and a site
// on the LAN, and another site that is not listed.
type namedHosts struct {
	*world.World
	t   *testing.T
	app *world.Place
}

const (
	namedList  = "site.example,*.cdn.example,git.example:22," + world.LANAddr + ":81/tcp"
	namedTrust = "/run/site.pem" // the certificate of the sites, on the host
	elsewhere  = "192.0.2.77"    // an address of nobody's
	elsewhere6 = "2001:db8::77"
)

func newNamed(t *testing.T, w *world.World, list string) *namedHosts {
	t.Helper()
	n := &namedHosts{World: w, t: t}
	both := func(addr, addr6 string) string { return addr + "," + addr6 }
	w.LANs[0].Start("guest", "zone", "site.example="+both(world.LANAddr, world.LANAddr6), "*.cdn.example="+both(world.LANAddr, world.LANAddr6),
		"git.example="+both(world.LANAddr, world.LANAddr6), "evil.example="+both(secondLAN, secondLAN6),
		"inside.cdn.example=172.18.0.9", "host.cdn.example="+both(world.HostAddr, world.HostAddr6))
	w.LANs[0].Start("guest", "site", namedTrust, "site.example", "a.cdn.example", "host.cdn.example")
	w.LANs[0].Start("guest", "serve", "tcp:22", "udp:22", "tcp:81")
	w.LANs[1].Start("guest", "site", "/run/evil.pem", "evil.example")
	w.LANs[1].Start("guest", "serve", "tcp:22")
	w.Docker("network", "create", "-d", "mybr", "-o", bridgeName+"mybr0", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd00:18::/64", "-o", "mybr.egress="+list, "n0")
	w.Serve("neighbour", []string{"--net", "n0", "--ip", "172.18.0.9"}, "tcp:443")
	n.app = w.Serve("app", []string{"--net", "n0"}, "tcp:80")
	return n
}

// says fails the test unless a guest's command in the container ends well and prints that.
func (n *namedHosts) says(what, want string, args ...string) {
	n.t.Helper()
	if r := n.app.Try(append([]string{"guest"}, args...)...); r.Code != 0 || !strings.Contains(r.Out, want) {
		n.t.Errorf("%s: %+v, want %q", what, r, want)
	}
}

// fails fails the test unless the command fails, and what it complains of has that.
func (n *namedHosts) fails(what, want string, args ...string) {
	n.t.Helper()
	if r := n.app.Try(append([]string{"guest"}, args...)...); r.Code == 0 || !strings.Contains(r.Err, want) {
		n.t.Errorf("%s: %+v, want it to fail with %q", what, r, want)
	}
}

// open fails the test unless the site is reached, by DNS, TLS and HTTP.
func (n *namedHosts) open(what string) {
	n.t.Helper()
	for _, resolver := range []string{world.LANAddr + ":53", "[" + world.LANAddr6 + "]:53", elsewhere + ":53"} {
		n.says(what+": DNS of "+resolver, "SUCCESS "+world.LANAddr, "query", resolver, "site.example")
	}
	n.says(what+": TLS", "200 site.example at", "fetch", "-trust", namedTrust, "https://site.example/")
	for _, at := range []string{world.LANAddr, world.LANAddr6} {
		n.says(what+": TLS at "+at, "200 site.example at", "fetch", "-trust", namedTrust, "-at", at, "https://site.example/")
		n.says(what+": HTTP at "+at, "200 site.example at", "fetch", "-at", at, "http://site.example/")
	}
	n.says(what+": an address that is listed", `"Server":"192.0.2.9:81"`, "get", "tcp", world.LANAddr+":81")
}

// TestEgressByName is about host names on lists, with those who try otherwise.
func TestEgressByName(t *testing.T) {
	withEachBackend(t, []string{secondLAN}, egressByName)
}

func egressByName(t *testing.T, w *world.World) {
	n := newNamed(t, w, namedList)
	n.open("a list")
	n.says("below a name", "200 a.cdn.example at", "fetch", "-trust", namedTrust, "https://a.cdn.example/")
	n.says("DNS by TCP", "SUCCESS "+world.LANAddr6, "query", "-network", "tcp", "-type", "AAAA", elsewhere+":53", "site.example")
	n.says("text of a listed name", "SUCCESS text of site.example", "query", "-type", "TXT", world.LANAddr+":53", "site.example")
	for _, c := range [][2]string{{"A", "evil.example"}, {"TXT", "data.evil.example"}, {"A", "cdn.example"}} {
		n.says("DNS of what is not listed", "REFUSED", "query", "-type", c[0], world.LANAddr+":53", c[1])
		n.says("the same of a resolver of its own choice", "REFUSED", "query", "-type", c[0], elsewhere+":53", c[1])
	}
	n.says("no other addresses and keys", "SUCCESS\n", "query", "-type", "HTTPS", world.LANAddr+":53", "site.example")
	n.says("a name that leads into the network", "REFUSED", "query", world.LANAddr+":53", "inside.cdn.example")
	n.says("a name that leads to the host", "REFUSED", "query", world.LANAddr+":53", "host.cdn.example")
	n.fails("TLS by a name that leads to the host", "", "fetch", "-trust", namedTrust, "-at", elsewhere, "https://host.cdn.example/")

	for _, at := range []string{secondLAN, secondLAN6, world.LANAddr, elsewhere} {
		n.fails("TLS of what is not listed, at "+at, "access denied", "fetch", "-trust", "/run/evil.pem", "-at", at, "https://evil.example/")
		n.says("HTTP of what is not listed, at "+at, "403 mybr does not pass this request to evil.example", "fetch", "-at", at, "http://evil.example/")
	}
	for _, at := range []string{secondLAN, secondLAN6, elsewhere, elsewhere6} {
		// The address counts for nothing: the certificate is that of the name's own host.
		n.says("another's address with a listed name, "+at, "::9]:443", "fetch", "-trust", namedTrust, "-at", at, "https://site.example/")
		n.says("the same by HTTP, "+at, "200 site.example at", "fetch", "-at", at, "http://site.example/")
		n.fails("TLS without a name, at "+at, "missing extension", "fetch", "-name", "-", "-at", at, "https://site.example/")
	}
	n.says("the first request", "200 site.example", "fetch", "-host", "site.example,evil.example", "http://site.example/")
	n.says("a second one for another host", "403 mybr does not pass this request to evil.example", "fetch", "-host", "site.example,evil.example", "http://site.example/")

	// Other ports by the addresses that DNS gives.
	unanswered(t, "a port before DNS was asked", n.app.Get("tcp", world.LANAddr+":22", soon))
	for _, c := range [][2]string{{"A", world.LANAddr + ":22"}, {"AAAA", "[" + world.LANAddr6 + "]:22"}} {
		n.says("DNS of a name with a port", "SUCCESS", "query", "-type", c[0], elsewhere+":53", "git.example")
		answered(t, "its port", n.app.Get("tcp", c[1], soon))
	}
	unanswered(t, "its port, of another protocol", n.app.Get("udp", world.LANAddr+":22", soon))
	unanswered(t, "the port of another host", n.app.Get("tcp", secondLAN+":22", soon))

	n.dockersResolver("asks", "--dns", elsewhere)
	n.nobodyElse()
	n.denied()
	matches(t, w)
}

// denied fails the test unless what the process has refused is shown, the list that is suggested has
// the names, and that list lets them pass.
func (n *namedHosts) denied() {
	n.t.Helper()
	n.Eventually(10*time.Second, func() error {
		seen, err := denials(n.World, "n0")
		for _, key := range []string{
			"app dns evil.example 0", "app dns data.evil.example 0", "asks dns evil.example 0",
			"app tcp evil.example 443", "app tcp evil.example 80", // the alert, and 403
			"app tcp " + secondLAN + " 443", "app tcp " + elsewhere6 + " 443", // TLS without a name
			"app tcp " + secondLAN + " 22",
			"app udp git.example 22", // by the kernel, at an address that DNS had given for the name
		} {
			if err == nil && !strings.HasPrefix(seen[key], "refused ") {
				err = fmt.Errorf("%s is %q, want that it was refused: %v", key, seen[key], seen)
			}
		}
		for _, name := range []string{"site.example", "a.cdn.example"} {
			for _, key := range []string{"app dns " + name + " 0", "app tcp " + name + " 443", "app tcp " + name + " 80"} {
				if seen[key] != "" {
					err = errors.Join(err, fmt.Errorf("%s was not refused, and is shown", key))
				}
			}
		}
		return err
	})
	suggested := strings.TrimSpace(n.Host.Run("mybr", "egress", "suggest", "n0"))
	list, _ := strings.CutPrefix(suggested, "mybr.egress=")
	for _, entry := range append(strings.Split(namedList, ","), "evil.example:443", "evil.example:80", "data.evil.example") {
		if !slices.Contains(strings.Split(list, ","), entry) {
			n.t.Errorf("suggested is %s, want %s in it", suggested, entry)
		}
	}
	n.Host.Run("mybr", "network", "set", "n0", suggested)
	n.says("suggested: DNS", "SUCCESS "+secondLAN, "query", elsewhere+":53", "evil.example")
	n.says("suggested: TLS", "200 evil.example at", "fetch", "-trust", "/run/evil.pem", "https://evil.example/")
	n.says("suggested: HTTP", "200 evil.example at", "fetch", "http://evil.example/")
}

// dockersResolver fails the test unless a container that asks Docker's own resolver, which passes on
// what it doesn't know, has the names of containers and listed hosts, and no others.
func (n *namedHosts) dockersResolver(name string, args ...string) {
	n.t.Helper()
	n.Idle(name, append([]string{"--net", "n0"}, args...)...)
	if got := n.Docker("exec", name, "/guest", "lookup", "site.example", "neighbour", "evil.example"); !strings.Contains(got, `"`+world.LANAddr+`"`) ||
		!strings.Contains(got, "172.18.0.9") || strings.Contains(got, secondLAN+`"`) || strings.Contains(got, secondLAN6) {
		n.t.Errorf("Docker's resolver, with %q: %s", args, got)
	}
}

// TestEgressByNameEngines is about the engine that asks the resolvers of the host from the
// container's namespace: then mybr answers without --dns, too.
func TestEgressByNameEngines(t *testing.T) {
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	t.Parallel()
	n := newNamed(t, world.New(t, world.Config{Engine: world.OwnEngine, LANs: []string{secondLAN}}), namedList)
	n.dockersResolver("asks", "--dns", elsewhere)
	n.dockersResolver("plain")
}

// nobodyElse fails the test if somebody reaches the process who was not led there.
func (n *namedHosts) nobodyElse() {
	n.t.Helper()
	var ports []string
	for _, line := range strings.Split(n.Log(), "\n") {
		var dns, tcp int
		if at := strings.Index(line, "are led to the ports "); at >= 0 {
			if _, err := fmt.Sscanf(line[at:], "are led to the ports %d (DNS) and %d of the host", &dns, &tcp); err == nil {
				ports = []string{fmt.Sprint(dns), fmt.Sprint(tcp)}
			}
		}
	}
	if ports == nil {
		n.t.Fatalf("mybr does not say where it listens:\n%s", n.Log())
	}
	other := n.Idle("other")
	for _, at := range []string{world.HostAddr + ":", "[" + world.HostAddr6 + "]:"} {
		for _, port := range ports {
			unanswered(n.t, "the LAN, at a port of the process", n.LANs[0].Get("tcp", at+port, soon))
			unanswered(n.t, "a container at a port of the process", n.app.Get("tcp", at+port, soon))
		}
	}
	for _, port := range ports {
		unanswered(n.t, "the gateway's address, at a port of the process", n.app.Get("tcp", "172.18.0.1:"+port, soon))
		unanswered(n.t, "another network's container, at a port of the process", other.Get("tcp", world.HostAddr+":"+port, soon))
	}
	if r := n.LANs[0].Try("guest", "query", "-timeout", "700ms", world.HostAddr+":"+ports[0], "site.example"); r.Code == 0 {
		n.t.Errorf("the LAN asks the process: %+v", r)
	}
}

// TestEgressByNameChanges is about lists that change while connections go on, and about mybr's
// being away.
func TestEgressByNameChanges(t *testing.T) {
	withBackend(t, world.NFTables, []string{secondLAN}, egressByNameChanges)
}

func egressByNameChanges(t *testing.T, w *world.World) {
	set := func(args ...string) { t.Helper(); w.Host.Run(append([]string{"mybr"}, args...)...) }
	set("list", "set", "hosts", "site.example", "git.example:22")
	n := newNamed(t, w, "@hosts,"+world.LANAddr+":81/tcp")
	n.open("a list of lists")
	hold := func() *world.Proc {
		t.Helper()
		return n.app.Start("guest", "fetch", "-trust", namedTrust, "https://site.example/hold")
	}
	ended := func(what string, p *world.Proc) {
		t.Helper()
		w.Eventually(healWithin, func() error {
			if p.Running() {
				return fmt.Errorf("%s: the connection goes on", what)
			}
			return nil
		})
	}
	held := hold()
	set("list", "set", "hosts", "site.example", "evil.example")
	n.says("a list that has more", "200 evil.example at", "fetch", "-trust", "/run/evil.pem", "https://evil.example/")
	if !held.Running() {
		t.Errorf("a list that has more ends a connection: %q", held.Lines())
	}
	set("list", "set", "hosts", "evil.example")
	ended("the list has it no longer", held)
	n.fails("the list has it no longer", "access denied", "fetch", "-trust", namedTrust, "-at", world.LANAddr, "https://site.example/")

	set("network", "set", "n0", "mybr.egress="+namedList)
	n.open("another list")
	held = hold()
	set("endpoint", "set", "app", "mybr.egress=evil.example")
	ended("the container's own list", held)
	set("endpoint", "set", "app", "mybr.egress=")
	n.open("without a list of its own")

	// What DNS has opened ends with the list.
	n.says("DNS of a name with a port", "SUCCESS", "query", world.LANAddr+":53", "git.example")
	answered(t, "its port", n.app.Get("tcp", world.LANAddr+":22", soon))
	set("network", "set", "n0", "mybr.egress=site.example,"+world.LANAddr+":81/tcp")
	unanswered(t, "the port of a name that is not listed any more", n.app.Get("tcp", world.LANAddr+":22", soon))

	held = hold()
	w.KillMybr()
	ended("mybr is away", held)
	n.fails("mybr is away: TLS", "", "fetch", "-timeout", "700ms", "-trust", namedTrust, "-at", world.LANAddr, "https://site.example/")
	n.fails("mybr is away: DNS", "", "query", "-timeout", "700ms", world.LANAddr+":53", "site.example")
	n.says("mybr is away: an address that is listed", `"Server":"192.0.2.9:81"`, "get", "tcp", world.LANAddr+":81")
	w.StartMybr()
	w.Eventually(healWithin, func() error { return mismatch(t, w) })
	n.open("mybr is back")

	// What a container goes on sending from one port to a name server's was led, and reaches it where the
	// list is only watched.
	w.LANs[1].Start("guest", "serve", "udp:53")
	asks := w.Traffic(n.app.Flow(report.UDP, secondLAN+":53").Late())
	set("network", "set", "n0", "mybr.egress.mode=audit")
	if seen := asks.Stop(); seen.Unsettled() > 0 {
		t.Errorf("UDP to port 53 is led on where the list is only watched: %v", seen)
	}
	set("network", "set", "n0", "mybr.egress.mode=")
	n.open("the list is enforced again")

	set("network", "set", "n0", "mybr.egress="+world.LANAddr+":443/tcp,"+world.LANAddr+":53")
	n.says("addresses alone: the name server itself", "SUCCESS "+secondLAN, "query", world.LANAddr+":53", "evil.example")
	if listening := w.Host.Run("ss", "-Hltun"); strings.Contains(listening, ":61443") || strings.Contains(listening, ":61053") {
		t.Errorf("it is listened for names that no list has:\n%s", listening)
	}
	matches(t, w)
}

// TestEgressByNameSpeed measures what it costs that the process carries connections to named hosts,
// beside connections of the same container to the same host by its address: a gibibyte, and a new
// connection. `go test ./integration -run TestEgressByNameSpeed -v` prints it.
func TestEgressByNameSpeed(t *testing.T) {
	world.Full(t)
	if world.Driver() != "mybr" {
		t.Skip("is about the mybr driver")
	}
	w := world.New(t, world.Config{LANs: []string{secondLAN}})
	n := newNamed(t, w, namedList)
	plain := w.Idle("plain", "--network", "name=n0,driver-opt=mybr.egress="+world.LANAddr+":443/tcp")
	// nanoseconds is the last number but one that a guest's command prints.
	nanoseconds := func(p *world.Place, args ...string) float64 {
		t.Helper()
		args = append([]string{"guest", "fetch", "-trust", namedTrust, "-at", world.LANAddr}, args...)
		words := strings.Fields(p.Run(args...))
		var ns float64
		if _, err := fmt.Sscan(words[len(words)-2], &ns); err != nil || ns <= 0 {
			t.Fatalf("%q says %q", args, words)
		}
		return ns
	}
	const rounds, gibibyte = 5, 1 << 30
	var ratios []float64
	for range rounds {
		direct := nanoseconds(plain, fmt.Sprintf("https://site.example/bytes?n=%d", gibibyte))
		carried := nanoseconds(n.app, fmt.Sprintf("https://site.example/bytes?n=%d", gibibyte))
		t.Logf("1 GiB by TLS: %.0f MB/s by address, %.0f MB/s by name", gibibyte/direct*1e3, gibibyte/carried*1e3)
		ratios = append(ratios, direct/carried)
	}
	slices.Sort(ratios)
	direct := nanoseconds(plain, "-times", "1000", "https://site.example/")
	carried := nanoseconds(n.app, "-times", "1000", "https://site.example/")
	t.Logf("by name: %.2f of the rate by address (median of %d), and %.0f µs more for each new TLS connection (medians of 1,000: %.0f and %.0f µs)",
		ratios[rounds/2], rounds, (carried-direct)/1e3, carried/1e3, direct/1e3)
	if ratios[rounds/2] < 0.25 || carried-direct > 20e6 {
		t.Error("that is much slower than it was when it was written")
	}
}
