package nftables

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
)

// large is a policy of 500 networks and 5000 ports, and with is the same with one port more.
func large() (p, with firewall.Policy) {
	for i := range 500 {
		n := firewalltest.Network(fmt.Sprintf("br%d", i), fmt.Sprintf("10.%d.%d.0/24", i/250, i%250))
		p.Networks = append(p.Networks, n)
		for j := range 10 {
			p.Ports = append(p.Ports, firewall.Port{Bridge: n.Bridge, ICC: true, PortBinding: model.PortBinding{Proto: model.TCP, Count: 1,
				Host: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(10000+10*i+j)), Container: netip.AddrPortFrom(n.V4.Prefix.Addr().Next(), 80)}})
		}
	}
	with = p
	with.Ports = append(p.Ports[:len(p.Ports):len(p.Ports)], firewalltest.Port(p.Networks[0], "udp 0.0.0.0:53 10.0.0.2:53", 1))
	return p, with
}

// What a request costs that publishes a port beside 5000 others, but for the kernel.
func BenchmarkDifference(b *testing.B) {
	p, with := large()
	b.ReportAllocs()
	for b.Loop() {
		gone, came := differing(p, with)
		if c := ipv4().difference(ipv4().sets(gone, nil), ipv4().sets(came, nil)); len(c.text) != 1 {
			b.Fatal(c.text)
		}
	}
}

// What a look at everything costs, but for the kernel.
func BenchmarkRender(b *testing.B) {
	p, _ := large()
	b.ReportAllocs()
	for b.Loop() {
		if all := ipv4().render(p, true, nil); len(all.sets) == 0 {
			b.Fatal(all)
		}
	}
}
