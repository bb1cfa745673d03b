package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
)

// drawPorts are many ports, adjacent ones and single ones, of which some are in a policy.
func drawPorts(t *rapid.T, n firewall.Network) (all []firewall.Port) {
	taken := map[string]bool{}
	for range rapid.IntRange(0, 50).Draw(t, "ports") {
		// A few numbers that share their first bits, and a few that don't.
		first := rapid.SampledFrom([]int{1, 80, 8080, 8192, 20000, 40000}).Draw(t, "base") + rapid.IntRange(0, 40).Draw(t, "offset")
		host := rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1", "192.0.2.200"}).Draw(t, "host")
		b := model.PortBinding{Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP}).Draw(t, "proto"), Count: 1,
			Host: netip.AddrPortFrom(netip.MustParseAddr(host), uint16(first)), Container: netip.MustParseAddrPort("10.0.0.2:80")}
		if rapid.IntRange(0, 5).Draw(t, "range") == 0 {
			b.Count = uint16(rapid.SampledFrom([]int{2, 5, 16, 40, 300}).Draw(t, "count"))
		}
		if key := fmt.Sprint(b.Proto, b.Host); !taken[key] {
			taken[key] = true
			all = append(all, firewall.Port{Bridge: n.Bridge, ICC: true, PortBinding: b})
		}
	}
	slices.SortFunc(all, func(a, b firewall.Port) int { return a.Compare(b.PortBinding) })
	return all
}

// What is made of a difference is what rendering all rules of both policies has shown to differ.
func TestDifferingIsTheDifference(t *testing.T) {
	networks := func(t *rapid.T) (all []firewall.Network) {
		for i := range rapid.IntRange(1, 7).Draw(t, "networks") {
			n := firewalltest.Network(fmt.Sprintf("br%d", i), fmt.Sprintf("10.%d.0.0/16", i))
			n.V4.Direct = firewall.DirectOpenings
			all = append(all, n)
		}
		return all
	}
	openings := func(t *rapid.T) (all []firewall.Opening) {
		for i := range rapid.IntRange(0, 9).Draw(t, "openings") {
			all = append(all, firewall.Opening{Bridge: "br0", Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i)}), PortSpan: model.PortSpan{Proto: model.TCP, First: 80, Count: 1}})
		}
		return all
	}
	narrow := 0
	rapid.Check(t, func(t *rapid.T) {
		have := firewall.Policy{Networks: networks(t), Openings: openings(t)}
		have.Ports = drawPorts(t, have.Networks[0])
		want := have
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			want.Networks = networks(t)
		case 1:
			want.Openings = openings(t)
		}
		switch rapid.IntRange(0, 3).Draw(t, "ports change") {
		case 0:
			want.Ports = drawPorts(t, want.Networks[0])
		case 1, 2: // as one request does
			want.Ports = slices.Clone(have.Ports)
			for range rapid.IntRange(0, 2).Draw(t, "go") {
				if n := len(want.Ports); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "which")
					want.Ports = slices.Delete(want.Ports, i, i+1)
				}
			}
			for _, p := range drawPorts(t, want.Networks[0]) {
				if len(want.Ports)-len(have.Ports) > 1 {
					break
				}
				if !slices.ContainsFunc(want.Ports, func(o firewall.Port) bool { return o.Host == p.Host && o.Proto == p.Proto }) {
					want.Ports = append(want.Ports, p)
				}
			}
			slices.SortFunc(want.Ports, func(a, b firewall.Port) int { return a.Compare(b.PortBinding) })
		}
		fam, f := ipv4(), facts{user: true}
		if !fam.commutes(have, want) {
			t.Skip("another plan is made of it")
		}
		h, w := fam.differing(have, want, f)
		v := &variant{}
		one, all := difference(v, h, w), difference(v, fam.render(have, f), fam.render(want, f))
		if one.input != all.input || !slices.Equal(one.text, all.text) {
			t.Errorf("have\n%s\nwant\n%s", one.input, all.input)
		}
		if len(h[1].chains) < len(fam.render(have, f)[1].chains) {
			narrow++
		}
	})
	if narrow == 0 {
		t.Error("nothing was ever left out")
	}
}

// What a request costs that publishes a port beside others, but for the command.
func BenchmarkDifference(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("ports=%d", n), func(b *testing.B) {
			have := firewall.Policy{Networks: []firewall.Network{firewalltest.Network("br0", "10.0.0.0/16")}}
			for i := range n {
				have.Ports = append(have.Ports, firewall.Port{Bridge: "br0", ICC: true, PortBinding: model.PortBinding{Proto: model.TCP, Count: 1,
					Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(20000+2*i)), Container: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)}), 80)}})
			}
			want := have
			want.Ports = slices.Delete(slices.Clone(have.Ports), n/2, n/2+1)
			fam, f, v := ipv4(), facts{user: true}, &variant{}
			b.ReportAllocs()
			for b.Loop() {
				h, w := fam.differing(have, want, f)
				if c := difference(v, h, w); len(c.text) != 1 {
					b.Fatal(c.text)
				}
			}
		})
	}
}
