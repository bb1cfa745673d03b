package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
)

// This file is about what must not pass, in the order in which packets meet it.

// isolate is MYBR-ISOLATE and the chains that it leads to but for those of replies.
func (fam family) isolate(p firewall.Policy, f facts, need layout, lists listings) []chain {
	egress, egressNAT := fam.egress(f, need)
	c := chain{name: chainIsolate, strict: true}
	if mark := marked(p.Accept); mark != "" {
		c.add("", "", rule{mark + "-j RETURN", "What the administrator has marked is not dropped."})
	}
	var chains []chain
	if need.arrivals {
		c.add("", "", rule{"-j " + chainArrival, "What comes to a port that is reached by some interfaces alone is checked there, whatever its state is."})
		chains = append(chains, fam.arrivals(p)...)
	}
	if need.open {
		c.add("", "", rule{"-m conntrack --ctstate RELATED,ESTABLISHED -j " + chainReplies,
			"Packets of a connection that was let through are most of all packets. They leave here."})
	}
	if need.closed {
		c.add("", "", rule{"-j " + chainNoExit, "Nothing leaves a network that is closed, whatever its state."},
			rule{"-j " + chainNoEntry, "Nothing comes into one."})
		chains = slices.Concat(chains, fam.byBridge(chainNoExit, "-i", p, fam.noExit), fam.byBridge(chainNoEntry, "-o", p, fam.noEntry))
	}
	if need.limited {
		c.add("", "", rule{"-j " + chainLimitIn, "What comes to a port that only some clients reach is checked there, led by a published port or not."})
		chains = append(chains, fam.limits(p)...)
	}
	if need.open && need.listed {
		c.add("", "", rule{"-j " + chainListed, "What begins in a network whose containers may not begin everything is checked there, led by a published port or not."})
		chains = append(chains, fam.listed(p, lists)...)
	}
	if need.open {
		c.add("", "", rule{"-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN",
			"Replies, and what a published port leads to a container, may pass. The rest is new, or of no known connection."})
		if need.guarded {
			for _, bridge := range f.bridges {
				c.add("", "", rule{"-i " + bridge + " -j " + chainUnprotected,
					"This bridge is Docker's, which has no list of its bridges that could lead there."})
			}
		}
		c.add("", "", rule{"-j " + chainFrom, "What leaves a network is checked there."},
			rule{"-j " + chainTo, "What comes into a network is checked there."})
		from := func(n firewall.Network) []rule { return fam.from(n, len(egress.rules) > 0) }
		to := func(n firewall.Network) []rule { return fam.to(n, f) }
		chains = slices.Concat(chains, fam.byBridge(chainFrom, "-i", p, from), fam.byBridge(chainTo, "-o", p, to),
			fam.direct(p))
		if slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) && n.Family(fam.Family).Masquerade }) {
			chains = append(chains, egressNAT)
		}
		if len(egress.rules) > 0 {
			chains = append(chains, egress)
		}
	}
	if need.guarded {
		chains = append(chains, fam.byBridge(chainUnprotected, "-o", p, fam.unprotected)...)
	}
	return append([]chain{c}, chains...)
}

// noExit is what keeps everything in a network that is closed.
func (fam family) noExit(n firewall.Network) []rule {
	match := "-i " + n.Bridge + " ! -o " + n.Bridge
	switch {
	case n.Internal:
		return []rule{{match + " -j DROP", "Nothing leaves an internal network through the host."}}
	case !n.Forwards(fam.Family):
		return []rule{{match + " -j DROP", "The network has no subnet of this family: nothing leaves it, whatever address a container gives itself."}}
	}
	return nil
}

// noEntry is what keeps everything out of it.
func (fam family) noEntry(n firewall.Network) []rule {
	match := "! -i " + n.Bridge + " -o " + n.Bridge
	switch {
	case n.Internal:
		return []rule{{match + " -j DROP", "Nothing comes into an internal network through the host."}}
	case !n.Forwards(fam.Family):
		return []rule{{match + " -j DROP", "The network has no subnet of this family: nothing comes into it."}}
	}
	return nil
}

// from is a network's part of MYBR-FROM. egress says that MYBR-EGRESS has rules.
func (fam family) from(n firewall.Network, egress bool) (rules []rule) {
	match := "-i " + n.Bridge + " ! -o " + n.Bridge
	if !n.Forwards(fam.Family) {
		return nil
	}
	if n.Limited {
		rules = append(rules, rule{match + " -j " + chainLimitOut, "What servers begin whose ports only some clients reach is checked there."})
	}
	switch {
	case n.Family(fam.Family).Masquerade:
		rules = append(rules, rule{match + " -g " + chainEgressNAT, "What leaves a network whose addresses are translated."})
	case egress:
		rules = append(rules, rule{match + " -g " + chainEgress, "What leaves a network that keeps its addresses."})
	}
	return rules
}

