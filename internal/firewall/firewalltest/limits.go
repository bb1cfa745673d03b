package firewalltest

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Clients are those of IPv4 prefixes, with the same in IPv6.
func Clients(prefixes ...string) model.Clients {
	var all []netip.Prefix
	for _, text := range prefixes {
		p := netip.MustParsePrefix(text)
		all = append(all, p, sixthPrefix(p))
	}
	return model.NewClients(all)
}

// Limit is one of count TCP ports of a container, in br0's network 172.18.0.0/16, br1's
// 172.19.0.0/16 and so on.
func Limit(addr string, first, count uint16, from model.Clients) firewall.Limit {
	o := Opening("tcp "+addr, first, count, "")
	return firewall.Limit{Bridge: o.Bridge, Addr: o.Addr, PortSpan: o.PortSpan, From: from}
}

// DrawLimits adds up to so many limits to each network that can have some; networks that were
// there before go on to have some, or none.
func DrawLimits(t *rapid.T, p *firewall.Policy, most int, was []firewall.Network) {
	p.Networks = slices.Clone(p.Networks)
	for i := range p.Networks {
		n := &p.Networks[i]
		if !slices.ContainsFunc(was, func(w firewall.Network) bool { return w == *n }) {
			n.Limited = rapid.IntRange(0, 2).Draw(t, "limited") == 0
			n.Arrivals = n.Limited && rapid.Bool().Draw(t, "by interface")
		}
		if !n.Limited {
			continue
		}
		for _, f := range model.Families() {
			if !n.Forwards(f) || n.Unprotected(f) {
				continue
			}
			next := 1
			for range rapid.IntRange(0, most).Draw(t, "limits") {
				l := firewall.Limit{Bridge: n.Bridge, Link: drawLink(t), Addr: n.Family(f).Prefix.Addr().Next().Next(), From: drawClients(t, f)}
				l.Proto = rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto")
				l.First, l.Count = uint16(next+rapid.IntRange(0, 200).Draw(t, "gap")), rapid.SampledFrom([]uint16{1, 2, 100}).Draw(t, "count")
				next = int(l.First) + int(l.Count)
				if n.Arrivals {
					l.Via = rapid.SampledFrom([]model.Interfaces{"", "eth0", "eth0,wg0", "br1", "none"}).Draw(t, "interfaces")
					if l.Via != "" && rapid.Bool().Draw(t, "everybody") {
						l.From = ""
					}
				}
				p.Limits = append(p.Limits, l)
			}
		}
	}
	slices.SortFunc(p.Limits, func(a, b firewall.Limit) int {
		return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First))
	})
}

// drawClients draws clients, not all of a family.
func drawClients(t *rapid.T, f model.Family) model.Clients {
	var all []netip.Prefix
	for range rapid.SampledFrom([]int{0, 1, 2, 30}).Draw(t, "clients") {
		b := rapid.SliceOfN(rapid.ByteRange(0, 3), 2, 2).Draw(t, "client")
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, b[0]<<6 | b[1]}), rapid.SampledFrom([]int{9, 24, 29, 32}).Draw(t, "bits")).Masked()
		if f == model.IPv6 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: b[0], 15: b[1]}), rapid.SampledFrom([]int{32, 64, 128}).Draw(t, "bits")).Masked()
		}
		all = append(all, p)
	}
	return model.NewClients(all)
}

// limited is scenarios of ports that some clients reach and others don't.
func limited() []scenario {
	return []scenario{
		{"limits", limits},
		{"limits of routed networks", limitsRouted},
		{"what a limited server begins", limitedServer},
		{"by interface", byInterface},
		{"by interface in routed networks", byInterfaceRouted},
		{"other interfaces while connections are open", otherInterfaces},
	}
}

// withLimits is a policy with limits of br0's network.
func withLimits(p firewall.Policy, limits ...firewall.Limit) firewall.Policy {
	p.Networks = slices.Clone(p.Networks)
	for i := range p.Networks {
		if p.Networks[i].Bridge != "br0" {
			continue
		}
		for _, l := range limits {
			p.Networks[i].Limited = p.Networks[i].Limited || !l.From.All(model.IPv4)
			p.Networks[i].Arrivals = p.Networks[i].Arrivals || l.Via != ""
		}
	}
	p.Limits = Dual(firewall.Policy{Limits: limits}).Limits
	return p
}

