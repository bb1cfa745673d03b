package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

// city is four networks with a server in each, published: two of the driver under
// test, Docker's default network, and a network of Docker's own driver.
type city struct {
	place  *world.Place
	net    string
	driver string
	addr   string // of the server, inside
	port   string // on the host
}

func build(t *testing.T, w *world.World) (all []city) {
	t.Helper()
	w.Network("one", "--subnet", "172.28.0.0/16")
	w.Network("two", "--subnet", "172.29.0.0/16")
	w.Docker("network", "create", "-d", "bridge", "--subnet", "172.30.0.0/16", "theirs")
	for i, net := range []string{"one", "two", "bridge", "theirs"} {
		c := city{net: net, port: fmt.Sprint(8001 + i), driver: w.Docker("network", "inspect", "-f", "{{.Driver}}", net)}
		name := "in-" + net
		c.place = w.Serve(name, []string{"--net", net, "-p", c.port + ":80", "-p", c.port + ":80/udp"}, "tcp:80", "udp:80")
		c.addr = ipv4(t, c.place, "eth0")
		all = append(all, c)
	}
	return all
}

func seedIsolation(t *testing.T, w *world.World) {
	all := build(t, w)
	for _, to := range all {
		answered(t, "host to "+to.net, w.Host.Get("tcp", to.addr+":80"))
		answered(t, "host pings "+to.net, w.Host.Ping(to.addr))
	}
	isolated(t, all)
}

// isolated asks each city's server from each other city, by its own address.
func isolated(t *testing.T, all []city) {
	t.Helper()
	var calls []func()
	for _, from := range all {
		for _, to := range all {
			if from.net == to.net {
				continue
			}
			what := fmt.Sprintf("from %s to %s", from.net, to.net)
			calls = append(calls, func() {
				unanswered(t, "ping "+what, from.place.Ping(to.addr, soon))
				unanswered(t, "tcp "+what, from.place.Get("tcp", to.addr+":80", soon))
				unanswered(t, "udp "+what, from.place.Get("udp", to.addr+":80", soon))
			})
		}
	}
	together(calls...)
}

func seedPublishedAcross(t *testing.T, w *world.World) {
	all := build(t, w)
	var calls []func()
	for _, to := range all {
		for _, network := range []string{"tcp", "udp"} {
			at := world.HostAddr + ":" + to.port
			calls = append(calls, func() {
				answered(t, network+" from the host to "+to.net, w.Host.Get(network, at))
				seenAs(t, network+" from the LAN to "+to.net, w.LAN.Get(network, at), world.LANAddr)
				for _, from := range all {
					if proxied(network, from.driver, to.driver) {
						continue
					}
					answered(t, fmt.Sprintf("%s from %s to %s", network, from.net, to.net), from.place.Get(network, at))
				}
			})
		}
	}
	together(calls...)
}

func seedAdministrator(t *testing.T, w *world.World) {
	article(w)
	w.Network("n1", "--subnet", "172.19.0.0/16")
	a := w.Serve("anna", []string{"--net", "n0", "-p", "8088:80"}, "tcp:80")
	b := w.Serve("ben", []string{"--net", "n1"}, "tcp:80")
	first, second := w.LANs[0], w.LANs[1]
	for _, lan := range w.LANs {
		lan.Start("guest", "serve", "tcp:7000")
		answered(t, lan.Name+" before the rules", lan.Get("tcp", world.HostAddr+":8088"))
	}

	w.Host.Run("iptables", "-I", "DOCKER-USER", "-i", "eth0", "-s", world.LANAddr, "-j", "DROP")
	unanswered(t, "forbidden: in from the first", first.Get("tcp", world.HostAddr+":8088", soon))
	answered(t, "allowed: in from the second", second.Get("tcp", world.HostAddr+":8088"))
	w.Host.Run("iptables", "-D", "DOCKER-USER", "-i", "eth0", "-s", world.LANAddr, "-j", "DROP")

	w.Host.Run("iptables", "-I", "DOCKER-USER", "-i", "mybr0", "-d", "192.0.2.10", "-j", "REJECT")
	unanswered(t, "forbidden: out to the second", a.Get("tcp", "192.0.2.10:7000", soon))
	answered(t, "allowed: out to the first", a.Get("tcp", world.LANAddr+":7000"))

	unanswered(t, "between networks, nothing said", b.Get("tcp", "172.18.0.2:80", soon))
	if w.Driver == "mybr" && w.Backend() == "nftables" {
		return // where DOCKER-USER can't allow what mybr's own table drops
	}
	w.Host.Run("iptables", "-I", "DOCKER-USER", "-s", "172.18.0.2", "-d", "172.19.0.2", "-j", "ACCEPT")
	w.Host.Run("iptables", "-I", "DOCKER-USER", "-s", "172.19.0.2", "-d", "172.18.0.2", "-j", "ACCEPT")
	answered(t, "between networks, allowed", b.Get("tcp", "172.18.0.2:80"))
}

