package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file has the rules of a policy as a person would write them: one list for all
// networks, in which each states by itself what it needs, and which every packet walks. The
// rules that mybr writes must do the same to every packet.

// plain is the lists of one family.
func (fam family) plain(p firewall.Policy, f facts) ruleset {
	need := fam.layout(p)
	forward := chain{name: chainForward, first: true, ordered: true}
	forward.add("", "", rule{"-j " + chainIsolate, ""})
	isolate, egress, unprotected := chain{name: chainIsolate}, fam.plainEgress(p, f, need), chain{name: chainUnprotected}
	ports, post, input := chain{name: chainPorts}, chain{name: chainPostrouting}, chain{name: chainInput}
	if mark := marked(p.Accept); mark != "" {
		isolate.first = true
		isolate.add("", "", rule{mark + "-j RETURN", ""})
	}
	if need.guarded {
		for _, bridge := range f.bridges {
			isolate.add("", "", rule{"-i " + bridge + unsolicited + " -j " + chainUnprotected, ""})
		}
	}
	var lists []chain
	for i, l := range p.Limits {
		if !fam.Has(l.Addr) {
			continue
		}
		if l.Via != "" {
			c := chain{name: fmt.Sprintf("MYBR-BY-%d", i)}
			for _, name := range l.Via.Names() {
				c.add("", "", rule{"-i " + name + " -j RETURN", ""})
			}
			c.add("", "", rule{"-j DROP", ""})
			lists = append(lists, c)
			isolate.add("", "", rule{limitIn(l) + " -j " + c.name, ""})
		}
		if l.From.All(fam.Family) {
			continue
		}
		// What belongs to a connection, or is no packet of these ports, returns.
		in, out := chain{name: fmt.Sprintf("MYBR-IN-%d", i)}, chain{name: fmt.Sprintf("MYBR-OUT-%d", i)}
		for _, prefix := range l.From.Of(fam.Family) {
			in.add("", "", rule{"-s " + prefix.String() + " -j RETURN", ""})
			out.add("", "", rule{"-d " + prefix.String() + " -j RETURN", ""})
		}
		in.add("", "", rule{"-j DROP", ""})
		out.add("", "", rule{"-j DROP", ""})
		lists = append(lists, in, out)
		isolate.add("", "", rule{limitIn(l) + " -m conntrack ! --ctstate RELATED,ESTABLISHED -j " + in.name, ""},
			rule{fmt.Sprintf("-s %s -i %s ! -o %[2]s -p %[3]s -m %[3]s --sport %[4]s%[5]s -j %[6]s", netip.PrefixFrom(l.Addr, l.Addr.BitLen()), l.Bridge, l.Proto,
				span(l.First, l.Count, ":"), unsolicited, out.name), ""})
	}
	for i, e := range p.Egress {
		c, n := chain{name: fmt.Sprintf("MYBR-TO-%d", i)}, p.Networks[slices.IndexFunc(p.Networks, func(n firewall.Network) bool { return n.Bridge == e.Bridge })]
		for _, o := range p.Egress {
			if !e.Addr.IsValid() && o.Bridge == e.Bridge && fam.Has(o.Addr) {
				c.add("", "", rule{"-s " + netip.PrefixFrom(o.Addr, o.Addr.BitLen()).String() + " -j RETURN", ""}) // it has its own
			}
		}
		source := ""
		switch {
		case e.Addr.IsValid() && !fam.Has(e.Addr):
			continue
		case e.Addr.IsValid():
			source = "-s " + netip.PrefixFrom(e.Addr, e.Addr.BitLen()).String() + " "
		}
		through := chain{name: c.name, rules: slices.Clone(c.rules)}
		through.name += "-F"
		for _, g := range p.Grants {
			if g.Bridge == e.Bridge && fam.Has(g.Addr) && fam.plainNames(p, g) {
				through.add("", "", fam.plainGrant(g))
			}
		}
		fam.plainAllowed(&through, e.To)
		fam.plainAllowed(&c, e.To)
		lists = append(lists, c, through)
		if n.Forwards(fam.Family) {
			isolate.add("", "", rule{source + "-i " + e.Bridge + " ! -o " + e.Bridge + " -m conntrack ! --ctstate RELATED,ESTABLISHED -j " + through.name, ""})
		}
		input.add(e.Bridge, "", rule{source + "-i " + e.Bridge + " -j " + chainInput + "-" + c.name, ""})
		host := chain{name: chainInput + "-" + c.name}
		host.add("", "", rule{"-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN", ""})
		if fam.icmp == "ipv6-icmp" {
			host.add("", "", rule{"-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN", ""}, rule{"-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j RETURN", ""})
		}
		for _, match := range processMatches(p.Process) {
			if n.Leads(fam.Family) {
				host.add("", "", rule{"-d " + n.Family(fam.Family).Gateway.String() + "/" + fmt.Sprint(n.Family(fam.Family).Gateway.BitLen()) + " " + match + " -m conntrack --ctstate DNAT -j ACCEPT", ""})
			}
		}
		host.add("", "", rule{"-j " + c.name, ""})
		lists = append(lists, host)
	}
	for _, n := range p.Networks {
		isolate.add(n.Bridge, "", fam.plainIsolation(n, f, len(egress.rules) > 0)...)
		forward.add(n.Bridge, "", fam.plainForwarding(n, p.Accept)...)
		post.add(n.Bridge, "", masquerading(n, n.Family(fam.Family))...)
		if n.KeepsBridgesOut(fam.Family) {
			unprotected.add(n.Bridge, "", rule{"-o " + n.Bridge + " -j DROP", ""})
		}
		input.rules = append(serving(n.Bridge, "", hostInput(n.Bridge, n.Family(fam.Family).Input)...), input.rules...)
	}
	for _, port := range p.Ports {
		if fam.Has(port.Container.Addr()) {
			ports.add(port.Bridge, port.Link, fam.publishing(port))
		}
	}
	filter, nat := append([]chain{forward, isolate, egress, fam.plainDirect(p), unprotected}, lists...), []chain{ports, post}
	if need.names {
		nat = append(nat, fam.plainLed(p)...)
	}
	if !need.networks {
		filter, nat = nil, nil
	}
	if need.input {
		filter = append(filter, input)
	}
	if need.defaultDrop {
		last := chain{name: chainForwardDrop}
		last.add("", "", rule{"-j DROP",
			"mybr had to turn forwarding on. It makes the host no router for others: what no rule has accepted isn't forwarded."})
		filter = append(filter, last)
	}
	return ruleset{{"filter", filter}, {"nat", nat}}
}

