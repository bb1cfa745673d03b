package firewalltest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about what DNS has opened for containers whose lists have host names.

// withGrants is a policy with these, as "172.18.0.2 192.0.2.2 tcp 80 81", for both families.
func withGrants(p firewall.Policy, grants ...string) firewall.Policy {
	p.Grants = nil
	for _, spec := range grants {
		var addr, to, proto string
		g := firewall.Grant{Bridge: "br0", Link: "veth"}
		if _, err := fmt.Sscan(spec, &addr, &to, &proto, &g.First, &g.Last); err != nil {
			panic(err)
		}
		g.Proto = map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "icmp": egress.ICMP}[proto]
		g.Addr, g.To = netip.MustParseAddr(addr), netip.MustParseAddr(to)
		p.Grants = append(p.Grants, g)
		g.Addr, g.To = sixth(g.Addr), sixth(g.To)
		p.Grants = append(p.Grants, g)
	}
	slices.SortFunc(p.Grants, func(a, b firewall.Grant) int { return firewall.CompareGrants(&a, &b) })
	return p
}

// What DNS has opened for a container passes as if its list had it, for that container alone.
func egressGrants(w *World) {
	w.listens()
	have := withNames(w.Policy(nil), Named(Egress("br0", "", "192.0.2.2:89"), "80-84,443"))
	w.Apply(have)
	w.Expect("a tcp lan:89 -> lan\n a tcp lan:82 -> host\n a tcp lan:85 -> nothing\n a udp lan:80 -> nothing")
	w.Pings(false, "a lan")
	next := func(lines string, grants ...string) {
		w.T.Helper()
		want := withGrants(have, grants...)
		if err := want.Validate(); err != nil {
			w.T.Fatal(err)
		}
		Apply(w.T, w.Backend, &have, want)
		w.steady(want)
		w.Expect(lines)
		have = want
	}
	next(`
		a tcp lan:82 -> lan 192.0.2.1
		a tcp lan:81 -> host a
		a tcp lan:85 -> nothing
		b tcp lan:82 -> host b
		a tcp lan:89 -> lan`, "172.18.0.2 192.0.2.2 tcp 82 82")
	next(`
		a tcp lan:82 -> lan
		a tcp lan:81 -> host a
		a tcp lan:85 -> lan
		a tcp lan:87 -> nothing
		a udp lan:80 -> lan
		a udp lan:81 -> lan
		a udp 198.51.100.9:53 -> host
		b udp lan:80 -> nothing
		b tcp lan:85 -> nothing`, "172.18.0.2 192.0.2.2 tcp 82 82", "172.18.0.2 192.0.2.2 tcp 85 86", "172.18.0.2 192.0.2.2 udp 0 0", "172.18.0.2 192.0.2.2 icmp 0 0")
	w.Pings(true, "a lan")
	next("a tcp lan:82 -> lan\n a tcp lan:85 -> lan\n a tcp lan:86 -> lan\n b tcp lan:81 -> lan", "172.18.0.2 192.0.2.2 tcp 82 86", "172.18.0.3 192.0.2.2 tcp 81 81")
	icmp := []string{"-D", "-p", "icmp"} // what has begun goes on
	if w.Stand.IP == model.IPv6 {
		icmp = []string{"-D", "-f", "ipv6", "-p", "icmpv6"}
	}
	w.Host.Run("conntrack", icmp...)
	w.Pings(false, "a lan")
	// A published port that leads to an address which was granted is not granted by that.
	c := "172.18.0.2 172.19.0.2 tcp 80 80"
	next("a tcp 192.0.2.1:8180 -> nothing\n a tcp lan:82 -> host\n a tcp lan:85 -> nothing\n b tcp lan:81 -> host", c)
	next("a tcp lan:82 -> host\n a tcp lan:85 -> nothing\n a tcp lan:89 -> lan")
	w.Apply(w.Policy(nil)) // so that what was held up can end
}

// Granted is a policy of a network with names and so many containers, each of which has been
// granted so much, and the same with one grant more, of the last container.
func Granted(containers, each int) (have, want firewall.Policy) {
	n := Network("br0", "10.0.0.0/16")
	n.Listed, n.Names, n.V4.Gateway = true, true, netip.MustParseAddr("10.0.0.1")
	have = firewall.Policy{Networks: []firewall.Network{n}, Process: process, Egress: []firewall.Egress{Named(Egress("br0", "", "none"), "22,80,443")}}
	for i := range containers {
		addr := netip.AddrFrom4([4]byte{10, 0, byte((i + 2) >> 8), byte(i + 2)})
		for j := range each {
			have.Grants = append(have.Grants, firewall.Grant{Bridge: "br0", Link: "veth", Addr: addr, To: netip.AddrFrom4([4]byte{192, 0, 2, byte(j)}),
				Proto: model.TCP, First: 22, Last: 22})
		}
	}
	want = have
	more := have.Grants[len(have.Grants)-1]
	more.To = netip.MustParseAddr("198.51.100.1")
	want.Grants = append(slices.Clip(have.Grants), more)
	return have, want
}

// BenchGrant measures what it costs to have the kernel know one grant more, or less.
func BenchGrant(b *testing.B, backend firewall.Backend, containers, each int) {
	have, want := Granted(containers, each)
	BenchBetween(b, backend, have, want)
}

// BenchBetween measures what it costs to go from one policy to another, or back.
func BenchBetween(b *testing.B, backend firewall.Backend, have, want firewall.Policy) {
	if err := backend.Apply(b.Context(), nil, have); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := backend.Apply(b.Context(), &have, want); err != nil {
			b.Fatal(err)
		}
		have, want = want, have
	}
}
