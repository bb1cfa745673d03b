package iptables

import (
	"fmt"
	"net/netip"
	"slices"

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
	chainEgress      = ownPrefix + "EGRESS"
	chainForwardDrop = ownPrefix + "FORWARD-DROP"
	chainInput       = ownPrefix + "INPUT"
	chainPorts       = ownPrefix + "PORTS"
	chainPostrouting = ownPrefix + "POSTROUTING"

	dockerUser    = "DOCKER-USER"
	dockerStage1  = "DOCKER-ISOLATION-STAGE-1" // Docker before 29
	dockerStage2  = "DOCKER-ISOLATION-STAGE-2"
	dockerForward = "DOCKER-FORWARD" // Docker from 28.0
	dockerBridge  = "DOCKER-BRIDGE"
)

// unsolicited matches what is neither a reply nor led by a published port.
const unsolicited = " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"

// facts is what rendering needs to know of the host.
type facts struct {
	user        bool     // the chain DOCKER-USER exists
	stages      bool     // the chains DOCKER-ISOLATION-STAGE-1 and -2 exist
	stage1Jumps bool     // the first of them leads to MYBR-ISOLATE, see missingJumps
	unisolated  []string // Docker's bridges that are missing there
	bridges     []string // Docker's bridges, where those chains don't exist; sorted
}

// render is the content of mybr's chains in one family.
func (fam family) render(p firewall.Policy, f facts) ruleset {
	need := fam.layout(p)
	forward := chain{name: chainForward, first: true, ordered: true}
	forward.add("", "", rule{"-j " + chainIsolate,
		"What must not pass is dropped before anything is accepted, even where DOCKER-USER is absent or was flushed."})
	isolate, egress, unprotected := chain{name: chainIsolate}, fam.egress(p, f, need), chain{name: chainUnprotected}
	ports, post, input := chain{name: chainPorts}, chain{name: chainPostrouting}, chain{name: chainInput}
	if mark := marked(p.Accept); mark != "" {
		isolate.first = true
		isolate.add("", "", rule{mark + "-j RETURN", "What the administrator has marked is not dropped."})
	}
	if need.guarded {
		for _, bridge := range f.bridges {
			isolate.add("", "", rule{"-i " + bridge + unsolicited + " -j " + chainUnprotected,
				"This bridge is Docker's, which has no list of its bridges that could lead there."})
		}
	}
	for _, n := range p.Networks {
		isolate.add(n.Bridge, "", fam.isolation(n, f, len(egress.rules) > 0)...)
		forward.add(n.Bridge, "", fam.forwarding(n, p.Accept)...)
		post.add(n.Bridge, "", masquerading(n, n.Family(fam.Family))...)
		if n.KeepsBridgesOut(fam.Family) {
			unprotected.add(n.Bridge, "", rule{"-o " + n.Bridge + " -j DROP",
				"What others may enter at containers' own addresses takes in nothing from other bridge networks."})
		}
		input.add(n.Bridge, "", hostInput(n.Bridge, n.Family(fam.Family).Input)...)
	}
	for _, port := range p.Ports {
		if fam.Has(port.Container.Addr()) {
			ports.add(port.Bridge, port.Link, fam.publishing(port))
		}
	}
	filter, nat := []chain{forward, isolate, egress, fam.direct(p), unprotected}, []chain{ports, post}
	if !need.networks {
		filter, nat = nil, nil
	}
	if need.input {
		filter = append(filter, input)
	}
	if need.defaultDrop {
		filter = append(filter, forwardDrop())
	}
	return ruleset{{"filter", filter}, {"nat", nat}}
}

// forwardDrop is MYBR-FORWARD-DROP.
func forwardDrop() chain {
	last := chain{name: chainForwardDrop}
	last.add("", "", rule{"-j DROP",
		"mybr had to turn forwarding on. It makes the host no router for others: what no rule has accepted isn't forwarded."})
	return last
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
// that it leads to, so the order of its rules doesn't matter. egress says that
// MYBR-EGRESS has rules.
func (fam family) isolation(n firewall.Network, f facts, egress bool) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	switch {
	case n.Internal:
		return []rule{
			{in + " -j DROP", "Nothing leaves an internal network through the host."},
			{out + " -j DROP", "Nothing comes into an internal network through the host."},
		}
	case !n.Forwards(fam.Family):
		return []rule{
			{in + " -j DROP", "The network has no subnet of this family: nothing leaves it, whatever address a container gives itself."},
			{out + " -j DROP", "For the same reason nothing comes into it."},
		}
	}
	var rules []rule
	if n.KeepsBridgesOut(fam.Family) && f.stages && !f.stage1Jumps {
		rules = append(rules, rule{out + unsolicited + " -j " + dockerStage1,
			"Others may enter the network, but not what comes from Docker's bridges: Docker's own list of them leads to the drop."})
	}
	switch {
	case n.Unprotected(fam.Family): // what must not come in is dropped by those that it comes from
	case n.TakesOpenings(fam.Family):
		rules = append(rules, rule{out + unsolicited + " -j " + chainDirect,
			"Into the network come replies, what a published port leads there, and what is listed as open at the containers' own addresses."})
	default:
		rules = append(rules, rule{out + unsolicited + " -j DROP",
			"Into the network come only replies and what a published port leads there: nothing from other networks, and nothing that is routed to a container's address."})
	}
	if egress {
		rules = append(rules, rule{in + unsolicited + " -j " + chainEgress,
			"New connections that leave the network, and packets of no known connection, are checked there; packets of a connection that was let through are not."})
	}
	return rules
}