// to is a network's part of MYBR-TO.
func (fam family) to(n firewall.Network, f facts) (rules []rule) {
	match := "! -i " + n.Bridge + " -o " + n.Bridge
	if n.KeepsBridgesOut(fam.Family) && f.stages && !f.stage1Jumps {
		rules = append(rules, rule{match + " -j " + dockerStage1,
			"Others may enter the network, but not what comes from Docker's bridges: Docker's own list of them leads to the drop."})
	}
	switch {
	case !n.Forwards(fam.Family) || n.Unprotected(fam.Family): // what must not come in is dropped by those that it comes from
		return rules
	case !n.TakesOpenings(fam.Family):
		return append(rules, rule{match + " -j DROP",
			"Into the network come only replies and what a published port leads there: nothing from other networks, and nothing that is routed to a container's address."})
	case n.Family(fam.Family).Direct == firewall.DirectRouted:
		rules = append(rules, rule{match + " -p " + fam.icmp + " -j RETURN",
			"A routed network can be pinged, and told of packets that are too big."})
	}
	return append(rules, rule{match + " -j " + chainDirect,
		"Into the network come replies, what a published port leads there, and what is listed as open at the containers' own addresses."})
}

// egress is MYBR-EGRESS, and MYBR-EGRESS-NAT: what leaves a network by another interface
// and is neither a reply nor translated. They only drop, and so do the chains that they lead
// to.
func (fam family) egress(f facts, need layout) (egress, nat chain) {
	egress, nat = chain{name: chainEgress}, chain{name: chainEgressNAT, strict: true}
	for _, bridge := range f.unisolated {
		egress.add("", "", rule{"-o " + bridge + " -j DROP", "Docker has lost this bridge of its own from its list."})
	}
	if need.guarded {
		egress.add("", "", rule{"-j " + chainUnprotected,
			"Networks that others may enter at containers' own addresses are closed to other bridge networks all the same."})
	}
	if f.stages {
		egress.add("", "", rule{"-j " + dockerStage2,
			"Docker's own list of its bridges drops what goes to one of them, but for replies and Docker's published ports; the rest returns."})
	}
	nat.add("", "", rule{"-m conntrack --ctstate INVALID -j DROP",
		"Packets of no connection that conntrack knows are not translated, so they would leave the network with the container's own address."})
	if len(egress.rules) > 0 {
		nat.add("", "", rule{"-g " + chainEgress, "The rest is checked as what leaves any network."})
	}
	return egress, nat
}

// unprotected is a network's part of MYBR-UNPROTECTED.
func (fam family) unprotected(n firewall.Network) []rule {
	if !n.KeepsBridgesOut(fam.Family) {
		return nil
	}
	return []rule{{"-o " + n.Bridge + " -j DROP", "What others may enter at containers' own addresses takes in nothing from other bridge networks."}}
}

// direct is MYBR-DIRECT: what it returns from may enter a network at the containers' own
// addresses. It doesn't accept: Docker's isolation of its own networks comes behind it.
func (fam family) direct(p firewall.Policy) []chain {
	if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.TakesOpenings(fam.Family) }) {
		return nil
	}
	end := rule{"-j DROP", "Everything else stays outside."}
	root := chain{name: chainDirect, last: true}
	var entries []entry
	for _, o := range p.Openings {
		if !fam.Has(o.Addr) {
			continue
		}
		from, why := "", "The port is open to every client that has a route to the container."
		if o.From != "" {
			from, why = "-i "+o.From+" ", "The port is open to what comes from this interface."
		}
		addr := netip.PrefixFrom(o.Addr, o.Addr.BitLen())
		r := rule{fmt.Sprintf("-d %s %s-o %s -p %[4]s -m %[4]s --dport %[5]s -j RETURN",
			addr, from, o.Bridge, o.Proto, span(o.First, o.Count, ":")), why}
		if i := len(entries) - 1; i >= 0 && entries[i].rules[0].rule == r { // openings that differ in their links only are neighbours
			entries[i].rules[0].link = "" // it serves several
			continue
		}
		entries = append(entries, entry{bitsOf(addr) + portPath(o.Proto, o.First, o.Count), serving(o.Bridge, o.Link, r)})
	}
	below := fam.opened(end).fill(&root, entries)
	root.add("", "", end)
	return append([]chain{root}, below...)
}

// opened is the index of MYBR-DIRECT, by the container's address, protocol and port.
func (fam family) opened(end rule) index {
	x := fam.byAddress(chainDirect, "-d")
	match, label, addr := x.match, x.label, len(fam.loopback.Addr().AsSlice())*8
	x.depth, x.end, x.whole = 8, &end, addr
	x.why = "Openings at addresses and ports that begin so are there, so that other packets don't meet them."
	x.match = func(path string) string {
		if len(path) > addr {
			return portMatch(path[addr:])
		}
		return match(path)
	}
	x.label = func(path string) string {
		if len(path) > addr {
			return label(path[:addr]) + "-" + portLabel(path[addr:])
		}
		return label(path)
	}
	return x
}
