package iptables

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
)

// Openings at one address that have their protocol and the beginning of their ports in common keep
// no packet from those at other addresses, which the same level of the index has.
func TestOpeningsAtSeveralAddresses(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		p := firewall.Policy{Networks: []firewall.Network{firewalltest.Network("br0", "172.18.0.0/24"), firewalltest.Network("br1", "172.30.0.0/24")}}
		for i := range p.Networks {
			n := &p.Networks[i]
			n.V4.Direct = firewall.DirectOpenings
			n.V6 = n.V4
			n.V6.Prefix = netip.MustParsePrefix(firewalltest.In(model.IPv6, n.V4.Prefix.String()))
		}
		a, b := fam.address("172.18.0.2"), fam.address("172.30.0.2")
		for port := range uint16(4) {
			p.Openings = append(p.Openings,
				firewall.Opening{Bridge: "br0", Link: "veth0", Addr: a, PortSpan: model.PortSpan{Proto: model.UDP, First: 1 + port, Count: 1}},
				firewall.Opening{Bridge: "br1", Link: "veth1", Addr: b, PortSpan: model.PortSpan{Proto: model.UDP, First: 1 + 1000*port, Count: 1}},
				firewall.Opening{Bridge: "br1", Link: "veth1", Addr: b, PortSpan: model.PortSpan{Proto: model.TCP, First: 1 + 1000*port, Count: 1}})
		}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		table := ruleTable(fam.render(p, facts{user: true})[0], besides(fam.layout(p)), nil)
		for _, o := range p.Openings {
			k := probe{in: "eth0", out: o.Bridge, src: fam.address("192.0.2.9"), dst: o.Addr, chosen: o.Addr, chosenTo: uint64(o.First), state: "NEW", proto: o.Proto.String(), port: uint64(o.First)}
			w := walk{chains: table, probe: k}
			if got := w.through("FORWARD"); got != "ACCEPT" {
				t.Errorf("%s: a packet to %s, %s port %d, which is open: %q", fam, o.Addr, o.Proto, o.First, got)
			}
		}
	}
}
