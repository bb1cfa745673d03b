package iptables

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
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
		why += " Not so from its own network, where containers are kept apart: the process relays that."
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
