package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

const picture = `
     lan  192.0.2.9                      another machine of the LAN
      │
   ───┴────────┬───────────────────────  LAN 192.0.2.0/24
               │
  ┌─ host ─── eth0 192.0.2.2 ─────────┐  dockerd and mybr run here
  │            │ routing, NAT         │
  │          mybr0 172.18.0.1/16      │  the bridge of the network "demo"
  │          ┌─┴────────────┐         │
  │        veth…          veth…       │
  └──────────┼──────────────┼─────────┘
           eth0           eth0
    ┌─ web ──┴─────┐ ┌─ box ┴───────┐
    │ server on 80 │ │              │    two containers
    └──────────────┘ └──────────────┘
    published as the host's port 8080
`

// The demonstration's names and numbers.
const (
	network = "demo"
	bridge  = "mybr0"
	subnet  = "172.18.0.0/16"
	gateway = "172.18.0.1/16"
	port    = 8080 // published
)

// teller tells the story in a world.
type teller struct {
	*stage
	w    *world.World
	mybr string
	web  netip.Addr // the container's address
}

func story(s *stage, mybr string) {
	s.printf("%s", picture)
	s.title("Starting an engine, a LAN and mybr in namespaces of their own")
	t := &teller{stage: s, w: world.New(s, world.Config{}), mybr: mybr}
	t.command("host", "mybr", "serve")
	version := t.w.Docker("version", "-f", "{{.Server.Version}}")
	s.expect(true, "Docker Engine %s answers, and mybr listens", version)
	t.create()
	t.run()
	t.inside()
	t.outside()
	t.publish()
	t.draw()
	t.closed()
	t.restart()
	t.remove()
}

// docker shows a docker command and runs it; if it fails the story ends.
func (t *teller) docker(args ...string) string {
	t.command("host", append([]string{"docker"}, args...)...)
	out := t.w.Docker(args...)
	t.output(out)
	return out
}

func (t *teller) create() {
	t.title("A network")
	t.docker("network", "create", "-d", "mybr", "--subnet", subnet, "-o", "com.docker.network.bridge.name="+bridge, network)
	l, found := t.w.Host.Link(bridge)
	want := netip.MustParsePrefix(gateway)
	var has bool
	for _, a := range l.Addrs {
		has = has || a == want
	}
	t.expect(found && l.Kind == "bridge" && l.Up && has, "%s is a bridge, up, with the addresses %v", bridge, l.Addrs)
}

func (t *teller) run() {
	t.title("Two containers, one of them published at port %d", port)
	t.docker("run", "-d", "--name", "web", "--hostname", "web", "--net", network, "-p", fmt.Sprintf("%d:80", port), world.Image, "serve", "tcp:80")
	t.docker("run", "-d", "--name", "box", "--hostname", "box", "--net", network, world.Image, "sleep")
	t.w.Ready("web")
	for _, name := range []string{"web", "box"} {
		addr, err := netip.ParseAddr(t.w.Docker("inspect", "-f", "{{.NetworkSettings.Networks."+network+".IPAddress}}", name))
		t.expect(err == nil && netip.MustParsePrefix(subnet).Contains(addr), "%s has the address %s", name, addr)
		if name == "web" {
			t.web = addr
		}
	}
}

func (t *teller) inside() {
	t.title("From container to container, by name")
	out := t.docker("exec", "box", "/guest", "ping", "web")
	var pong report.Pong
	err := json.Unmarshal([]byte(out), &pong)
	t.expect(err == nil && pong.From == t.web, "%s answers", pong.From)
	a := t.containerGets("tcp", "web:80")
	t.expect(a.Name == "web", "the server %q answers, and sees %s", a.Name, a.Client.Addr())
}

func (t *teller) outside() {
	t.title("From a container to the LAN")
	t.command("lan", "guest", "serve", "tcp:7000")
	server := t.w.LAN.Start("guest", "serve", "tcp:7000")
	a := t.containerGets("tcp", world.LANAddr+":7000")
	t.expect(a.Client.Addr() == netip.MustParseAddr(world.HostAddr), "it is answered; the LAN sees the host's address, %s", a.Client.Addr())
	server.Stop()
}