func seedCustom(t *testing.T, w *world.World) {
	id := w.Network("mybridge", "--subnet", "192.168.0.0/24")
	bridge := "br-" + id[:12]
	a, b := w.Idle("anna", "--net", "mybridge"), w.Idle("ben", "--net", "mybridge")
	if got := ipv4Prefix(t, w.Host, bridge).String(); got != "192.168.0.1/24" {
		t.Errorf("%s has %s, want 192.168.0.1/24", bridge, got)
	}
	want := []int{hostEnd(t, w, a, "eth0").Index, hostEnd(t, w, b, "eth0").Index}
	var got []int
	for _, p := range ports(t, w, bridge) {
		got = append(got, p.Index)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("ports of %s: %v, want the containers' %v", bridge, got, want)
	}
	if !slices.ContainsFunc(w.Host.Routes(), func(r report.Route) bool {
		return r.Dst.String() == "192.168.0.0/24" && r.Dev == bridge && r.Src.String() == "192.168.0.1"
	}) {
		t.Errorf("routes %v, want one to 192.168.0.0/24 by %s", w.Host.Routes(), bridge)
	}
	pingBoth(t, a, b)
	w.LAN.Start("guest", "serve", "tcp:7000")
	seenAs(t, "container to the LAN", a.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
	if got := w.Docker("exec", "anna", "/guest", "resolve", "ben"); got != `["192.168.0.3"]` {
		t.Errorf("a resolves b to %s, want 192.168.0.3", got)
	}
}

func seedBeside(t *testing.T, w *world.World) {
	theirs := append(build(t, w)[2:], city{net: "host"})
	w.Docker("rm", "-f", "in-one", "in-two")
	w.Docker("network", "rm", "one", "two")
	before := rules(w)
	theirs[2].place, theirs[2].port = w.Serve("in-host", []string{"--net", "host"}, "tcp:8005", "udp:8005"), "8005"
	w.LAN.Start("guest", "serve", "tcp:7000", "udp:7000")
	undisturbed := func(when string) {
		t.Helper()
		for _, c := range theirs {
			for _, network := range []string{"tcp", "udp"} {
				seenAs(t, when+": "+network+" from the LAN to "+c.net, w.LAN.Get(network, world.HostAddr+":"+c.port), world.LANAddr)
				seenAs(t, when+": "+network+" from "+c.net+" to the LAN", c.place.Get(network, world.LANAddr+":7000"), world.HostAddr)
			}
		}
	}
	undisturbed("alone")
	w.Network("three", "--subnet", "172.26.0.0/16")
	w.Network("four", "--subnet", "172.27.0.0/16")
	all := slices.Clone(theirs[:2])
	for i, net := range []string{"three", "four"} {
		c := city{net: net, port: fmt.Sprint(8006 + i)}
		c.place = w.Serve("in-"+net, []string{"--net", net, "-p", c.port + ":80"}, "tcp:80", "udp:80")
		c.addr = ipv4(t, c.place, "eth0")
		seenAs(t, "from the LAN to "+net, w.LAN.Get("tcp", world.HostAddr+":"+c.port), world.LANAddr)
		seenAs(t, "from "+net+" to the LAN", c.place.Get("tcp", world.LANAddr+":7000"), world.HostAddr)
		answered(t, "from "+net+" to the server on the host's network", c.place.Get("tcp", world.HostAddr+":8005"))
		all = append(all, c)
	}
	undisturbed("beside others")
	isolated(t, all)
	if w.Driver == "mybr" {
		if got := without(rules(w), "MYBR"); !slices.Equal(got, without(before, "MYBR")) {
			t.Errorf("Docker's rules are now\n%s\nwere\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
		}
	}
	w.Docker("rm", "-f", "in-three", "in-four")
	w.Docker("network", "rm", "three", "four")
	undisturbed("alone again")
}

// without is the lines that don't contain a word.
func without(lines []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Contains(l, word) })
}
