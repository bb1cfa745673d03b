package iptables

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// The chains. Those that don't begin with ownPrefix are Docker's
// (https://docs.docker.com/engine/network/firewall-iptables/).
const (
	ownPrefix    = "MYBR-"
	dockerPrefix = "DOCKER"

	chainForward     = ownPrefix + "FORWARD"
	chainIsolate     = ownPrefix + "ISOLATE"
	chainPorts       = ownPrefix + "PORTS"
	chainPostrouting = ownPrefix + "POSTROUTING"

	dockerUser    = "DOCKER-USER"
	dockerStage1  = "DOCKER-ISOLATION-STAGE-1" // Docker before 29
	dockerStage2  = "DOCKER-ISOLATION-STAGE-2"
	dockerForward = "DOCKER-FORWARD" // Docker from 28.0
)

// facts is what rendering needs to know of the host.
type facts struct {
	stage2 bool // the chain DOCKER-ISOLATION-STAGE-2 exists
}

// ruleset is the content of mybr's own chains: the same tables and chains for every
// policy, in one order.
type ruleset []table

type table struct {
	name   string
	chains []chain
}

type chain struct {
	name  string
	rules []rule
}

// rule is one rule as iptables-save(8) prints it behind "-A CHAIN ", so that what is
// read back can be compared, and what it is for.
type rule struct {
	text, why string
}

// family is what one address family has of its own.
type family struct {
	of       func(firewall.Network) firewall.Family
	owns     func(netip.Addr) bool
	loopback netip.Prefix // of the host, carried by the process and never translated
}

func ipv4() family {
	return family{
		of:       func(n firewall.Network) firewall.Family { return n.V4 },
		owns:     netip.Addr.Is4,
		loopback: netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
	}
}

// render is the IPv4 content of mybr's chains.
func render(p firewall.Policy, f facts) ruleset { return ipv4().render(p, f) }

func (fam family) render(p firewall.Policy, f facts) ruleset {
	forward := chain{chainForward, []rule{{"-j " + chainIsolate,
		"What must not pass is dropped before anything is accepted, even where DOCKER-USER is absent or was flushed."}}}
	isolate, ports, post := chain{name: chainIsolate}, chain{name: chainPorts}, chain{name: chainPostrouting}
	for _, n := range p.Networks {
		isolate.rules = append(isolate.rules, isolation(n, f)...)
		forward.rules = append(forward.rules, forwarding(n)...)
		post.rules = append(post.rules, masquerading(n, fam.of(n))...)
	}
	for _, port := range p.Ports {
		if fam.owns(port.Container.Addr()) {
			ports.rules = append(ports.rules, publishing(port))
		}
	}
	return ruleset{
		{"filter", []chain{forward, isolate}},
		{"nat", []chain{ports, post}},
	}
}

// isolation is a network's part of MYBR-ISOLATE. That chain only drops, and so does
// DOCKER-ISOLATION-STAGE-2, so the order of its rules doesn't matter.
func isolation(n firewall.Network, f facts) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	if n.Internal {
		return []rule{
			{in + " -j DROP", "Nothing leaves an internal network by way of the host."},
			{out + " -j DROP", "Nothing comes into an internal network by way of the host."},
		}
	}
	rules := []rule{{out + " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
		"Into the network come only replies and what a published port leads there: neither other networks nor somebody who routes to a container's address."}}
	if f.stage2 {
		rules = append(rules, rule{in + " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j " + dockerStage2,
			"Docker's own list of its bridges drops what goes to one of them, but for replies and Docker's published ports; the rest returns."})
	}
	return rules
}

