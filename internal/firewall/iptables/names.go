package iptables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about lists with host names: what is led to mybr's process, and what DNS has opened.

// reserved are addresses that are no host's: of groups, of everybody, and none at all. What is sent
// there may be for neighbours.
func (fam family) reserved() []netip.Prefix {
	if fam.linkLocal.IsValid() {
		return []netip.Prefix{fam.linkLocal, netip.MustParsePrefix("ff00::/8")}
	}
	return []netip.Prefix{netip.MustParsePrefix("224.0.0.0/3")}
}

// led is MYBR-LED, which finds by a network's bridge what may have to be led to the process. It is
// asked before published ports: those are sent to addresses of the host, which a name never leads to.
func (fam family) led(p firewall.Policy, lists listings) []chain {
	chains := fam.byBridge(chainLed, "-i", p, func(n firewall.Network) (rules []rule) {
		if !n.Leads(fam.Family) {
			return nil
		}
		const stays = "What stays in the network is not led, where bridged frames pass here."
		rules = append(rules, rule{"-d " + n.Family(fam.Family).Prefix.String() + " -i " + n.Bridge + " -m addrtype ! --dst-type LOCAL -j RETURN", stays})
		for _, p := range fam.reserved() {
			rules = append(rules, rule{"-d " + p.String() + " -i " + n.Bridge + " -j RETURN", stays})
		}
		return append(rules, rule{"-i " + n.Bridge + " -g " + lists.leading(n).root,
			"What containers of the network begin whose list has host names is led to mybr's process, unless their list has the address."})
	})
	ways, ends := map[string]bool{}, map[string]bool{}
	for _, n := range p.Networks {
		if !n.Leads(fam.Family) {
			continue
		}
		chains = append(chains, fam.comparing(n, lists, lists.leading(n), nil)...)
		for _, e := range lists.of[n.Bridge] {
			if !e.Names || e.Addr.IsValid() && !fam.Has(e.Addr) {
				continue
			}
			way, end := lists.way(n, e), lists.end(n, e)
			if !ways[way] {
				ways[way] = true
				chains = append(chains, fam.allowed(way, e.To, rule{"-g " + end, "The list does not have the address."})...)
			}
			if !ends[end] {
				ends[end] = true
				chains = append(chains, fam.leadingTo(end, n, e, lists.process))
			}
		}
	}
	return chains
}

// leadingTo is the chain that leads to the process.
func (fam family) leadingTo(name string, n firewall.Network, e firewall.Egress, to firewall.Process) chain {
	c := chain{name: name}
	lead := func(why string, port uint16, matches ...string) {
		for _, match := range matches {
			if port != 0 {
				c.add("", "", rule{match + " -j DNAT --to-destination " + netip.AddrPortFrom(n.Family(fam.Family).Gateway, port).String(), why})
			}
		}
	}
	lead("DNS is asked of mybr, whomever the container asks.", to.DNS, "-p udp -m udp --dport 53", "-p tcp -m tcp --dport 53")
	for _, r := range e.Carried.Without(53) {
		lead("Connections at this port are carried by mybr to the host that they name.", to.TCP, "-p tcp -m tcp --dport "+span(r.First, r.Last-r.First+1, ":"))
	}
	return c
}

// stage is a place where packets of a network are compared, by the container's address.
type stage struct {
	root    string                         // the chain that they come to
	granted string                         // what the names of containers' chains of grants begin with
	target  func(e firewall.Egress) string // what becomes of what no grant has, such as "-g CHAIN"
	has     func(g firewall.Grant) bool    // whether a grant counts there
	split   bool                           // what goes to the host's own addresses passes no grants
	others  rule                           // what becomes of whatever has no list by its address
}

