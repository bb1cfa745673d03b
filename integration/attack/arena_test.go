package attack

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/integration/report"
	"github.com/mybr/mybr/integration/world"
)

const (
	evilAddr   = "192.0.2.66" // of the LAN's host that no list has
	evilAddr6  = "2001:db8::66"
	otherAddr  = "172.20.0.2" // of the container on another network
	otherAddr6 = "fd00:20::2"

	lists = "site.example,*.cdn.example," + world.LANAddr + ":81/tcp,[" + world.LANAddr6 + "]:81/tcp," + world.LANAddr + ":21/tcp,[" + world.LANAddr6 + "]:21/tcp"
)

// network is one with an attacker and a neighbour of hers, and watchers.
type network struct {
	name, bridge           string
	prefix, prefix6        string // of its addresses, which end with one number
	eve                    string
	eveAddr, neighbourAddr string
	published              uint16 // of the host, where eve has UDP port 9053
	watch                  map[string]*world.Proc

	eveMAC, neighbourMAC, gatewayMAC net.HardwareAddr
	local                            netip.Addr
}

// arena is a world with both networks.
type arena struct {
	t            *testing.T
	w            *world.World
	open, listed *network
	shared       map[string]*world.Proc // the watchers that are of no network
	ports        []uint16               // of the process
	tokens       int
}

// prepare makes it.
func prepare(t *testing.T, w *world.World) *arena {
	t.Helper()
	a := &arena{t: t, w: w, shared: map[string]*world.Proc{}}
	w.LANs[0].Start("guest", "zone", "site.example="+world.LANAddr+","+world.LANAddr6, "*.cdn.example="+world.LANAddr+","+world.LANAddr6)
	w.LANs[0].Start("guest", "site", "/run/site.pem", "site.example")
	w.LANs[0].Start("guest", "serve", "tcp:21", "tcp:81", "tcp:82")
	w.LANs[1].Run("ip", "addr", "add", metadata.String()+"/32", "dev", "eth0")
	w.LANs[1].Start("guest", "zone", "evil.example="+evilAddr)
	w.LANs[1].Start("guest", "site", "/run/evil.pem", "evil.example")
	w.LANs[1].Start("guest", "serve", "tcp:81", "tcp:853", "tcp:8080", "udp:8080")
	w.Host.Run("ip", "route", "add", metadata.String()+"/32", "dev", "eth0")
	w.Host.Start("guest", "serve", "tcp:90", "udp:90")

	a.listed = a.network("n0", "172.18.0.", "fd00:18::", 5300, "-o", "mybr.egress="+lists, "-o", "mybr.icc=app>db:80/tcp")
	a.open = a.network("n1", "172.19.0.", "fd00:19::", 5301)
	a.create("n2", "172.20.0.", "fd00:20::")
	w.Serve("other", []string{"--network", "name=n2,ip=" + otherAddr + ",ip6=" + otherAddr6, "-p", "8080:80", "-p", "8080:80/udp"}, "tcp:80", "udp:80")

	a.shared[lan] = w.LANs[0].Start("guest", "watch", "-own", "eth0")
	a.shared[evil] = w.LANs[1].Start("guest", "watch", "-own", "eth0")
	a.shared[other] = w.Container("other").Start("guest", "watch", "eth0")
	var groups []string
	for _, n := range []*network{a.listed, a.open} {
		for _, group := range []string{"224.0.0.251", "224.0.0.252", "239.255.255.250", "ff02::fb", "ff02::1:3", "ff02::c"} {
			groups = append(groups, group+"%"+n.bridge)
		}
	}
	a.shared[host] = w.Host.Start("guest", "watch", "-join", strings.Join(groups, ","), "host")
	a.ports = processPorts(t, w)
	return a
}

// create makes a network and gives the name of its bridge.
func (a *arena) create(name, prefix, prefix6 string, options ...string) (bridge string) {
	a.t.Helper()
	bridge = "mybr" + name[1:]
	a.w.Docker(append(append([]string{"network", "create", "-d", "mybr", "-o", "com.docker.network.bridge.name=" + bridge,
		"--ipv6", "--subnet", prefix + "0/16", "--subnet", prefix6 + "/64"}, options...), name)...)
	return bridge
}