// plainAllowed returns from what a list allows, and drops the rest.
func (fam family) plainAllowed(c *chain, to egress.Allowed) {
	if !to.Enforced() {
		return
	}
	for _, s := range to.Services(fam.Family) {
		for _, proto := range append(s.Protos(), map[bool][]model.Proto{true: {0}}[len(s.Protos()) == 0]...) {
			match, port := "", ""
			if proto == egress.ICMP {
				match = "-p " + fam.icmp + " "
			} else if proto != 0 {
				match = "-p " + proto.String() + " "
			}
			if s.First != 0 {
				port = fmt.Sprintf("-m conntrack --ctorigdstport %d:%d ", s.First, s.Last)
			}
			if s.Host {
				c.add("", "", rule{match + port + "-m addrtype --dst-type LOCAL -j RETURN", ""}, rule{match + port + "-m conntrack --ctstate DNAT -j RETURN", ""})
			}
			for _, p := range s.To {
				if p.Bits() == 0 {
					c.add("", "", rule{match + port + "-m conntrack ! --ctstate INVALID -j RETURN", ""})
				} else {
					c.add("", "", rule{match + port + "-m conntrack --ctorigdst " + p.String() + " -j RETURN", ""})
				}
			}
		}
	}
	c.add("", "", rule{"-j DROP", ""})
}

