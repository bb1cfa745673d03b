package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// listed is scenarios of what containers may begin connections to.
func listed() []scenario {
	return []scenario{
		{"egress lists", egressLists},
		{"egress lists of containers", egressOfContainers},
		{"egress of other protocols", egressProtocols},
		{"egress to the host", egressToHost},
		{"egress out of order", egressOutOfOrder},
	}
}

// What the network's containers begin is compared by the address that they have chosen; who comes
// in, neighbours, and other networks have nothing to do with it.
func egressLists(w *World) {
	for port := 90; port < 93; port++ {
		w.Host.Echo(w.Net("tcp"), w.Stand.In(fmt.Sprintf("0.0.0.0:%d", port)))
	}
	const always = `
		a tcp b:80 -> b a
		a tcp 192.0.2.1:8090 -> b 172.18.0.1
		lan tcp 192.0.2.1:8080 -> a lan
		lan udp 192.0.2.1:8080 -> a lan
		c tcp 192.0.2.1:8080 -> a
		host tcp a:80 -> a
		c tcp lan:81 -> lan 192.0.2.1
		c tcp 192.0.2.1:91 -> host
		c tcp 172.19.0.1:91 -> host`
	paths := []string{"a tcp lan:80 -> lan", "a tcp lan:81 -> lan", "a udp lan:80 -> lan", "a udp lan:81 -> lan", "a tcp 192.0.2.1:8180 -> c",
		"a tcp 192.0.2.1:90 -> host", "a tcp 172.18.0.1:90 -> host", "a tcp 172.19.0.1:90 -> host", "a tcp 172.18.0.1:91 -> host", "a tcp 192.0.2.1:92 -> host"}
	expect := func(open ...int) {
		w.T.Helper()
		lines := always
		for i, path := range paths {
			if !slices.Contains(open, i) {
				path, _, _ = strings.Cut(path, "->")
				path += "-> nothing"
			}
			lines += "\n" + path
		}
		w.Expect(lines)
	}
	plain := w.Policy(nil)
	w.Apply(plain)
	expect(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	have := plain
	for _, c := range []struct {
		list string
		open []int
	}{
		{"none", nil},
		{"192.0.2.2", []int{0, 1, 2, 3}},
		{"192.0.2.2:80", []int{0, 2}},
		{"192.0.2.0/24/udp", []int{2, 3}},
		{"192.0.2.2:80-81/tcp,192.0.2.2:81/udp", []int{0, 1, 3}},
		{"192.0.2.1", []int{4, 5, 9}},
		{"192.0.2.1:8180", []int{4}},
		{"host:8180,host:90-91", []int{4, 5, 6, 7, 8}},
		{"host:8180/udp,host:92/tcp", []int{9}},
		{"172.19.0.2", nil}, // a published port is asked for at the host's address
		{"172.18.0.0/16", []int{6, 8}},
		{"0.0.0.0/0:80/tcp", []int{0}},
		{"0.0.0.0/0", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"192.0.2.9:80,192.0.2.10:80,192.0.2.11:80,192.0.2.12:80,192.0.2.13:80,192.0.2.2:81", []int{1, 3}},
	} {
		want := withEgress(plain, Egress("br0", "", c.list))
		Apply(w.T, w.Backend, &have, want)
		have = want
		expect(c.open...)
		if rest, err := w.Backend.Plan(w.T.Context(), nil, want); err != nil || len(rest) > 0 {
			w.T.Fatalf("%s: then there is %q to do: %v", c.list, rest.Changes(), err)
		}
	}
	Apply(w.T, w.Backend, &have, plain)
	expect(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
}

// A container's list counts instead of the network's. Where some have their own, whoever has an
// address that is no container's has none.
func egressOfContainers(w *World) {
	w.Host.Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:90"))
	plain := w.Policy(nil)
	mixed := withEgress(plain, Egress("br0", "", "none"), Egress("br0", "172.18.0.2", "192.0.2.2:80"), Egress("br0", "172.18.0.3", "all"))
	w.Apply(mixed)
	w.Expect(`
		a tcp lan:80 -> lan
		a tcp lan:81 -> nothing
		a tcp 192.0.2.1:90 -> nothing
		a tcp b:80 -> b
		b tcp lan:81 -> lan
		b tcp 192.0.2.1:90 -> host
		b tcp 192.0.2.1:8180 -> c
		lan tcp 192.0.2.1:8080 -> a lan
		lan tcp 192.0.2.1:8090 -> b lan
		c tcp lan:81 -> lan`)
	w.Hosts["b"].Run("ip", "address", "del", w.Stand.In("172.18.0.3/16"), "dev", "eth0")
	w.Hosts["b"].Address("eth0", w.Stand.In("172.18.0.9/16"))
	w.Hosts["b"].Route(w.Stand.In("0.0.0.0/0"), w.Stand.In("172.18.0.1")) // it goes with the last address of IPv4
	w.Expect("b tcp lan:81 -> nothing\n b tcp 192.0.2.1:90 -> nothing\n a tcp lan:80 -> lan")
	next := withEgress(plain, Egress("br0", "", "192.0.2.2:81"), Egress("br0", "172.18.0.2", "none"))
	Apply(w.T, w.Backend, &mixed, next)
	w.Expect("b tcp lan:81 -> lan\n b tcp lan:80 -> nothing\n a tcp lan:80 -> nothing\n a tcp lan:81 -> nothing")
	if rest, err := w.Backend.Plan(w.T.Context(), nil, next); err != nil || len(rest) > 0 {
		w.T.Fatalf("then there is %q to do: %v", rest.Changes(), err)
	}
}

// raw sends a packet of an IP protocol that has no ports and reports whether it arrives.
func (w *World) raw(from, to, proto string, timeout time.Duration) bool {
	w.T.Helper()
	network := "ip4:" + proto
	if w.Stand.IP == model.IPv6 {
		network = "ip6:" + proto
	}
	l := w.Hosts[to].ListenPacket(network, w.Stand.In("0.0.0.0"))
	defer l.Close()
	c := w.Hosts[from].ListenPacket(network, w.Stand.In(Address(from)))
	defer c.Close()
	for tries := 0; ; tries++ { // the first is lost while neighbours are looked for
		if _, err := c.WriteTo([]byte("hello, world"), &net.IPAddr{IP: net.ParseIP(w.Stand.In(Address(to)))}); err != nil {
			w.T.Fatal(err)
		}
		_ = l.SetReadDeadline(time.Now().Add(timeout))
		if _, _, err := l.ReadFrom(make([]byte, 1500)); err == nil {
			return true
		} else if tries > 3 {
			return false
		}
	}
}

// A list is about every protocol, save where it says which.
func egressProtocols(w *World) {
	const gre = "47"
	plain := w.Policy(nil)
	for _, c := range []struct {
		list string
		ping string // who of lan, host and b can be pinged
		gre  bool
	}{
		{"all", "lan host b", true},
		{"none", "b", false},
		{"192.0.2.2/icmp", "lan b", false},
		{"192.0.2.2:1-65535", "b", false},
		{"192.0.2.1/icmp", "host b", false},
		{"192.0.2.2", "lan b", true},
	} {
		p := plain
		if c.list != "all" {
			p = withEgress(plain, Egress("br0", "", c.list))
		}
		w.Apply(p)
		w.Host.Run("conntrack", "-F")
		for _, to := range []string{"lan", "host", "b"} {
			w.Pings(strings.Contains(c.ping, to), "a "+to)
		}
		if got := w.raw("a", "lan", gre, 200*time.Millisecond); got != c.gre {
			w.T.Errorf("%s: GRE arrives: %t", c.list, got)
		}
		if got := w.raw("a", "host", gre, 200*time.Millisecond); got != (c.list == "all") {
			w.T.Errorf("%s: GRE arrives at the host: %t", c.list, got)
		}
	}
}

// The host's own sockets are outside, by whatever address; what it begins is answered, and goes on.
func egressToHost(w *World) {
	listen := w.Host.ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:95"))
	defer listen.Close()
	w.Host.Echo(w.Net("tcp"), w.Stand.In("0.0.0.0:90"))
	places := []string{"172.18.0.1", "192.0.2.1", "172.18.255.255", "255.255.255.255", "224.0.0.1"}
	if w.Stand.IP == model.IPv6 {
		local := strings.Fields(w.Host.Run("ip", "-6", "-o", "address", "show", "dev", "br0", "scope", "link"))
		address, _, _ := strings.Cut(local[3], "/")
		places = []string{"fd00:18::1", "2001:db8::1", "ff02::1%eth0", address + "%eth0"}
	}
	hears := func(at string, timeout time.Duration) bool {
		w.T.Helper()
		var to net.UDPAddr
		a := netip.MustParseAddr(at)
		to.IP, to.Zone, to.Port = a.WithZone("").AsSlice(), a.Zone(), 95
		c := w.Hosts["a"].ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:0"))
		defer c.Close()
		var err error
		w.Hosts["a"].In(func() { // a zone is a link of the namespace
			if index, e := net.InterfaceByName("eth0"); e == nil && to.Zone != "" {
				to.Zone = fmt.Sprint(index.Index)
			}
			_, err = c.WriteTo([]byte(at), &to)
		})
		if err != nil {
			w.T.Fatalf("%s: %v", at, err)
		}
		for end := time.Now().Add(timeout); ; {
			_ = listen.SetReadDeadline(end)
			got := make([]byte, 100)
			n, _, err := listen.ReadFrom(got)
			if err != nil {
				return false
			}
			if string(got[:n]) == at {
				return true
			}
		}
	}
	plain := w.Policy(nil)
	w.Apply(plain)
	if w.Stand.IP == model.IPv4 {
		w.Hosts["a"].Run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
		w.Hosts["a"].Run("ip", "route", "add", "255.255.255.255/32", "dev", "eth0")
	}
	for _, at := range places {
		if !hears(at, 5*time.Second) {
			w.T.Errorf("without a list the host does not hear what is sent to %s", at)
		}
	}
	began, err := w.Hosts["a"].Dial(w.Net("tcp"), w.Stand.In("172.18.0.1:90"), 5*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	defer began.Close()
	asked, err := w.Host.Dial(w.Net("tcp"), w.Stand.In(Address("a")+":80"), 5*time.Second)
	if err != nil {
		w.T.Fatal(err)
	}
	defer asked.Close()
	for _, c := range []net.Conn{began, asked} {
		if _, err := nettest.AskOn(c, 5*time.Second); err != nil {
			w.T.Fatalf("without a list: %v", err)
		}
	}
	answers := func(c net.Conn, timeout time.Duration) bool {
		_ = c.SetDeadline(time.Now().Add(timeout))
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		n, err := c.Read(make([]byte, 100))
		return err == nil && n > 0
	}
	w.Apply(withEgress(plain, Egress("br0", "", "192.0.2.2")))
	for _, at := range places {
		if hears(at, 300*time.Millisecond) {
			w.T.Errorf("the host hears what is sent to %s", at)
		}
	}
	if answers(began, 300*time.Millisecond) {
		w.T.Error("a connection to the host that began before the list goes on")
	}
	if !answers(asked, 5*time.Second) {
		w.T.Error("what the host has begun does not go on")
	}
	// Who looks for neighbours anew finds the gateway.
	w.Hosts["a"].Run("ip", "neigh", "flush", "dev", "eth0")
	w.Host.Run("ip", "neigh", "flush", "dev", "br0")
	w.Expect("a tcp lan:80 -> lan\n lan tcp 192.0.2.1:8080 -> a lan")
	w.Apply(plain) // so that the connection that was held up can end
}

// What pretends to be a reply is none, and neither is what comes from the port of a server.
func egressOutOfOrder(w *World) {
	const synAck = 0x12
	plain := w.Policy(func(n *firewall.Network) { n.V4.Masquerade = false })
	w.Apply(plain)
	own := w.Stand.In(Address("a"))
	for _, flags := range []byte{synAck, reset, syn} {
		if got := w.segment("a", "lan", flags, 5*time.Second); got != own {
			w.T.Errorf("without a list a segment with flags %#x arrives from %q", flags, got)
		}
	}
	fromPort := func() bool {
		l := w.Hosts["lan"].ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:97"))
		defer l.Close()
		c := w.Hosts["a"].ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:88"))
		defer c.Close()
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(w.Stand.In(Address("lan") + ":97")))
		if _, err := c.WriteTo([]byte("x"), to); err != nil {
			w.T.Fatal(err)
		}
		_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _, err := l.ReadFrom(make([]byte, 10))
		return err == nil
	}
	if !fromPort() {
		w.T.Error("without a list a server's port sends nothing")
	}
	w.Host.Run("conntrack", "-F")
	plain.Ports = append(slices.Clone(plain.Ports), Dual(firewall.Policy{Ports: []firewall.Port{Port(plain.Networks[0], "udp 0.0.0.0:8888 172.18.0.2:88", 1)}}).Ports...)
	slices.SortFunc(plain.Ports, func(a, b firewall.Port) int { return a.Compare(b.PortBinding) })
	w.Apply(withEgress(plain, Egress("br0", "", "none")))
	for _, flags := range []byte{synAck, reset, syn} {
		if got := w.segment("a", "lan", flags, 300*time.Millisecond); got != "" {
			w.T.Errorf("a segment with flags %#x arrives from %q", flags, got)
		}
	}
	if fromPort() {
		w.T.Error("a server's port sends what nobody has asked for")
	}
	// What is of no flow may not be sent where everything may be begun.
	for _, list := range []string{"0.0.0.0/0", "0.0.0.0/0/tcp"} {
		w.Apply(withEgress(plain, Egress("br0", "", list)))
		for _, flags := range []byte{synAck, reset} {
			w.Host.Run("conntrack", "-F")
			if got := w.segment("a", "lan", flags, 300*time.Millisecond); got != "" {
				w.T.Errorf("%s: a segment with flags %#x arrives from %q", list, flags, got)
			}
		}
		if got := w.segment("a", "lan", syn, 5*time.Second); got != own {
			w.T.Errorf("%s: a segment that begins a flow arrives from %q", list, got)
		}
		w.Hosts["a"].Run("ip", "neigh", "flush", "dev", "eth0")
		w.Host.Run("ip", "neigh", "flush", "dev", "br0")
		w.Expect("a tcp lan:80 -> lan\n a tcp b:80 -> b")
	}
	w.Apply(withEgress(plain, Egress("br0", "", "0.0.0.0/0")))
	w.Host.Run("conntrack", "-F")
	if !fromPort() {
		w.T.Error("what is listed may not be begun")
	}
	w.Host.Feed("table inet test { chain untracked { type filter hook prerouting priority raw; udp dport 97 notrack; }; }", "nft", "-f", "-")
	if fromPort() {
		w.T.Error("what is not tracked arrives")
	}
}