// network makes one with eve, who has every capability but the one to load modules, and a neighbour.
func (a *arena) network(name, prefix, prefix6 string, published uint16, options ...string) *network {
	a.t.Helper()
	n := &network{name: name, prefix: prefix, prefix6: prefix6, eve: "eve-" + name, eveAddr: prefix + "2", neighbourAddr: prefix + "3", published: published}
	n.bridge = a.create(name, prefix, prefix6, options...)
	on := func(last, group string) string {
		return "name=" + name + ",ip=" + prefix + last + ",ip6=" + prefix6 + last + ",driver-opt=mybr.group=" + group
	}
	eve := a.w.Idle(n.eve, "--cap-add", "ALL", "--cap-drop", "SYS_MODULE", "--network", on("2", "app"), "-p", fmt.Sprintf("%d:9053/udp", published))
	beside := a.w.Serve("neighbour-"+name, []string{"--network", on("3", "db")}, "tcp:80", "udp:80")
	n.watch = map[string]*world.Proc{
		neighbour: beside.Start("guest", "watch", "eth0"),
		attacker:  eve.Start("guest", "watch", "eth0"),
		bridge:    a.w.Host.Start("guest", "watch", n.bridge),
	}
	n.eveMAC, n.neighbourMAC, n.gatewayMAC = mac(a.t, eve, "eth0"), mac(a.t, beside, "eth0"), mac(a.t, a.w.Host, n.bridge)
	l, _ := a.w.Host.Link(n.bridge)
	for _, p := range l.Addrs {
		if p.Addr().IsLinkLocalUnicast() {
			n.local = p.Addr()
		}
	}
	if !n.local.IsValid() {
		a.t.Fatalf("%s has no link-local address: %v", n.bridge, l.Addrs)
	}
	return n
}

func mac(t *testing.T, p *world.Place, link string) net.HardwareAddr {
	t.Helper()
	l, ok := p.Link(link)
	m, err := net.ParseMAC(l.MAC)
	if !ok || err != nil {
		t.Fatalf("%s: MAC of %s: %v", p.Name, link, err)
	}
	return m
}

// processPorts is where the process is led to, as it says itself.
func processPorts(t *testing.T, w *world.World) []uint16 {
	t.Helper()
	for line := range strings.Lines(w.Log()) {
		var dns, tcp uint16
		if at := strings.Index(line, "are led to the ports "); at >= 0 {
			if _, err := fmt.Sscanf(line[at:], "are led to the ports %d (DNS) and %d of the host", &dns, &tcp); err == nil {
				return []uint16{dns, tcp}
			}
		}
	}
	t.Fatalf("mybr does not say where it listens:\n%s", w.Log())
	return nil
}

// token gives one that was never used.
func (a *arena) token() string {
	a.tokens++
	return fmt.Sprintf("tk%010x", a.tokens)
}

// scene is what a row knows on a network, with a token and a port of its own.
func (a *arena) scene(n *network, family string) scene {
	x := scene{token: a.token(), port: uint16(20000 + a.tokens), published: n.published, eveMAC: n.eveMAC, neighbourMAC: n.neighbourMAC, gatewayMAC: n.gatewayMAC, local: n.local}
	x.eveLocal = eui64(n.eveMAC)
	x.broadcast = addr(strings.TrimSuffix(n.prefix, "0.") + "255.255")
	at := func(last string) netip.Addr { return addr(n.prefix + last) }
	x.host, x.lan, x.evil, x.other, x.otherGate = addr(world.HostAddr), addr(world.LANAddr), addr(evilAddr), addr(otherAddr), addr("172.20.0.1")
	if family == "IPv6" {
		at = func(last string) netip.Addr { return addr(n.prefix6 + last) }
		x.host, x.lan, x.evil, x.other, x.otherGate = addr(world.HostAddr6), addr(world.LANAddr6), addr(evilAddr6), addr(otherAddr6), addr("fd00:20::1")
	}
	x.gateway, x.eve, x.neighbour, x.nobody = at("1"), at("2"), at("3"), at("77")
	return x
}

// eui64 is the link-local address that the kernel makes of a MAC (RFC 4291, appendix A).
func eui64(m net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// sights is where and as what a token was seen at a place.
func (a *arena) sights(n *network, place, token string) (found []report.Sight) {
	a.t.Helper()
	watcher := a.shared[place]
	if watcher == nil {
		watcher = n.watch[place]
	}
	if !watcher.Running() {
		a.t.Fatalf("the watcher at %s has ended: %q", place, watcher.Lines())
	}
	for _, line := range watcher.Lines()[1:] {
		if !strings.Contains(line, token) {
			continue
		}
		var s report.Sight
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			a.t.Fatalf("the watcher at %s: %q: %v", place, line, err)
		}
		found = append(found, s)
	}
	return found
}

// words are attempts as arguments of guest attempt.
func words(t *testing.T, all attempts) (out []string) {
	t.Helper()
	for _, one := range all {
		b, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}
