package firewalltest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Network is an ordinary network: bridge, subnet, everything as Docker has it by default.
func Network(bridge, subnet string) firewall.Network {
	return firewall.Network{ID: "id-" + bridge, Bridge: bridge, ICC: true,
		V4: firewall.Family{Prefix: netip.MustParsePrefix(subnet), Masquerade: true, Hairpin: true}}
}

// Port is a binding of count ports, as "tcp 0.0.0.0:8080 172.18.0.2:80".
func Port(n firewall.Network, spec string, count uint16) firewall.Port {
	var proto, host, to string
	if _, err := fmt.Sscan(spec, &proto, &host, &to); err != nil {
		panic(err)
	}
	protos := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, PortBinding: model.PortBinding{
		Proto: protos[proto], Host: netip.MustParseAddrPort(host), Container: netip.MustParseAddrPort(to), Count: count}}
}

// Opening is one to count ports from the first on, as "tcp 172.18.0.2"; br0 has
// 172.18.0.0/16, br1 172.19.0.0/16 and so on.
func Opening(spec string, first, count uint16, from string) firewall.Opening {
	proto, addr, _ := strings.Cut(spec, " ")
	a := netip.MustParseAddr(addr)
	p := map[string]model.Proto{"tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[proto]
	return firewall.Opening{Bridge: fmt.Sprintf("br%d", a.As4()[1]-18), Addr: a, From: from,
		PortSpan: model.PortSpan{Proto: p, First: first, Count: count}}
}

// TwoNetworks is a policy of two ordinary networks, and of a port that the first publishes.
func TwoNetworks() firewall.Policy {
	a, b := Network("br0", "172.18.0.0/16"), Network("br1", "172.19.0.0/16")
	return Dual(firewall.Policy{Networks: []firewall.Network{a, b}, Ports: []firewall.Port{Port(a, "tcp 0.0.0.0:8080 172.18.0.2:80", 1)}})
}

// Sizes is how many things a drawn policy has: each is one of these numbers.
type Sizes struct {
	Networks        []int // of which each is there or not
	Ports, Openings []int // of a network in one family
}

// Policies draws valid policies of which many networks are as they were.
func Policies(sizes Sizes, was firewall.Policy) *rapid.Generator[firewall.Policy] {
	return rapid.Custom(func(t *rapid.T) firewall.Policy {
		var p firewall.Policy
		old := len(was.Networks) > 0 && rapid.IntRange(0, 3).Draw(t, "old") > 0
		for i := range rapid.SampledFrom(sizes.Networks).Draw(t, "networks") {
			if !rapid.Bool().Draw(t, "there") {
				continue
			}
			n := DrawNetwork(t, i)
			if j := slices.IndexFunc(was.Networks, func(w firewall.Network) bool { return w.Bridge == n.Bridge }); j >= 0 && old {
				n = was.Networks[j]
			}
			p.Networks = append(p.Networks, n)
		}
		if p.DefaultDrop = was.DefaultDrop; !old && rapid.IntRange(0, 4).Draw(t, "close") == 0 {
			p.DefaultDrop = firewall.Families{V4: rapid.Bool().Draw(t, "close IPv4"), V6: rapid.Bool().Draw(t, "close IPv6")}
		}
		if p.Accept = was.Accept; !old && rapid.IntRange(0, 4).Draw(t, "mark") == 0 {
			p.Accept = firewall.Mark{Value: 1, Mask: rapid.SampledFrom([]uint32{1, 1<<32 - 1}).Draw(t, "mask")}
		}
		free := map[model.Proto]int{model.TCP: 1, model.UDP: 1, model.SCTP: 1}
		for _, n := range p.Networks {
			for _, f := range []firewall.Family{n.V4, n.V6} {
				if n.Internal || !f.Prefix.IsValid() {
					continue
				}
				for range rapid.SampledFrom(sizes.Ports).Draw(t, "ports") {
					p.Ports = append(p.Ports, DrawPort(t, n, f, free))
				}
				if f.Direct == firewall.DirectOpenings || f.Direct == firewall.DirectRouted {
					for range rapid.SampledFrom(sizes.Openings).Draw(t, "openings") {
						p.Openings = append(p.Openings, DrawOpening(t, n, f))
					}
				}
			}
		}
		slices.SortFunc(p.Openings, func(a, b firewall.Opening) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		p.Openings = slices.Compact(p.Openings)
		DrawLimits(t, &p, 3, was.Networks)
		DrawEgress(t, &p, 2, was.Networks)
		return p
	})
}

// DrawNetwork draws the network of a bridge, "br" and a number.
func DrawNetwork(t *rapid.T, i int) firewall.Network {
	n := Network(fmt.Sprintf("br%d", i), fmt.Sprintf("172.%d.0.0/16", 18+i))
	n = Dual(firewall.Policy{Networks: []firewall.Network{n}}).Networks[0]
	n.Internal, n.ICC = rapid.Bool().Draw(t, "internal"), rapid.Bool().Draw(t, "icc")
	off := rapid.SampledFrom([]int{0, 0, 0, 4, 6}).Draw(t, "off")
	for which, f := range map[int]*firewall.Family{4: &n.V4, 6: &n.V6} {
		if which == off {
			*f = firewall.Family{}
		}
	}
	n.V6.Input = rapid.SampledFrom([]firewall.Input{firewall.InputAll, firewall.InputAll, firewall.InputNoAdvertisements, firewall.InputNone}).Draw(t, "input")
	for _, f := range []*firewall.Family{&n.V4, &n.V6} {
		if !f.Prefix.IsValid() {
			continue
		}
		f.Direct = rapid.SampledFrom([]firewall.Direct{firewall.DirectNone, firewall.DirectOpenings, firewall.DirectRouted, firewall.DirectAll}).Draw(t, "direct")
		f.Masquerade, f.Hairpin = rapid.Bool().Draw(t, "masquerade"), rapid.Bool().Draw(t, "hairpin")
		if rapid.IntRange(0, 3).Draw(t, "snat") == 0 {
			f.SNAT = netip.MustParseAddr("192.0.2.1")
			if f.Prefix.Addr().Is6() {
				f.SNAT = sixth(f.SNAT)
			}
		}
	}
	return n
}

// DrawPort draws a binding behind all that were drawn before, so that none overlap.
func DrawPort(t *rapid.T, n firewall.Network, f firewall.Family, free map[model.Proto]int) firewall.Port {
	proto := rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto")
	first := free[proto] + rapid.IntRange(0, 5000).Draw(t, "gap")%(65000-free[proto])
	count := rapid.SampledFrom([]int{1, 1, 2, 100}).Draw(t, "count")
	free[proto] = first + count
	to := rapid.SampledFrom([]int{first, 1, 65536 - count}).Draw(t, "to")
	host := netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1"}).Draw(t, "host"))
	if f.Prefix.Addr().Is6() {
		host = sixth(host)
	}
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, Link: drawLink(t), PortBinding: model.PortBinding{
		Proto: proto, Count: uint16(count),
		Host:      netip.AddrPortFrom(host, uint16(first)),
		Container: netip.AddrPortFrom(f.Prefix.Addr().Next().Next(), uint16(to)),
	}}
}

// drawLink draws an endpoint's link, on which no rule depends.
func drawLink(t *rapid.T) string {
	return rapid.SampledFrom([]string{"veth1", "veth2"}).Draw(t, "link")
}

// DrawOpening draws one to a port of a network.
func DrawOpening(t *rapid.T, n firewall.Network, f firewall.Family) firewall.Opening {
	return firewall.Opening{Bridge: n.Bridge, Link: drawLink(t), Addr: f.Prefix.Addr().Next().Next(),
		From: rapid.SampledFrom([]string{"", "eth0", "wg0"}).Draw(t, "from"),
		PortSpan: model.PortSpan{
			Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto"),
			First: rapid.SampledFrom([]uint16{1, 80, 65535}).Draw(t, "first"), Count: 1,
		}}
}
