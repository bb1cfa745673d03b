package nftables

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/nettest"
)

// world is a Docker host in a LAN, with links but without mybr's rules:
//
//	lan 192.0.2.2 ── eth0 192.0.2.1 [host] br0     172.18.0.1 ── a .2, b .3
//	    (routes to the containers)         br1     172.19.0.1 ── c .2
//	                                       br2     172.20.0.1 ── i .2 (for an internal network)
//	                                       docker0 172.17.0.1 ── d .2
//
// and the same in IPv6. Everyone runs echo servers at tcp 80 to 89 and udp 80 and 81; the policy of FORWARD is DROP.
type world struct {
	t     *testing.T
	k     stand
	host  *nettest.Host
	hosts map[string]*nettest.Host
	b     *Backend
}

const lanHost = "192.0.2.1" // the host's address in the LAN

var addresses = map[string]string{"host": lanHost, "lan": "192.0.2.2", "a": "172.18.0.2", "b": "172.18.0.3", "c": "172.19.0.2", "i": "172.20.0.2", "d": "172.17.0.2"}

func newWorld(t *testing.T, h *nettest.Host, k stand) *world {
	t.Helper()
	w := &world{t: t, k: k, host: h, hosts: map[string]*nettest.Host{"host": h}, b: k.backend(t)}
	lan := w.peer("lan")
	h.Connect(nettest.End{Name: "eth0", Addresses: both(lanHost + "/24")}, lan, nettest.End{Name: "eth0", Addresses: both("192.0.2.2/24")})
	lan.Route("172.16.0.0/12", lanHost)
	lan.Route("fd00::/16", ipv6().in(lanHost))
	for i, name := range []string{"docker0", "br0", "br1", "br2"} {
		h.Run("ip", "link", "add", name, "type", "bridge")
		for _, a := range both(fmt.Sprintf("172.%d.0.1/16", 17+i)) {
			h.Address(name, a)
		}
		h.Run("ip", "link", "set", name, "up")
	}
	for _, c := range [][2]string{{"a", "br0"}, {"b", "br0"}, {"c", "br1"}, {"i", "br2"}, {"d", "docker0"}} {
		box := w.peer(c[0])
		h.Connect(nettest.End{Name: "v" + c[0], Master: c[1]}, box, nettest.End{Name: "eth0", Addresses: both(addresses[c[0]] + "/16")})
		gateway := netip.MustParsePrefix(addresses[c[0]] + "/16").Masked().Addr().Next().String()
		box.Route("0.0.0.0/0", gateway)
		box.Route("::/0", ipv6().in(gateway))
	}
	for _, name := range []string{"lan", "a", "b", "c", "i", "d"} {
		for p := 80; p < 90; p++ {
			w.hosts[name].Echo(w.net("tcp"), w.k.in(fmt.Sprintf("0.0.0.0:%d", p)))
		}
		w.hosts[name].Echo(w.net("udp"), w.k.in("0.0.0.0:80"))
		w.hosts[name].Echo(w.net("udp"), w.k.in("0.0.0.0:81"))
	}
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	if k.name != alone {
		k.do(h, "-P FORWARD DROP")
	}
	return w
}

// both is an interface's address in both families.
func both(address string) []string { return []string{address, ipv6().in(address)} }

// net is a protocol in the family that the test is about, as the net package has it.
func (w *world) net(proto string) string {
	return proto + strings.TrimPrefix(w.k.Family.String(), "IPv")
}

func (w *world) peer(name string) *nettest.Host {
	w.hosts[name] = w.host.Peer(name)
	return w.hosts[name]
}

// apply makes the rules of a policy, from whatever is there.
func (w *world) apply(p firewall.Policy) {
	w.t.Helper()
	apply(w.t, w.b, nil, p)
}

// policy is that of the world's three networks, in both families.
func (w *world) policy(change func(br0 *firewall.Network)) firewall.Policy {
	br0, br1, br2 := network("br0", "172.18.0.0/16"), network("br1", "172.19.0.0/16"), network("br2", "172.20.0.0/16")
	br2.Internal = true
	if change != nil {
		change(&br0)
	}
	return dual(firewall.Policy{Networks: []firewall.Network{br0, br1, br2}, Ports: []firewall.Port{
		binding(br0, "tcp 0.0.0.0:8080 172.18.0.2:80", 1),
		binding(br0, "tcp 0.0.0.0:8090 172.18.0.3:80", 1),
		binding(br1, "tcp 0.0.0.0:8180 172.19.0.2:80", 1),
		binding(br0, "udp 0.0.0.0:8080 172.18.0.2:80", 1),
	}})
}

// try is one line of expect: "from network address -> server client", or "-> nothing".
// The address may be a host's name and a port. Client "*" is any.
type try struct {
	line                      string
	from, network, to         string
	server, client, got, gotC string
}

func (w *world) parse(line string) *try {
	w.t.Helper()
	t := &try{line: line, client: "*"}
	f := strings.Fields(strings.Replace(line, "->", " ", 1))
	if len(f) < 4 {
		w.t.Fatalf("not a line: %q", line)
	}
	t.from, t.network, t.to, t.server = f[0], f[1], f[2], f[3]
	if len(f) > 4 {
		t.client = f[4]
	}
	if name, port, _ := strings.Cut(t.to, ":"); addresses[name] != "" {
		t.to = addresses[name] + ":" + port
	}
	if addresses[t.client] != "" {
		t.client = addresses[t.client]
	}
	t.to, t.client = w.k.in(t.to), w.k.in(t.client)
	return t
}

// expect asks everything at once and compares which server answered, and the client that it saw. Nobody
// answers what is dropped, so lines that end in "nothing" take a while; a test that
// has them also has a line, or a moment, in which the same path is open.
func (w *world) expect(lines string) {
	w.t.Helper()
	var tries []*try
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line != "" {
			tries = append(tries, w.parse(line))
		}
	}
	var all sync.WaitGroup
	for _, t := range tries {
		all.Go(func() { w.ask(t) })
	}
	all.Wait()
	for _, t := range tries {
		if t.got != t.server || t.client != "*" && t.gotC != t.client && t.got != "nothing" {
			w.t.Errorf("%s: %s %s", t.line, t.got, t.gotC)
		}
	}
}

func (w *world) ask(t *try) {
	timeout, times := 5*time.Second, 1
	if t.server == "nothing" {
		timeout = 300 * time.Millisecond
	} else if t.network == "udp" { // a datagram that is lost while neighbours are looked for is not sent again
		timeout, times = time.Second, 5
	}
	a, err := w.hosts[t.from].Ask(w.net(t.network), t.to, timeout)
	for ; err != nil && times > 1; times-- {
		a, err = w.hosts[t.from].Ask(w.net(t.network), t.to, timeout)
	}
	if err != nil {
		t.got = "nothing"
		if t.server != "nothing" {
			t.gotC = err.Error()
		}
		return
	}
	t.got, t.gotC = a.Server, a.Client.Addr().String()
}

func ipAddr(a string) *net.IPAddr { return &net.IPAddr{IP: net.ParseIP(a)} }