// egress is MYBR-EGRESS: what leaves a network by another interface and is neither a
// reply nor translated. It only drops, and so do the chains that it leads to, so the order
// of its rules doesn't matter.
func (fam family) egress(p firewall.Policy, f facts, need layout) chain {
	c := chain{name: chainEgress}
	if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) }) {
		return c
	}
	for _, n := range p.Networks {
		if n.Forwards(fam.Family) && n.Family(fam.Family).Masquerade {
			c.add(n.Bridge, "", rule{"-i " + n.Bridge + " -m conntrack --ctstate INVALID -j DROP",
				"Packets of no connection that conntrack knows are not translated, so they would leave the network with the container's own address."})
		}
	}
	for _, bridge := range f.unisolated {
		c.add("", "", rule{"-o " + bridge + " -j DROP", "Docker has lost this bridge of its own from its list."})
	}
	if need.guarded {
		c.add("", "", rule{"-j " + chainUnprotected,
			"Networks that others may enter at containers' own addresses are closed to other bridge networks all the same."})
	}
	if f.stages {
		c.add("", "", rule{"-j " + dockerStage2,
			"Docker's own list of its bridges drops what goes to one of them, but for replies and Docker's published ports; the rest returns."})
	}
	return c
}

// hostInput is a network's part of MYBR-INPUT.
func hostInput(bridge string, in firewall.Input) []rule {
	switch in {
	case firewall.InputNoAdvertisements:
		return []rule{{"-i " + bridge + " -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j DROP",
			"The host takes no router advertisements from containers."}}
	case firewall.InputNone:
		return []rule{{"-i " + bridge + " -j DROP", "The host takes nothing of this family from the network."}}
	}
	return nil
}

// direct is MYBR-DIRECT: what it returns from may enter a network at the containers' own
// addresses. It doesn't accept: Docker's isolation of its own networks comes behind it.
func (fam family) direct(p firewall.Policy) chain {
	c := chain{name: chainDirect, drops: true}
	used := false
	for _, n := range p.Networks {
		used = used || n.TakesOpenings(fam.Family)
		if n.TakesOpenings(fam.Family) && n.Family(fam.Family).Direct == firewall.DirectRouted {
			c.add(n.Bridge, "", rule{"-o " + n.Bridge + " -p " + fam.icmp + " -j RETURN",
				"A routed network can be pinged, and told of packets that are too big."})
		}
	}
	for _, o := range p.Openings {
		if !fam.Has(o.Addr) {
			continue
		}
		from, why := "", "The port is open to every client that has a route to the container."
		if o.From != "" {
			from, why = "-i "+o.From+" ", "The port is open to what comes from this interface."
		}
		r := rule{fmt.Sprintf("-d %s %s-o %s -p %[4]s -m %[4]s --dport %[5]s -j RETURN",
			netip.PrefixFrom(o.Addr, o.Addr.BitLen()), from, o.Bridge, o.Proto, span(o.First, o.Count, ":")), why}
		if i := len(c.rules) - 1; i >= 0 && c.rules[i].rule == r { // openings that differ in their links only are neighbours
			c.rules[i].link = "" // it serves several
		} else {
			c.add(o.Bridge, o.Link, r)
		}
	}
	if used {
		c.add("", "", rule{"-j DROP", "Everything else stays outside."})
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
		if !n.Forwards(fam.Family) {
			rules = append(rules, rule{in + " " + mark + "-j ACCEPT", "What the administrator has marked may leave, such as a reply that takes over the connection's mark."})
		}
	}
	if n.Forwards(fam.Family) {
		rules = append(rules, rule{"-o " + n.Bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"Replies reach the containers, whatever the policy of FORWARD."})
		if !n.TakesOpenings(fam.Family) && !n.Unprotected(fam.Family) {
			rules = append(rules, rule{out + " -m conntrack --ctstate DNAT -j ACCEPT",
				"What a published port translates to a container's address reaches it."})
		} else {
			rules = append(rules, rule{out + " -j ACCEPT",
				"What was not dropped reaches the containers: what a published port leads there, and what may enter at their own addresses."})
		}
		rules = append(rules, rule{in + " -j ACCEPT", "Containers reach the outside, whatever the policy of FORWARD."})
	}
	if n.ICC {
		how := "where bridged frames pass " + fam.command + " (bridge-nf-call-" + fam.command + ")."
		if n.Forwards(fam.Family) && n.Family(fam.Family).Direct != firewall.DirectRouted { // else no port is translated
			how = "through a published port, and " + how
		}
		return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j ACCEPT",
			"Containers of the network reach each other: " + how})
	}
	return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j DROP",
		"Containers of the network don't reach each other through the host; between its ports, the bridge itself keeps them apart."})
}