// plainIsolation is a network's part of MYBR-ISOLATE. That chain only drops, and so do those
// that it leads to, so the order of its rules doesn't matter. egress says that
// MYBR-EGRESS has rules.
func (fam family) plainIsolation(n firewall.Network, f facts, egress bool) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	switch {
	case n.Internal:
		return []rule{
			{in + " -j DROP", ""},
			{out + " -j DROP", ""},
		}
	case !n.Forwards(fam.Family):
		return []rule{
			{in + " -j DROP", ""},
			{out + " -j DROP", ""},
		}
	}
	var rules []rule
	if n.KeepsBridgesOut(fam.Family) && f.stages && !f.stage1Jumps {
		rules = append(rules, rule{out + unsolicited + " -j " + dockerStage1, ""})
	}
	switch {
	case n.Unprotected(fam.Family): // what must not come in is dropped by those that it comes from
	case n.TakesOpenings(fam.Family):
		rules = append(rules, rule{out + unsolicited + " -j " + chainDirect, ""})
	default:
		rules = append(rules, rule{out + unsolicited + " -j DROP", ""})
	}
	if egress {
		rules = append(rules, rule{in + unsolicited + " -j " + chainEgress, ""})
	}
	return rules
}

// plainEgress is MYBR-EGRESS: what leaves a network by another interface and is neither a
// reply nor translated. It only drops, and so do the chains that it leads to, so the order
// of its rules doesn't matter.
func (fam family) plainEgress(p firewall.Policy, f facts, need layout) chain {
	c := chain{name: chainEgress}
	if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) }) {
		return c
	}
	for _, n := range p.Networks {
		if n.Forwards(fam.Family) && n.Family(fam.Family).Masquerade {
			c.add(n.Bridge, "", rule{"-i " + n.Bridge + " -m conntrack --ctstate INVALID -j DROP", ""})
		}
	}
	for _, bridge := range f.unisolated {
		c.add("", "", rule{"-o " + bridge + " -j DROP", ""})
	}
	if need.guarded {
		c.add("", "", rule{"-j " + chainUnprotected, ""})
	}
	if f.stages {
		c.add("", "", rule{"-j " + dockerStage2, ""})
	}
	return c
}

