package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// The chains. Those that don't begin with ownPrefix are Docker's
// (https://docs.docker.com/engine/network/firewall-iptables/).
const (
	ownPrefix    = "MYBR-"
	dockerPrefix = "DOCKER"

	chainForward     = ownPrefix + "FORWARD"
	chainIsolate     = ownPrefix + "ISOLATE"
	chainDirect      = ownPrefix + "DIRECT"
	chainUnprotected = ownPrefix + "UNPROTECTED"
	chainClosed      = ownPrefix + "CLOSED"
	chainPorts       = ownPrefix + "PORTS"
	chainPostrouting = ownPrefix + "POSTROUTING"

	dockerUser    = "DOCKER-USER"
	dockerStage1  = "DOCKER-ISOLATION-STAGE-1" // Docker before 29
	dockerStage2  = "DOCKER-ISOLATION-STAGE-2"
	dockerForward = "DOCKER-FORWARD" // Docker from 28.0
)

// uninvited matches what is neither a reply nor led by a published port.
const uninvited = " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"

// facts is what rendering needs to know of the host.
type facts struct {
	stages    bool     // the chains DOCKER-ISOLATION-STAGE-1 and -2 exist
	led       bool     // the first of them leads to MYBR-ISOLATE, see misplaced
	forgotten []string // Docker's bridges that are missing there
}

// ruleset is the content of mybr's own chains: the same tables, and the same chains for
// every policy with networks that leaves a family open or closed, in one order.
type ruleset []table

type table struct {
	name   string
	chains []chain
}

type chain struct {
	name  string
	rules []rule
	// drops says that the last rule, if there is any, drops whatever the others have not
	// returned, so that new rules go to the front.
	drops bool
}

// rule is one rule as iptables-save(8) prints it behind "-A CHAIN ", so that what is
// read back can be compared, and what it is for.
type rule struct {
	text, why string
}

// render is the content of mybr's chains in one family.
func (fam family) render(p firewall.Policy, f facts) ruleset {
	forward := chain{name: chainForward, rules: []rule{{"-j " + chainIsolate,
		"What must not pass is dropped before anything is accepted, even where DOCKER-USER is absent or was flushed."}}}
	isolate, unprotected := chain{name: chainIsolate}, chain{name: chainUnprotected}
	ports, post := chain{name: chainPorts}, chain{name: chainPostrouting}
	if mark := marked(p.Accept); mark != "" {
		isolate.rules = []rule{{mark + "-j RETURN", "What the administrator has marked is not dropped."}}
	}
	careful := slices.ContainsFunc(p.Networks, fam.aloof)
	for _, n := range p.Networks {
		isolate.rules = append(isolate.rules, fam.isolation(n, f, careful)...)
		forward.rules = append(forward.rules, fam.forwarding(n, p.Accept)...)
		post.rules = append(post.rules, masquerading(n, fam.of(n))...)
		if fam.aloof(n) {
			unprotected.rules = append(unprotected.rules, rule{"-o " + n.Bridge + " -j DROP",
				"What others may enter at containers' own addresses takes in nothing from other bridge networks."})
		}
	}
	for _, port := range p.Ports {
		if fam.owns(port.Container.Addr()) {
			ports.rules = append(ports.rules, fam.publishing(port))
		}
	}
	filter, nat := []chain{forward, isolate, fam.direct(p), unprotected}, []chain{ports, post}
	if len(p.Networks) == 0 {
		filter, nat = nil, nil
	}
	if fam.shut(p) {
		filter = append(filter, chain{name: chainClosed, rules: []rule{{"-j DROP",
			"mybr had to turn forwarding on. The host doesn't become a router for everybody by that: what no rule has accepted isn't forwarded."}}})
	}
	return ruleset{{"filter", filter}, {"nat", nat}}
}

// marked is the match of a mark as iptables-save(8) prints it, with a space behind it;
// "" for none.
func marked(m firewall.Mark) string {
	switch m.Mask {
	case 0:
		return ""
	case 1<<32 - 1:
		return fmt.Sprintf("-m mark --mark %#x ", m.Value)
	}
	return fmt.Sprintf("-m mark --mark %#x/%#x ", m.Value, m.Mask)
}

