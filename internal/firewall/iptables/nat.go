package iptables

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// masquerading is a network's part of MYBR-POSTROUTING. Subnets don't overlap, so the
// rules commute.
func masquerading(n firewall.Network, fam firewall.Family) []rule {
	if n.Internal || !fam.Prefix.IsValid() {
		return nil
	}
	target := "MASQUERADE"
	if fam.SNAT.IsValid() {
		target = "SNAT --to-source " + fam.SNAT.String()
	}
	var rules []rule
	if fam.Masquerade {
		rules = append(rules, rule{fmt.Sprintf("-s %s ! -o %s -j %s", fam.Prefix, n.Bridge, target),
			"What leaves the network takes an address of the host, to which replies find back."})
	}
	if fam.Hairpin && n.ICC {
		rules = append(rules, rule{fmt.Sprintf("-s %s -o %s -m conntrack --ctstate DNAT -j %s", fam.Prefix, n.Bridge, target),
			"A container that reaches itself or a neighbour through a published port is answered through the host, which must undo the translation."})
	}
	return rules
}

// ports is MYBR-PORTS and the chains that it leads to.
func (fam family) ports(p firewall.Policy) []chain { return fam.portsIn(fam.published(), p.Ports) }

// portsIn is that for some ports, by an index.
func (fam family) portsIn(x index, ports []firewall.Port) []chain {
	root := chain{name: x.base}
	var entries []entry
	for _, port := range ports {
		if fam.Has(port.Container.Addr()) {
			entries = append(entries, entry{pathOf(port), serving(port.Bridge, port.Link, fam.publishing(port))})
		}
	}
	below := x.fill(&root, entries)
	return append([]chain{root}, below...)
}

// postrouting is MYBR-POSTROUTING and the chains that it leads to.
func (fam family) postrouting(p firewall.Policy) []chain {
	root := chain{name: chainPostrouting}
	var entries []entry
	for _, n := range p.Networks {
		if rules := masquerading(n, n.Family(fam.Family)); len(rules) > 0 {
			entries = append(entries, entry{bitsOf(n.Family(fam.Family).Prefix), serving(n.Bridge, "", rules...)})
		}
	}
	below := fam.sources().fill(&root, entries)
	return append([]chain{root}, below...)
}

// sources is the index of MYBR-POSTROUTING, by subnets.
func (fam family) sources() index { return fam.byAddress(chainPostrouting, "-s") }

// published is the index of MYBR-PORTS, by protocol, host port and host address. Levels are
// the same whatever is published, so that a port that comes deletes no rule, which is what
// takes long.
func (fam family) published() index {
	return index{
		base: chainPorts, stride: strideBits, fixed: 4 + fixedBits, limit: 16, depth: 8,
		why: "Published ports in this range are there, so that connections to others don't meet them.",
		match: func(path string) string {
			if len(path) > portLength {
				return "-d " + fam.beginning(path[portLength:]).String()
			}
			return portMatch(path)
		},
		label: func(path string) string {
			if len(path) > portLength {
				return portLabel(path[:portLength]) + "-" + fam.addressLabel(path[portLength:])
			}
			return portLabel(path)
		},
	}
}

// pathOf is the path of a published port in that index.
func pathOf(p firewall.Port) string {
	path := portPath(p.Proto, p.Host.Port(), p.Count)
	if host := p.Host.Addr(); p.Count == 1 && !host.IsUnspecified() {
		path += bitsOf(netip.PrefixFrom(host, host.BitLen()))
	}
	return path
}

// portLength is the length of a path for one port.
const portLength = 4 + 16

// portPath is a path for ports: four symbols for the protocol, as many as a level of
// MYBR-PORTS tells apart, and the bits that all of the numbers have in common.
func portPath(proto model.Proto, first, count uint16) string {
	same := bits.LeadingZeros16(first ^ (first + count - 1))
	return strings.Repeat(proto.String()[:1], 4) + fmt.Sprintf("%016b", first)[:same]
}

// portsOf is the first port of such a path, and how many there are.
func portsOf(path string) (first, count int) {
	for i, b := range path[4:] {
		first |= int(b-'0') << (15 - i)
	}
	return first, 1 << (portLength - len(path))
}

// protoOf is the protocol of such a path.
func protoOf(path string) model.Proto {
	for _, p := range []model.Proto{model.TCP, model.UDP} {
		if path[0] == p.String()[0] {
			return p
		}
	}
	return model.SCTP
}

// portLabel names the ports of such a path.
func portLabel(path string) string {
	first, _ := portsOf(path)
	return fmt.Sprintf("%s-%d-%d", protoOf(path), first, len(path)-4)
}

// portMatch matches the ports of such a path.
func portMatch(path string) string {
	proto := protoOf(path)
	first, count := portsOf(path)
	if count == 1<<16 {
		return "-p " + proto.String()
	}
	return fmt.Sprintf("-p %[1]s -m %[1]s --dport %[2]s", proto, span(uint16(first), uint16(count), ":"))
}

// publishing is one rule of MYBR-PORTS. No two bindings have a host port in common,
// so the rules commute.
func (fam family) publishing(p firewall.Port) rule {
	var text strings.Builder
	if fam.linkLocal.IsValid() {
		fmt.Fprintf(&text, "! -s %s ", fam.linkLocal)
	}
	if host := p.Host.Addr(); !host.IsUnspecified() {
		fmt.Fprintf(&text, "-d %s ", netip.PrefixFrom(host, host.BitLen()))
	}
	if !p.ICC {
		fmt.Fprintf(&text, "! -i %s ", p.Bridge)
	}
	fmt.Fprintf(&text, "-p %[1]s -m %[1]s --dport %[2]s -j DNAT --to-destination ", p.Proto, span(p.Host.Port(), p.Count, ":"))
	to, why := p.Container, "The published port leads to the container."
	switch {
	case p.Count == 1:
		text.WriteString(to.String())
	case to.Port() == p.Host.Port():
		text.WriteString(to.Addr().String())
		why = "Each of the published ports leads to the container's port of the same number."
	default:
		fmt.Fprintf(&text, "%s:%s/%d", bracketed(to.Addr()), span(to.Port(), p.Count, "-"), p.Host.Port())
		why = "Each of the published ports leads to the container's port at the same distance from the first."
	}
	if !p.ICC {
		why += " Not so from its own network, where containers are kept apart: the process relays that, unless the network has a list (mybr.icc)."
	}
	if fam.linkLocal.IsValid() {
		why += " Clients with link-local addresses are served by the process."
	}
	return rule{text.String(), why}
}

// span is a port, or the first and last of count ports.
func span(first, count uint16, dash string) string {
	if count == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprint(first, dash, first+count-1)
}

// bracketed is an address as it stands before a colon and a port.
func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