// plainDirect is MYBR-DIRECT: what it returns from may enter a network at the containers' own
// addresses. It doesn't accept: Docker's isolation of its own networks comes behind it.
func (fam family) plainDirect(p firewall.Policy) chain {
	c := chain{name: chainDirect, last: true}
	used := false
	for _, n := range p.Networks {
		used = used || n.TakesOpenings(fam.Family)
		if n.TakesOpenings(fam.Family) && n.Family(fam.Family).Direct == firewall.DirectRouted {
			c.add(n.Bridge, "", rule{"-o " + n.Bridge + " -p " + fam.icmp + " -j RETURN", ""})
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
		c.add("", "", rule{"-j DROP", ""})
	}
	return c
}

// plainForwarding is a network's part of MYBR-FORWARD, of which the order matters. It says
// nothing of packets that neither enter nor leave by the network's bridge.
func (fam family) plainForwarding(n firewall.Network, accept firewall.Mark) []rule {
	in, out := "-i "+n.Bridge+" ! -o "+n.Bridge, "! -i "+n.Bridge+" -o "+n.Bridge
	var rules []rule
	if mark := marked(accept); mark != "" {
		rules = append(rules, rule{"-o " + n.Bridge + " " + mark + "-j ACCEPT", ""})
		if !n.Forwards(fam.Family) {
			rules = append(rules, rule{in + " " + mark + "-j ACCEPT", ""})
		}
	}
	if n.Forwards(fam.Family) {
		rules = append(rules, rule{"-o " + n.Bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", ""})
		if !n.TakesOpenings(fam.Family) && !n.Unprotected(fam.Family) {
			rules = append(rules, rule{out + " -m conntrack --ctstate DNAT -j ACCEPT", ""})
		} else {
			rules = append(rules, rule{out + " -j ACCEPT", ""})
		}
		rules = append(rules, rule{in + " -j ACCEPT", ""})
	}
	if n.ICC {
		how := "where bridged frames pass " + fam.command + " (bridge-nf-call-" + fam.command + ")."
		if n.Forwards(fam.Family) && n.Family(fam.Family).Direct != firewall.DirectRouted { // else no port is translated
			how = "through a published port, and " + how
		}
		return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j ACCEPT",
			"Containers of the network reach each other: " + how})
	}
	return append(rules, rule{"-i " + n.Bridge + " -o " + n.Bridge + " -j DROP", ""})
}

// plainNames reports whether a grant counts: the container's list has names.
func (fam family) plainNames(p firewall.Policy, g firewall.Grant) bool {
	own, names := false, false
	for _, e := range p.Egress {
		if e.Bridge == g.Bridge && fam.Has(e.Addr) {
			own = true
			names = names || e.Addr == g.Addr && e.Names
		}
	}
	return names || !own && slices.ContainsFunc(p.Egress, func(e firewall.Egress) bool { return e.Bridge == g.Bridge && !e.Addr.IsValid() && e.Names })
}

// plainGrant returns from what a grant opens, but not from what is sent to the host.
func (fam family) plainGrant(g firewall.Grant) rule {
	text := fmt.Sprintf("-s %s -m addrtype ! --dst-type LOCAL -m conntrack --ctorigdst %s ", netip.PrefixFrom(g.Addr, g.Addr.BitLen()), g.To)
	if g.Proto == egress.ICMP {
		text += "-p " + fam.icmp + " "
	} else {
		text += "-p " + g.Proto.String() + " "
	}
	if g.First != 0 {
		text += fmt.Sprintf("-m conntrack --ctorigdstport %d:%d ", g.First, g.Last)
	}
	return rule{text + "-j RETURN", ""}
}

// plainLed leads what lists with names don't have, each list by itself.
func (fam family) plainLed(p firewall.Policy) []chain {
	led := chain{name: chainLed}
	chains := []chain{{}}
	for i, e := range p.Egress {
		n := p.Networks[slices.IndexFunc(p.Networks, func(n firewall.Network) bool { return n.Bridge == e.Bridge })]
		if !e.Names || !n.Leads(fam.Family) || e.Addr.IsValid() && !fam.Has(e.Addr) {
			continue
		}
		c := chain{name: fmt.Sprintf("MYBR-LED-%d", i)}
		c.add("", "", rule{"-d " + n.Family(fam.Family).Prefix.String() + " -m addrtype ! --dst-type LOCAL -j RETURN", ""})
		for _, p := range fam.reserved() {
			c.add("", "", rule{"-d " + p.String() + " -j RETURN", ""})
		}
		for _, g := range p.Grants {
			if g.Bridge == e.Bridge && fam.Has(g.Addr) && (g.Proto == model.TCP || g.Proto == model.UDP) && (!e.Addr.IsValid() || e.Addr == g.Addr) {
				c.add("", "", rule{strings.Replace(fam.plainGrant(g).text, "-m addrtype ! --dst-type LOCAL ", "", 1), ""})
			}
		}
		allowed := chain{}
		fam.plainAllowed(&allowed, e.To)
		c.rules = append(c.rules, allowed.rules[:len(allowed.rules)-1]...) // but for the drop
		to := func(port uint16) string { return netip.AddrPortFrom(n.Family(fam.Family).Gateway, port).String() }
		if p.Process.DNS != 0 {
			c.add("", "", rule{"-p udp -m udp --dport 53 -j DNAT --to-destination " + to(p.Process.DNS), ""}, rule{"-p tcp -m tcp --dport 53 -j DNAT --to-destination " + to(p.Process.DNS), ""})
		} else {
			c.add("", "", rule{"-p tcp -m tcp --dport 53 -j RETURN", ""})
		}
		for _, r := range e.Carried.Ranges() {
			if p.Process.TCP != 0 {
				c.add("", "", rule{fmt.Sprintf("-p tcp -m tcp --dport %d:%d -j DNAT --to-destination %s", r.First, r.Last, to(p.Process.TCP)), ""})
			}
		}
		source := ""
		if e.Addr.IsValid() {
			source = "-s " + netip.PrefixFrom(e.Addr, e.Addr.BitLen()).String() + " "
		}
		led.add(e.Bridge, "", rule{source + "-i " + e.Bridge + " -j " + c.name, ""})
		chains = append(chains, c)
	}
	chains[0] = led
	return chains
}
