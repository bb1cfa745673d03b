package iptables

import (
	"github.com/mybr/mybr/internal/firewall"
)

// This file is about what passes.

// few is how many networks are told apart by their bridges alone. Names of links cost four
// times what addresses do (33 ns against 8, measured with iptables-nft 1.8.9 and Linux 6.18),
// but say more: an address may come from anywhere.
const few = 4

// pair is what a network accepts: leave is about what its bridge sends, enter about what
// goes there. Rules of either have their order; between the two there is none.
type pair struct{ leave, enter []rule }

// forward is MYBR-FORWARD and the chains that it leads to.
func (fam family) forward(p firewall.Policy) []chain {
	root := chain{name: chainForward, first: true, ordered: true}
	root.add("", "", rule{"-j " + chainIsolate,
		"What must not pass is dropped before anything is accepted, even where DOCKER-USER is absent or was flushed."})
	return fam.either(root, chainPass, p.Networks, func(n firewall.Network) pair { return fam.forwarding(n, p.Accept) })
}

// replies is MYBR-REPLIES and the chains that it leads to: what belongs to a connection, and
// enters or leaves a network that is not closed, passes, unless the other side is one that
// is. What it returns from goes the way of other packets.
func (fam family) replies(p firewall.Policy, need layout) []chain {
	if !need.open {
		return nil
	}
	in, out := chain{name: chainReplyIn, strict: true}, chain{name: chainReplyOut, strict: true}
	if need.closed {
		in.add("", "", rule{"-j " + chainNoExit, "It must not come from a network that is closed."})
		out.add("", "", rule{"-j " + chainNoEntry, "It must not go to a network that is closed."})
	}
	in.add("", "", rule{"-j ACCEPT", "What belongs to a connection that was let through passes, whatever the policy of FORWARD. The administrator's rules in DOCKER-USER have seen it."})
	out.add("", "", in.rules[len(in.rules)-1].rule)
	var open []firewall.Network
	for _, n := range p.Networks {
		if n.Forwards(fam.Family) {
			open = append(open, n)
		}
	}
	chains := fam.either(chain{name: chainReplies}, chainReplies, open, func(n firewall.Network) pair {
		return pair{
			[]rule{{"-i " + n.Bridge + " -g " + chainReplyOut, "A connection with a container of the network."}},
			[]rule{{"-o " + n.Bridge + " -g " + chainReplyIn, "A connection with a container of the network."}},
		}
	})
	return append(chains, in, out)
}

// either is a chain in which a packet finds the rules of the network that it leaves and of
// that which it enters, and the chains below it, whose names begin with base. The rules of
// different networks commute. Among many networks those are found first that the packet's
// addresses belong to; by the bridges' names it is looked for what those don't tell.
func (fam family) either(root chain, base string, networks []firewall.Network, of func(firewall.Network) pair) []chain {
	var leave, enter, src, dst []entry
	var leaves []chain
	for _, n := range networks {
		rules := of(n)
		if len(networks) <= few {
			root.add(n.Bridge, "", append(rules.leave, rules.enter...)...)
			continue
		}
		if len(rules.leave) > 0 {
			leave = append(leave, entry{n.Bridge, serving(n.Bridge, "", rules.leave...)})
		}
		if len(rules.enter) > 0 {
			enter = append(enter, entry{n.Bridge, serving(n.Bridge, "", rules.enter...)})
		}
		if prefix := n.Family(fam.Family).Prefix; n.Forwards(fam.Family) {
			leaf := chain{name: index{base: base}.name(n.Bridge), ordered: true}
			leaf.add(n.Bridge, "", append(rules.leave, rules.enter...)...)
			leaves = append(leaves, leaf)
			why := "The network has these addresses."
			src = append(src, entry{bitsOf(prefix), serving(n.Bridge, "", rule{"-s " + prefix.String() + " -j " + leaf.name, why})})
			dst = append(dst, entry{bitsOf(prefix), serving(n.Bridge, "", rule{"-d " + prefix.String() + " -j " + leaf.name, why})})
		}
	}
	if len(networks) <= few {
		return []chain{root}
	}
	addressed := chain{name: base + "-ADDRESSED"}
	below := fam.byAddress(base+"-DST", "-d").fill(&addressed, dst)
	below = append(below, fam.byAddress(base+"-SRC", "-s").fill(&addressed, src)...)
	root.add("", "", rule{"-j " + addressed.name, "Of many networks, that which a packet's address belongs to is found by few rules."})
	links := byLink(base+"-IN", "-i").fill(&root, leave)
	links = append(links, byLink(base+"-OUT", "-o").fill(&root, enter)...)
	chains := append([]chain{root, addressed}, below...)
	return append(append(chains, leaves...), links...)
}

// forwarding is what MYBR-FORWARD accepts of a network, behind what must not pass, and the
// last rule for what passes from the bridge back into it.
func (fam family) forwarding(n firewall.Network, accept firewall.Mark) (p pair) {
	in, out := "-i "+n.Bridge, "-o "+n.Bridge
	open, mark := n.Forwards(fam.Family), marked(accept)
	if mark != "" && !(open && n.ICC) {
		p.leave = append(p.leave, rule{in + " " + mark + "-j ACCEPT", "What the administrator has marked may leave, such as a reply that takes over the connection's mark."})
	}
	if mark != "" {
		p.enter = append(p.enter, rule{out + " " + mark + "-j ACCEPT", "What the administrator has marked reaches the containers."})
	}
	if n.ICC {
		p.leave = append(p.leave, fam.leaving(n, open))
	} else {
		out = "! -i " + n.Bridge + " -o " + n.Bridge
		if open {
			p.leave = append(p.leave, rule{in + " ! -o " + n.Bridge + " -j ACCEPT", "Containers reach the outside, whatever the policy of FORWARD."},
				rule{in + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "So does what belongs to a connection that was let through."})
		}
		p.leave = append(p.leave, rule{in + " -o " + n.Bridge + " -j DROP",
			"Containers of the network don't reach each other through the host; between its ports, the bridge itself keeps them apart."})
	}
	switch {
	case !open:
	case n.TakesOpenings(fam.Family) || n.Unprotected(fam.Family):
		p.enter = append(p.enter, rule{out + " -j ACCEPT",
			"What was not dropped reaches the containers: replies, what a published port leads there, and what may enter at their own addresses."})
	default:
		p.enter = append(p.enter, rule{out + " -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
			"What a published port translates to a container's address reaches it."})
	}
	return p
}

// leaving accepts what a bridge sends where containers may reach each other.
func (fam family) leaving(n firewall.Network, open bool) rule {
	how := "where bridged frames pass " + fam.command + " (bridge-nf-call-" + fam.command + ")."
	if !open {
		return rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j ACCEPT", "Containers of the network reach each other: " + how}
	}
	if n.Family(fam.Family).Direct != firewall.DirectRouted { // else no port is translated
		how = "through a published port, and " + how
	}
	return rule{"-i " + n.Bridge + " -j ACCEPT", "Containers reach the outside, whatever the policy of FORWARD, and each other: " + how}
}