// isolation is a network's part of MYBR-ISOLATE. That chain only drops, and so do those
// that it leads to, so the order of its rules doesn't matter. careful says that there
// are networks that are aloof.
func (fam family) isolation(n firewall.Network, f facts, careful bool) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	switch {
	case n.Internal:
		return []rule{
			{in + " -j DROP", "Nothing leaves an internal network by way of the host."},
			{out + " -j DROP", "Nothing comes into an internal network by way of the host."},
		}
	case fam.closed(n):
		return []rule{
			{in + " -j DROP", "The network has no subnet of this family: nothing leaves it, whatever address a container gives itself."},
			{out + " -j DROP", "For the same reason nothing comes into it."},
		}
	}
	var rules []rule
	if fam.aloof(n) && f.stages && !f.led {
		rules = append(rules, rule{out + uninvited + " -j " + dockerStage1,
			"Others may enter the network, but not what comes from Docker's bridges: Docker's own list of them leads to the drop."})
	}
	switch {
	case fam.unprotected(n): // what must not come in is dropped by those that it comes from
	case fam.choosy(n):
		rules = append(rules, rule{out + uninvited + " -j " + chainDirect,
			"Into the network come replies, what a published port leads there, and what is listed as open at the containers' own addresses."})
	default:
		rules = append(rules, rule{out + uninvited + " -j DROP",
			"Into the network come only replies and what a published port leads there: neither other networks nor somebody who routes to a container's address."})
	}
	if careful {
		rules = append(rules, rule{in + uninvited + " -j " + chainUnprotected,
			"Networks that others may enter at containers' own addresses are closed to other bridge networks all the same."})
	}
	if f.stages {
		rules = append(rules, rule{in + uninvited + " -j " + dockerStage2,
			"Docker's own list of its bridges drops what goes to one of them, but for replies and Docker's published ports; the rest returns."})
	}
	for _, bridge := range f.forgotten {
		rules = append(rules, rule{"-i " + n.Bridge + " -o " + bridge + uninvited + " -j DROP",
			"Docker has lost this bridge of its own from that list."})
	}
	return rules
}

// direct is MYBR-DIRECT: what it returns from may enter a network at the containers' own
// addresses. It doesn't accept: Docker's isolation of its own networks comes behind it.
func (fam family) direct(p firewall.Policy) chain {
	c := chain{name: chainDirect, drops: true}
	used := false
	for _, n := range p.Networks {
		used = used || fam.choosy(n)
		if fam.choosy(n) && fam.of(n).Direct == firewall.DirectRouted {
			c.rules = append(c.rules, rule{"-o " + n.Bridge + " -p " + fam.icmp + " -j RETURN",
				"A routed network can be pinged, and told of packets that are too big."})
		}
	}
	for _, o := range slices.Compact(slices.Clone(p.Openings)) {
		if !fam.owns(o.Addr) {
			continue
		}
		from, why := "", "The port is open to everybody who has a route to the container."
		if o.From != "" {
			from, why = "-i "+o.From+" ", "The port is open to what comes from this interface."
		}
		c.rules = append(c.rules, rule{fmt.Sprintf("-d %s %s-o %s -p %[4]s -m %[4]s --dport %[5]s -j RETURN",
			netip.PrefixFrom(o.Addr, o.Addr.BitLen()), from, o.Bridge, o.Proto, span(o.First, o.Count, ":")), why})
	}
	if used {
		c.rules = append(c.rules, rule{"-j DROP", "Everything else stays outside."})
	}
	return c
}

// forwarding is a network's part of MYBR-FORWARD, of which the order matters. It says
// nothing of packets that neither enter nor leave by the network's bridge.
func (fam family) forwarding(n firewall.Network, accept firewall.Mark) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	var rules []rule
	if mark := marked(accept); mark != "" {
		rules = append(rules, rule{"-o " + n.Bridge + " " + mark + "-j ACCEPT", "What the administrator has marked reaches the containers."})
		if fam.closed(n) {
			rules = append(rules, rule{in + " " + mark + "-j ACCEPT", "What the administrator has marked may leave, such as a reply that takes over the connection's mark."})
		}
	}
	if !fam.closed(n) {
		rules = append(rules, rule{"-o " + n.Bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"Replies reach the containers, whatever the policy of FORWARD."})
		if !fam.choosy(n) && !fam.unprotected(n) {
			rules = append(rules, rule{out + " -m conntrack --ctstate DNAT -j ACCEPT",
				"What a published port has led to a container reaches it."})
		} else {
			rules = append(rules, rule{out + " -j ACCEPT",
				"What was not dropped reaches the containers: what a published port has led there, and what may enter at their own addresses."})
		}
		rules = append(rules, rule{in + " -j ACCEPT", "Containers reach the outside, whatever the policy of FORWARD."})
	}
	if n.ICC {
		ways := "where bridged frames pass " + fam.command + " (bridge-nf-call-" + fam.command + ")."
		if !fam.closed(n) && fam.of(n).Direct != firewall.DirectRouted { // else no port is translated
			ways = "through a published port, and " + ways
		}
		return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j ACCEPT",
			"Containers of the network reach each other: " + ways})
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
func (fam family) publishing(p firewall.Port) rule {
	var text strings.Builder
	if fam.clients.IsValid() {
		fmt.Fprintf(&text, "! -s %s ", fam.clients)
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
		why += " Not so from its own network, where containers are kept apart: the process carries that."
	}
	if fam.clients.IsValid() {
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