// dropping is where lists drop what is not allowed.
func (l listings) dropping(n firewall.Network) stage {
	return stage{
		root: l.chain(n), granted: chainGranted, split: true,
		target: func(e firewall.Egress) string {
			if e.To.All() {
				return "-j RETURN"
			}
			return "-g " + l.allowed(e.To)
		},
		has:    func(firewall.Grant) bool { return true },
		others: rule{"-g " + l.allowed(l.network(n).To), "What no container of the network has for an address."},
	}
}

// leading is where what is not listed is led to the process.
func (l listings) leading(n firewall.Network) stage {
	network := l.network(n)
	target := func(e firewall.Egress) string {
		if !e.Names {
			return "-j RETURN"
		}
		return "-g " + l.way(n, e)
	}
	return stage{
		root: hashed(chainVia, n.Bridge, target(network)), granted: chainGrantedVia, target: target,
		has:    func(g firewall.Grant) bool { return g.Proto == model.TCP || g.Proto == model.UDP },
		others: rule{target(network), "What no container of the network has for an address."},
	}
}

// network is a network's own list.
func (l listings) network(n firewall.Network) firewall.Egress {
	if all := l.of[n.Bridge]; len(all) > 0 && !all[0].Addr.IsValid() {
		return all[0]
	}
	return firewall.Egress{Bridge: n.Bridge, To: egress.Nothing}
}

// way names the chain that is left to go on to the addresses of a list, and leads the rest to the
// process; end names that which does the latter.
func (l listings) way(n firewall.Network, e firewall.Egress) string {
	return hashed(chainWay, l.end(n, e), l.allowed(e.To))
}

func (l listings) end(n firewall.Network, e firewall.Egress) string {
	return hashed(chainLead, n.Family(l.fam.Family).Gateway.String(), fmt.Sprint(l.process), string(e.Carried))
}

// hashed is the name of a chain that hangs on what it is for: for something else it is another.
func hashed(beginning string, of ...string) string {
	text := []byte{'['} // as fmt prints a list of texts in quotes
	for i, word := range of {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendQuote(text, word)
	}
	sum := sha256.Sum256(append(text, ']'))
	return beginning + hex.EncodeToString(sum[:])[:10]
}

// comparing is the chains of a stage of a network: its root, the index below it, and for each
// container whose list has names and who has been granted something, a chain of that. Where
// containers have lists of their own, all of those with names have such a chain, so that a grant
// changes nothing else. near says that the lists have only a part of the containers; nil: they have all.
func (fam family) comparing(n firewall.Network, lists listings, at stage, near *near) (chains []chain) {
	root := chain{name: at.root, last: true}
	var entries []entry
	sources := lists.sources(n)
	var of string // the target of the list of the container before
	for i, e := range sources {
		addr := netip.PrefixFrom(e.Addr, e.Addr.BitLen())
		if i == 0 || !sameList(e, sources[i-1]) {
			of = at.target(e)
		}
		target, why := of, "What the container with this address may begin."
		if e.Names && n.Names {
			c := fam.granted(n, lists, at, e, target)
			chains = append(chains, c)
			var local []served
			if at.split {
				local = serving(e.Bridge, e.Link, rule{"-s " + addr.String() + " -m addrtype --dst-type LOCAL " + target, "What the container with this address may send to the host."})
				addrs := "-s " + addr.String() + " -m addrtype ! --dst-type LOCAL"
				entries = append(entries, entry{bitsOf(addr), append(local, serving(e.Bridge, e.Link, rule{addrs + " -g " + c.name, why})...)})
				continue
			}
			target = "-g " + c.name
		}
		entries = append(entries, entry{bitsOf(addr), serving(e.Bridge, e.Link, rule{"-s " + addr.String() + " " + target, why})})
	}
	x := fam.byAddress(root.name, "-s")
	x.end, x.depth = &at.others, 3
	x.why = "Containers whose addresses begin so are there, so that others don't meet them."
	var below []chain
	if n.Names && len(entries) > 0 {
		// There are chains of grants below it, and the kernel follows so many: no level is spent on
		// what all of them have in common.
		x.depth, x.stride = 2, nearBits
		path := common(entries)
		if near != nil {
			x.spread, path = true, near.path
		}
		below = x.level(&root, path, entries, 0)
	} else {
		below = x.fill(&root, entries)
	}
	root.add("", "", at.others)
	return append(append([]chain{root}, below...), chains...)
}

