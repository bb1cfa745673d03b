package firewalltest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Allowed is what a list of IPv4 entries allows, and the same in IPv6.
func Allowed(list string) egress.Allowed {
	l, err := egress.Parse(list)
	if err != nil {
		panic(err)
	}
	for _, e := range slices.Clone(l.Entries) {
		switch {
		case e.Host:
			continue
		case e.Prefix.Bits() == 0:
			e.Prefix = netip.MustParsePrefix("::/0")
		default:
			e.Prefix = sixthPrefix(e.Prefix)
		}
		l.Entries = append(l.Entries, e)
	}
	return l.Allowed(nil)
}

// Egress is the list of a bridge's network, or of a container with this address.
func Egress(bridge, addr, list string) firewall.Egress {
	e := firewall.Egress{Bridge: bridge, Link: bridge, To: Allowed(list)}
	if addr != "" {
		e.Addr, e.Link = netip.MustParseAddr(addr), "veth"
	}
	return e
}

// withEgress is a policy with these lists, for both families.
func withEgress(p firewall.Policy, lists ...firewall.Egress) firewall.Policy {
	p.Networks = slices.Clone(p.Networks)
	for _, e := range lists {
		for i := range p.Networks {
			p.Networks[i].Listed = p.Networks[i].Listed || p.Networks[i].Bridge == e.Bridge
		}
		p.Egress = append(p.Egress, e)
		if e.Addr.IsValid() {
			e.Addr = sixth(e.Addr)
			p.Egress = append(p.Egress, e)
		}
	}
	sortEgress(p.Egress)
	return p
}

func sortEgress(all []firewall.Egress) {
	slices.SortFunc(all, func(a, b firewall.Egress) int { return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr)) })
}

// DrawEgress gives some networks lists, and some of their containers; networks that were there
// before go on to have some, or none.
func DrawEgress(t *rapid.T, p *firewall.Policy, most int, was []firewall.Network) {
	p.Networks = slices.Clone(p.Networks)
	for i := range p.Networks {
		n := &p.Networks[i]
		if !slices.ContainsFunc(was, func(w firewall.Network) bool { return w == *n }) {
			n.Listed = rapid.IntRange(0, 2).Draw(t, "listed") == 0
		}
		if !n.Listed {
			continue
		}
		network := firewall.Egress{Bridge: n.Bridge, Link: n.Bridge, To: drawAllowed(t)}
		drawNamed(t, n, was)
		own := rapid.Bool().Draw(t, "lists of containers")
		if !own {
			drawNames(t, *n, &network)
		}
		p.Egress = append(p.Egress, network)
		for _, f := range model.Families() {
			prefix := n.Family(f).Prefix
			if !prefix.IsValid() {
				continue
			}
			addr := prefix.Addr().Next()
			for range rapid.IntRange(0, most).Draw(t, "containers") {
				if addr = addr.Next(); !prefix.Contains(addr) {
					break
				}
				if rapid.Bool().Draw(t, "granted") && n.Names {
					p.Grants = append(p.Grants, drawGrants(t, n.Bridge, addr)...)
				}
				if !own {
					continue
				}
				e := firewall.Egress{Bridge: n.Bridge, Link: drawLink(t), Addr: addr, To: drawAllowed(t)}
				if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
					e.To = ""
				} else {
					drawNames(t, *n, &e)
				}
				p.Egress = append(p.Egress, e)
			}
		}
	}
	sortEgress(p.Egress)
	slices.SortFunc(p.Grants, func(a, b firewall.Grant) int { return firewall.CompareGrants(&a, &b) })
	if slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Names }) {
		p.Process = rapid.SampledFrom([]firewall.Process{{DNS: 5301, TCP: 5302}, {DNS: 5301, TCP: 5302}, {DNS: 5301, TCP: 5302}, {}, {TCP: 5303}}).Draw(t, "process")
	}
}

// drawNamed draws whether a network's lists may have names, and whether it has addresses where they
// lead to.
func drawNamed(t *rapid.T, n *firewall.Network, was []firewall.Network) {
	if slices.ContainsFunc(was, func(w firewall.Network) bool { return w == *n }) {
		return
	}
	if n.Names = rapid.Bool().Draw(t, "named"); !n.Names {
		return
	}
	for _, f := range []*firewall.Family{&n.V4, &n.V6} {
		if f.Prefix.IsValid() && rapid.IntRange(0, 4).Draw(t, "gateway") > 0 {
			f.Gateway = f.Prefix.Addr().Next()
		}
	}
}

// drawNames gives a list host names, if those of its network may have some and it is enforced.
func drawNames(t *rapid.T, n firewall.Network, e *firewall.Egress) {
	if e.Names = n.Names && e.To.Enforced() && rapid.Bool().Draw(t, "names"); e.Names {
		e.Carried = egress.Ports(rapid.SampledFrom([]string{"", "80,443", "443", "22,443", "50-60,80,443", "1-65535"}).Draw(t, "carried"))
	}
}

// drawGrants draws what DNS has opened for a container.
func drawGrants(t *rapid.T, bridge string, addr netip.Addr) (all []firewall.Grant) {
	for i := range rapid.IntRange(1, 3).Draw(t, "grants") {
		to := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		if addr.Is6() {
			to = sixth(to)
		}
		g := firewall.Grant{Bridge: bridge, Link: drawLink(t), Addr: addr, To: to,
			Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.TCP, model.UDP, model.SCTP, egress.ICMP}).Draw(t, "granted protocol")}
		if r := rapid.SampledFrom([][2]uint16{{}, {22, 22}, {1, 80}}).Draw(t, "granted ports"); g.Proto != egress.ICMP {
			g.First, g.Last = r[0], r[1]
		}
		all = append(all, g)
	}
	return all
}

// drawAllowed draws what is allowed, but not everything, enforced or only watched.
func drawAllowed(t *rapid.T) egress.Allowed {
	if rapid.IntRange(0, 3).Draw(t, "watched") == 0 {
		return drawList(t).Audited()
	}
	return drawList(t)
}

func drawList(t *rapid.T) egress.Allowed {
	words := []string{}
	for range rapid.SampledFrom([]int{0, 1, 3, 20}).Draw(t, "entries") {
		i, port := rapid.IntRange(0, 3).Draw(t, "to"), rapid.SampledFrom([]string{"1", "80", "79-81", "443"}).Draw(t, "to port")
		word := rapid.SampledFrom([]string{
			"192.0.2." + fmt.Sprint(i), fmt.Sprintf("192.0.2.%d:%s", i, port), fmt.Sprintf("172.%d.0.2:%s/tcp", 16+i, port), "192.0.2.0/24:" + port + "/udp",
			"172.16.0.0/12/icmp", "host:" + port, "host:" + port + "/sctp", "0.0.0.0/0:" + port, "0.0.0.0/0/tcp", "192.0.2.7/sctp",
			"::/0/tcp", fmt.Sprintf("2001:db8::%d", i), "[2001:db8::/64]:" + port, "fd00::/16/icmp", fmt.Sprintf("[fd00:%d::2]:%s/tcp", 16+i, port),
		}).Draw(t, "entry")
		words = append(words, word)
	}
	if len(words) == 0 {
		return egress.Nothing
	}
	l, err := egress.Parse(strings.Join(words, ","))
	if err != nil {
		t.Fatal(err)
	}
	return l.Allowed(nil)
}