// Who reaches a published port is told by the client's own address, be it in the LAN or on another
// network. The host and the port's own network always do, and other ports have nothing to do
// with it.
func limits(w *World) {
	plain := w.Policy(nil)
	w.Apply(plain)
	w.Expect(EveryPath)
	have := plain
	for _, c := range []struct {
		from     model.Clients
		lan, too string
	}{
		{Clients("192.0.2.2/32"), "a lan", "nothing"},
		{Clients("172.19.0.0/16"), "nothing", "a"},
		{Clients("172.19.0.0/16", "192.0.2.0/24"), "a lan", "a"},
		{Clients("198.51.100.7/32", "198.51.100.9/32", "198.51.100.11/32", "198.51.100.13/32", "198.51.100.15/32", "192.0.2.2/32"), "a lan", "nothing"},
		{Clients(), "nothing", "nothing"},
	} {
		want := withLimits(plain, Limit("172.18.0.2", 80, 1, c.from))
		Apply(w.T, w.Backend, &have, want)
		have = want
		w.Expect(`
			lan tcp 192.0.2.1:8080 -> ` + c.lan + `
			c tcp 192.0.2.1:8080 -> ` + c.too + `
			c tcp 172.18.0.1:8080 -> ` + c.too + unlimited)
		if rest, err := w.Backend.Plan(w.T.Context(), nil, want); err != nil || len(rest) > 0 {
			w.T.Fatalf("%s: then there is %q to do: %v", c.from, rest.Changes(), err)
		}
	}
	Apply(w.T, w.Backend, &have, plain)
	w.Expect(EveryPath)
}

// unlimited is what a limit of TCP port 8080 of a leaves as it is: the host, neighbours, other ports.
const unlimited = `
	host tcp 192.0.2.1:8080 -> a 192.0.2.1
	host tcp a:80 -> a
	b tcp 192.0.2.1:8080 -> a 172.18.0.1
	b tcp a:80 -> a b
	lan udp 192.0.2.1:8080 -> a lan
	c udp 192.0.2.1:8080 -> a
	lan tcp 192.0.2.1:8090 -> b lan
	lan tcp 192.0.2.1:8180 -> c lan
	a tcp lan:80 -> lan 192.0.2.1
	a tcp 192.0.2.1:8180 -> c
	lan tcp a:80 -> nothing`

// What is open at a container's own address has the same limits.
func limitsRouted(w *World) {
	open := w.Mode(firewall.DirectRouted, Opening("tcp 172.18.0.2", 80, 2, ""))
	w.Apply(open)
	w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> a\n lan tcp a:81 -> a lan\n c tcp a:81 -> a")
	w.Apply(withLimits(open, Limit("172.18.0.2", 80, 1, Clients("192.0.2.2/32"))))
	w.Expect("lan tcp a:80 -> a lan\n c tcp a:80 -> nothing\n lan tcp a:81 -> a lan\n c tcp a:81 -> a\n host tcp a:80 -> a")
	w.Apply(withLimits(open, Limit("172.18.0.2", 80, 2, Clients("172.19.0.2/32"))))
	w.Expect("lan tcp a:80 -> nothing\n c tcp a:80 -> a\n lan tcp a:81 -> nothing\n c tcp a:81 -> a")
}

// A flow that the server begins from a limited port would let its replies in, which are what
// the client goes on sending.
func limitedServer(w *World) {
	answered := func(want bool) {
		w.T.Helper()
		c := w.Hosts["a"].ListenPacket(w.Net("udp"), w.Stand.In("0.0.0.0:85"))
		defer c.Close()
		timeout := 300 * time.Millisecond
		if want {
			timeout = time.Second
		}
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(w.Stand.In(Address("lan") + ":80")))
		for tries := 0; ; tries++ {
			if _, err := c.WriteTo([]byte("x"), to); err != nil {
				w.T.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(timeout))
			_, _, err := c.ReadFrom(make([]byte, 1500))
			if err == nil != want && tries < 4 && want {
				continue // lost while neighbours are looked for
			}
			if (err == nil) != want {
				w.T.Errorf("answered: %v", err)
			}
			return
		}
	}
	limit := Limit("172.18.0.2", 85, 1, Clients())
	limit.Proto = model.UDP
	w.Apply(withLimits(w.Policy(nil), limit))
	answered(false)
	limit.From = Clients("192.0.2.0/24")
	w.Apply(withLimits(w.Policy(nil), limit))
	answered(true)
}