func (t *teller) publish() {
	t.title("To the published port")
	lan := netip.MustParseAddr(world.LANAddr)
	a := t.gets("lan", t.w.LAN, world.HostAddr)
	t.expect(a.Name == "web" && a.Client.Addr() == lan, "%q answers the LAN, and sees its own address, %s", a.Name, a.Client.Addr())
	for _, addr := range []string{"127.0.0.1", world.HostAddr, "::1"} {
		a := t.gets("host", t.w.Host, addr)
		t.expect(a.Name == "web", "%q answers the host at %s", a.Name, addr)
	}
	a = t.containerGets("tcp", fmt.Sprintf("%s:%d", world.HostAddr, port))
	t.expect(a.Name == "web", "%q answers its neighbour through the host's address", a.Name)

	t.title("docker ps can't show the ports of a network plugin; mybr can")
	t.command("host", "mybr", "ports")
	out := t.w.Host.Run(t.mybr, "ports")
	t.output(out)
	t.expect(strings.Contains(out, fmt.Sprintf(":%d ", port)) && strings.Contains(out, t.web.String()), "the port and the container's address are there")
}

func (t *teller) draw() {
	t.title("mybr draws all of it")
	t.command("host", "mybr", "topology")
	out := t.w.Host.Run(t.mybr, "topology")
	t.output(out)
	t.expect(strings.Contains(out, bridge) && strings.Contains(out, " eth0 "+t.web.String()), "the bridge and the container's interface are there")
}

func (t *teller) closed() {
	t.title("What must not work: to the container past its published port")
	t.command("lan", "ip", "route", "add", subnet, "via", world.HostAddr)
	t.w.LAN.Run("ip", "route", "add", subnet, "via", world.HostAddr)
	at := netip.AddrPortFrom(t.web, 80).String()
	t.command("lan", "guest", "get", "tcp", at)
	o := t.w.LAN.Get("tcp", at, "-timeout", "1s")
	t.expect(o.Code == report.TimedOut || o.Code == report.Refused || o.Code == report.Unreachable, "no answer from %s: %s", at, o)
}

func (t *teller) restart() {
	t.title("mybr is killed, and comes back")
	t.command("host", "kill", "-9", "$(pidof", "mybr)")
	t.w.KillMybr()
	a := t.gets("lan", t.w.LAN, world.HostAddr)
	t.expect(a.Name == "web", "%q still answers the LAN: the kernel carries it", a.Name)
	t.command("host", "mybr", "serve")
	t.w.StartMybr()
	out := t.docker("exec", "box", "/guest", "ping", "web")
	t.expect(strings.Contains(out, t.web.String()), "web answers box")
	a = t.gets("host", t.w.Host, "127.0.0.1")
	t.expect(a.Name == "web", "%q answers the host at 127.0.0.1", a.Name)
}

func (t *teller) remove() {
	t.title("Everything goes again")
	t.docker("rm", "-f", "web", "box")
	t.docker("network", "rm", network)
	// The kernel destroys links a moment after Docker is answered.
	t.w.Eventually(10*time.Second, func() error {
		for _, l := range t.w.Host.Links() {
			if l.Name == bridge || l.Kind == "veth" && strings.HasPrefix(l.Name, "veth") {
				return fmt.Errorf("%s is left", l.Name)
			}
		}
		return nil
	})
	t.expect(true, "the bridge %s is gone, and no veth is left", bridge)
	t.command("host", "iptables-save")
	rules := t.w.Host.Run("iptables-save")
	t.expect(!strings.Contains(rules, bridge) && !strings.Contains(rules, subnet), "no rule speaks of %s or %s", bridge, subnet)
}

// gets asks for the published port and gives the answer, a zero one if there is none.
func (t *teller) gets(where string, p *world.Place, addr string) report.Answer {
	ap := netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
	t.command(where, "guest", "get", "tcp", ap)
	o := p.Get("tcp", ap)
	if o.Code != report.Answered {
		t.output(o.String())
		return report.Answer{}
	}
	t.output(fmt.Sprintf("%+v", o.Answer))
	return o.Answer
}

// containerGets is gets from the container box, of any server.
func (t *teller) containerGets(network, addr string) (a report.Answer) {
	argv := []string{"exec", "box", "/guest", "get", network, addr}
	t.command("host", append([]string{"docker"}, argv...)...)
	r := t.w.DockerTry(argv...)
	t.output(r.Out + r.Err)
	if err := json.Unmarshal([]byte(r.Out), &a); err != nil {
		return report.Answer{}
	}
	return a
}
