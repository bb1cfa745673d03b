package firewalltest

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// World is a Docker host in a LAN, with links but without mybr's rules:
//
//	lan 192.0.2.2 ── eth0 192.0.2.1 [host] br0     172.18.0.1 ── a .2, b .3
//	    (routes to the containers)         br1     172.19.0.1 ── c .2
//	                                       br2     172.20.0.1 ── i .2 (for an internal network)
//	                                       docker0 172.17.0.1 ── d .2
//
// and the same in IPv6. Everyone runs echo servers at tcp 80 to 89 and udp 80 and 81; the policy of FORWARD is DROP.
type World struct {
	T       *testing.T
	Stand   Stand
	Host    *nettest.Host
	Hosts   map[string]*nettest.Host
	Backend firewall.Backend

	suite Suite // that the test is of, if any
}

// lanHost is the host's address in the LAN.
const lanHost = "192.0.2.1"

// Address is that of a host in IPv4; "": there is no such host.
func Address(name string) string {
	return map[string]string{"host": lanHost, "lan": "192.0.2.2", "a": "172.18.0.2", "b": "172.18.0.3", "c": "172.19.0.2", "i": "172.20.0.2", "d": "172.17.0.2"}[name]
}

// NewWorld makes one, for a backend that has not done anything yet.
func NewWorld(t *testing.T, h *nettest.Host, s Stand, b firewall.Backend) *World {
	t.Helper()
	w := &World{T: t, Stand: s, Host: h, Hosts: map[string]*nettest.Host{"host": h}, Backend: b}
	lan := w.peer("lan")
	h.Connect(nettest.End{Name: "eth0", Addresses: both(lanHost + "/24")}, lan, nettest.End{Name: "eth0", Addresses: both("192.0.2.2/24")})
	lan.Route("172.16.0.0/12", lanHost)
	lan.Route("fd00::/16", In(model.IPv6, lanHost))
	for i, name := range []string{"docker0", "br0", "br1", "br2"} {
		h.Run("ip", "link", "add", name, "type", "bridge")
		for _, a := range both(fmt.Sprintf("172.%d.0.1/16", 17+i)) {
			h.Address(name, a)
		}
		h.Run("ip", "link", "set", name, "up")
	}
	for _, c := range [][2]string{{"a", "br0"}, {"b", "br0"}, {"c", "br1"}, {"i", "br2"}, {"d", "docker0"}} {
		box := w.peer(c[0])
		h.Connect(nettest.End{Name: "v" + c[0], Master: c[1]}, box, nettest.End{Name: "eth0", Addresses: both(Address(c[0]) + "/16")})
		gateway := netip.MustParsePrefix(Address(c[0]) + "/16").Masked().Addr().Next().String()
		box.Route("0.0.0.0/0", gateway)
		box.Route("::/0", In(model.IPv6, gateway))
	}
	for _, name := range []string{"lan", "a", "b", "c", "i", "d"} {
		for p := 80; p < 90; p++ {
			w.Hosts[name].Echo(w.Net("tcp"), w.Stand.In(fmt.Sprintf("0.0.0.0:%d", p)))
		}
		w.Hosts[name].Echo(w.Net("udp"), w.Stand.In("0.0.0.0:80"))
		w.Hosts[name].Echo(w.Net("udp"), w.Stand.In("0.0.0.0:81"))
	}
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	if s.Name != Alone {
		s.Do(h, "-P FORWARD DROP")
	}
	return w
}

// both is an interface's address in both families.
func both(address string) []string { return []string{address, In(model.IPv6, address)} }

// Net is a protocol in the family that the test is about, as the net package has it.
func (w *World) Net(proto string) string {
	return proto + strings.TrimPrefix(w.Stand.IP.String(), "IPv")
}

func (w *World) peer(name string) *nettest.Host {
	w.Hosts[name] = w.Host.Peer(name)
	return w.Hosts[name]
}

// Apply makes the rules of a policy, from whatever is there.
func (w *World) Apply(p firewall.Policy) {
	w.T.Helper()
	Apply(w.T, w.Backend, nil, p)
}

// Policy is that of the world's three networks, in both families.
func (w *World) Policy(change func(br0 *firewall.Network)) firewall.Policy {
	br0, br1, br2 := Network("br0", "172.18.0.0/16"), Network("br1", "172.19.0.0/16"), Network("br2", "172.20.0.0/16")
	br2.Internal = true
	if change != nil {
		change(&br0)
	}
	return Dual(firewall.Policy{Networks: []firewall.Network{br0, br1, br2}, Ports: []firewall.Port{
		Port(br0, "tcp 0.0.0.0:8080 172.18.0.2:80", 1),
		Port(br0, "tcp 0.0.0.0:8090 172.18.0.3:80", 1),
		Port(br1, "tcp 0.0.0.0:8180 172.19.0.2:80", 1),
		Port(br0, "udp 0.0.0.0:8080 172.18.0.2:80", 1),
	}})
}

// try is one line of expect: "from network address -> server client", or "-> nothing".
// The address may be a host's name and a port. Client "*" is any.
type try struct {
	line                      string
	from, network, to         string
	server, client, got, gotC string
}

func (w *World) parse(line string) *try {
	w.T.Helper()
	t := &try{line: line, client: "*"}
	f := strings.Fields(strings.Replace(line, "->", " ", 1))
	if len(f) < 4 {
		w.T.Fatalf("not a line: %q", line)
	}
	t.from, t.network, t.to, t.server = f[0], f[1], f[2], f[3]
	if len(f) > 4 {
		t.client = f[4]
	}
	if name, port, _ := strings.Cut(t.to, ":"); Address(name) != "" {
		t.to = Address(name) + ":" + port
	}
	if Address(t.client) != "" {
		t.client = Address(t.client)
	}
	t.to, t.client = w.Stand.In(t.to), w.Stand.In(t.client)
	return t
}

// Expect asks everything at once and compares which server answered, and the client that it saw. Nobody
// answers what is dropped, so lines that end in "nothing" take a while; a test that
// has them also has a line, or a moment, in which the same path is open.
func (w *World) Expect(lines string) {
	w.T.Helper()
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
			w.T.Errorf("%s: %s %s", t.line, t.got, t.gotC)
		}
	}
}

func (w *World) ask(t *try) {
	timeout, times := 5*time.Second, 1
	if t.server == "nothing" {
		timeout = 300 * time.Millisecond
	} else if t.network == "udp" { // a datagram that is lost while neighbours are looked for is not sent again
		timeout, times = time.Second, 5
	}
	a, err := w.Hosts[t.from].Ask(w.Net(t.network), t.to, timeout)
	for ; err != nil && times > 1; times-- {
		a, err = w.Hosts[t.from].Ask(w.Net(t.network), t.to, timeout)
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