// forwarding is a network's part of MYBR-FORWARD, of which the order matters. It says
// nothing of packets that neither enter nor leave by the network's bridge.
func forwarding(n firewall.Network) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	var rules []rule
	if !n.Internal {
		rules = append(rules,
			rule{"-o " + n.Bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
				"Replies reach the containers, whatever the policy of FORWARD."},
			rule{out + " -m conntrack --ctstate DNAT -j ACCEPT",
				"What a published port has led to a container reaches it."},
			rule{in + " -j ACCEPT", "Containers reach the outside, whatever the policy of FORWARD."})
	}
	if n.ICC {
		return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j ACCEPT",
			"Containers of the network reach each other: through a published port, and where bridged frames pass iptables (bridge-nf-call-iptables)."})
	}
	return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j DROP",
		"Containers of the network don't reach each other by way of the host; between its ports, the bridge itself keeps them apart."})
}

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
			"A container that reaches itself or a neighbour through a published port is answered by way of the host, which must undo the translation."})
	}
	return rules
}

// publishing is one rule of MYBR-PORTS. No two bindings have a host port in common,
// so the rules commute.
func publishing(p firewall.Port) rule {
	var text strings.Builder
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
		text.WriteString(bracketed(to.Addr()))
		why = "Each of the published ports leads to the container's port of the same number."
	default:
		fmt.Fprintf(&text, "%s:%s/%d", bracketed(to.Addr()), span(to.Port(), p.Count, "-"), p.Host.Port())
		why = "Each of the published ports leads to the container's port at the same distance from the first."
	}
	if !p.ICC {
		why += " Not so from its own network, where containers are kept apart: the process carries that."
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

// validate refuses what can't be rendered, or would mean something else to iptables.
func validate(p firewall.Policy) error {
	bridges := make(map[string]bool, len(p.Networks))
	for _, n := range p.Networks {
		if err := validName(n.Bridge); err != nil {
			return fmt.Errorf("network %s: %w", n.ID, err)
		}
		if bridges[n.Bridge] {
			return fmt.Errorf("network %s: bridge %s: %w: used twice", n.ID, n.Bridge, model.ErrConflict)
		}
		bridges[n.Bridge] = true
		if a := n.V4.Prefix; a.IsValid() && (!a.Addr().Is4() || a != a.Masked()) {
			return fmt.Errorf("network %s: subnet %s: %w IPv4 prefix", n.ID, a, model.ErrInvalid)
		}
		if a := n.V4.SNAT; a.IsValid() && !a.Is4() {
			return fmt.Errorf("network %s: source address %s: %w IPv4 address", n.ID, a, model.ErrInvalid)
		}
	}
	for _, port := range p.Ports {
		if !bridges[port.Bridge] {
			return fmt.Errorf("port %s: %w: no network has the bridge %q", port, model.ErrInvalid, port.Bridge)
		}
		if err := validPort(port.PortBinding); err != nil {
			return fmt.Errorf("port %s: %w", port, err)
		}
	}
	return nil
}

func validPort(b model.PortBinding) error {
	switch host, to := b.Host.Addr(), b.Container.Addr(); {
	case b.Proto != model.TCP && b.Proto != model.UDP && b.Proto != model.SCTP:
		return fmt.Errorf("%w: %s has no ports that can be published", model.ErrInvalid, b.Proto)
	case !host.Is4() || !to.Is4() || to.IsUnspecified():
		return fmt.Errorf("%w: both addresses must be IPv4 addresses", model.ErrInvalid)
	case host.IsLoopback():
		return fmt.Errorf("%w: a loopback address can't be translated", model.ErrInvalid)
	case b.Count == 0 || b.Host.Port() == 0 || b.Container.Port() == 0,
		int(b.Host.Port())+int(b.Count) > 1<<16, int(b.Container.Port())+int(b.Count) > 1<<16:
		return fmt.Errorf("%w: ports are numbers from 1 to 65535", model.ErrInvalid)
	}
	return nil
}

// validName refuses names of links that the kernel takes (dev_valid_name) but that
// iptables reads otherwise: a final + is a wildcard, ! negates, quotes are taken off.
func validName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\/:`, r) }
	if name == "" || len(name) > 15 || name[0] == '-' || name[0] == '!' || strings.HasSuffix(name, "+") || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w bridge name %q: iptables can't match it", model.ErrInvalid, name)
	}
	return nil
}