// sameList reports whether two containers of a network have one list.
func sameList(a, b firewall.Egress) bool {
	a.Addr, a.Link = b.Addr, b.Link
	return a == b
}

// granted is the chain of what a container has been granted whose list has names, and what becomes of
// all else.
func (fam family) granted(n firewall.Network, lists listings, at stage, e firewall.Egress, target string) chain {
	c := chain{name: hashed(at.granted, n.Bridge, netip.PrefixFrom(e.Addr, e.Addr.BitLen()).String(), target), last: true}
	for _, g := range lists.grants[n.Bridge][e.Addr] {
		if at.has(g) {
			c.add(g.Bridge, g.Link, fam.granting(g))
		}
	}
	c.add(e.Bridge, e.Link, rule{target, "The rest is allowed or not by the list."})
	return c
}

// own reports whether containers of a network have lists of their own.
func (l listings) own(n firewall.Network) bool {
	return slices.ContainsFunc(l.of[n.Bridge], func(e firewall.Egress) bool { return l.fam.Has(e.Addr) })
}

// sources are the lists by the addresses of containers: their own, or where none has one, the
// network's of those that have been granted something.
func (l listings) sources(n firewall.Network) (all []firewall.Egress) {
	if l.own(n) {
		return slices.DeleteFunc(slices.Clone(l.of[n.Bridge]), func(e firewall.Egress) bool { return !l.fam.Has(e.Addr) })
	}
	if e := l.network(n); e.Names {
		for addr, grants := range l.grants[n.Bridge] {
			e.Addr, e.Link = addr, grants[0].Link
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b firewall.Egress) int { return a.Addr.Compare(b.Addr) })
	return all
}

// granting is the rule of a grant.
func (fam family) granting(g firewall.Grant) rule {
	match := fam.matches(egress.Service{Proto: g.Proto, First: g.First, Last: g.Last})[0]
	return rule{match.protocol + "-m conntrack --ctorigdst " + g.To.String() + match.port + " -j RETURN",
		"DNS has given the address for a name that the list has."}
}

// ledInput is a network's part of MYBR-INPUT for what was led to the process. It is accepted: whoever
// drops what comes to the host does not know of it.
func (fam family) ledInput(n firewall.Network, to firewall.Process) (rules []rule) {
	if !n.Leads(fam.Family) {
		return nil
	}
	gateway := n.Family(fam.Family).Gateway
	for _, match := range processMatches(to) {
		rules = append(rules, rule{fmt.Sprintf("-d %s -i %s %s -m conntrack --ctstate DNAT -j ACCEPT", netip.PrefixFrom(gateway, gateway.BitLen()), n.Bridge, match),
			"What was led to mybr's process reaches it, whatever rules come later."})
	}
	return rules
}

// notLed is MYBR-PROCESS, which keeps everybody else from the ports of the process. Its sockets are
// of both families, whichever of them a network leads there.
func notLed(to firewall.Process) chain {
	c := chain{name: chainProcess}
	for _, match := range processMatches(to) {
		c.add("", "", rule{match + " -m conntrack ! --ctstate DNAT -j DROP", "Nobody reaches this port of mybr's process who was not led there."})
	}
	return c
}

// processMatches are the ports of the process.
func processMatches(to firewall.Process) (all []string) {
	if to.DNS != 0 {
		all = append(all, fmt.Sprintf("-p udp -m udp --dport %d", to.DNS), fmt.Sprintf("-p tcp -m tcp --dport %d", to.DNS))
	}
	if to.TCP != 0 {
		all = append(all, fmt.Sprintf("-p tcp -m tcp --dport %d", to.TCP))
	}
	return all
}
