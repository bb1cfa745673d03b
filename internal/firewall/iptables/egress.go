package iptables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
)

// This file is about what containers may begin connections to.

// listings are the egress lists of a policy, by bridge, of which those without an address come
// first. Each list is read for its chain's name once, however many containers have it.
type listings struct {
	fam     family
	of      map[string][]firewall.Egress
	grants  map[string]map[netip.Addr][]firewall.Grant // by bridge, and the container's address
	process firewall.Process
	names   map[egress.Allowed]string
}

func (fam family) listings(p firewall.Policy) listings {
	l := listings{fam, map[string][]firewall.Egress{}, map[string]map[netip.Addr][]firewall.Grant{}, p.Process, map[egress.Allowed]string{}}
	for _, e := range p.Egress {
		l.of[e.Bridge] = append(l.of[e.Bridge], e)
	}
	for _, g := range p.Grants {
		if !fam.Has(g.Addr) {
			continue
		}
		if l.grants[g.Bridge] == nil {
			l.grants[g.Bridge] = map[netip.Addr][]firewall.Grant{}
		}
		l.grants[g.Bridge][g.Addr] = append(l.grants[g.Bridge][g.Addr], g)
	}
	return l
}

// allowed names the chain of a list, which is left to go on to what it allows. The name hangs on
// what it allows of the family: another list is another chain.
func (l listings) allowed(a egress.Allowed) string {
	name, known := l.names[a]
	if !known {
		text := fmt.Sprint(a.Services(l.fam.Family))
		if a.Audit() {
			text += " audit"
		}
		sum := sha256.Sum256([]byte(text))
		name = chainAllowed + hex.EncodeToString(sum[:])[:10]
		l.names[a] = name
	}
	return name
}

// chain is where a network's packets are compared: directly with its list, or with that of the
// container that has their address. The name of that chain hangs on the network's list, too, which
// its last rule leads to: a difference puts new rules in front. Where there are names it is always
// there, since grants come and go.
func (l listings) chain(n firewall.Network) string {
	others := l.allowed(l.network(n).To)
	if !n.Names && !l.own(n) {
		return others
	}
	sum := sha256.Sum256([]byte(n.Bridge + " " + others))
	return chainListOf + hex.EncodeToString(sum[:])[:8]
}

// listed is MYBR-LISTED, which finds a network's list for what it forwards, by the network's
// bridge.
func (fam family) listed(p firewall.Policy, lists listings) []chain {
	return fam.byBridge(chainListed, "-i", p, func(n firewall.Network) []rule {
		if !n.Listed || !n.Forwards(fam.Family) {
			return nil
		}
		return []rule{{"-i " + n.Bridge + " ! -o " + n.Bridge + " -g " + lists.chain(n),
			"What containers of the network begin, through a published port or not, is compared with what they may."}}
	})
}

// listedInput is a network's part of MYBR-INPUT.
func (fam family) listedInput(n firewall.Network, lists listings) (rules []rule) {
	if !n.Listed {
		return nil
	}
	in := "-i " + n.Bridge + " "
	rules = append(rules, rule{in + "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN",
		"The host is answered. What containers of the network have begun is checked as long as it goes on."})
	for _, kind := range fam.neighbours {
		rules = append(rules, rule{in + "-p ipv6-icmp -m icmp6 --icmpv6-type " + kind + " -j RETURN", "Neighbours find each other."})
	}
	rules = append(rules, fam.ledInput(n, lists.process)...)
	return append(rules, rule{in + "-j " + lists.chain(n), "What containers of the network send to the host is compared with what they may."})
}

// lists is the chains that MYBR-LISTED and MYBR-INPUT lead to: they only drop, and tell of it. A
// list has a chain, however many networks and containers have it.
func (fam family) lists(p firewall.Policy, lists listings) (chains []chain) {
	seen, all := map[string]bool{}, map[egress.Allowed]bool{}
	add := func(a egress.Allowed) {
		all[a] = true
		if name := lists.allowed(a); !seen[name] {
			seen[name] = true
			chains = append(chains, fam.allowed(name, a, unlisted(a))...)
		}
	}
	for _, n := range p.Networks {
		if !n.Listed {
			continue
		}
		for _, e := range lists.of[n.Bridge] {
			if fam.Has(e.Addr) && !e.To.All() {
				add(e.To)
			}
		}
		add(lists.network(n).To)
		if n.Names || lists.own(n) {
			chains = append(chains, fam.comparing(n, lists, lists.dropping(n), nil)...)
		}
	}
	return append(chains, refused(all, p.Untold)...)
}

// ofFlow is the match of what is of some flow, where no other match of conntrack's asks for one.
const ofFlow = "-m conntrack ! --ctstate INVALID,UNTRACKED "

// allowed is the chain of a list, and those below it: they return from what is allowed, and end
// with a rule for all else. Addresses and ports are those that the container has chosen
// (iptables-extensions(8), conntrack); what is of no flow has none, and comes to the end.
func (fam family) allowed(name string, a egress.Allowed, end rule) []chain {
	root := chain{name: name, last: true}
	var entries []entry
	for _, s := range a.Services(fam.Family) {
		for _, match := range fam.matches(s) {
			if s.Host {
				why := "This may be sent to the host."
				root.add("", "", rule{match.protocol + "-m addrtype --dst-type LOCAL -m conntrack" + match.port + " -j RETURN", why},
					rule{match.protocol + "-m conntrack --ctstate DNAT" + match.port + " -j RETURN", why + " A published port leads it on."})
			}
			for _, p := range s.To {
				const why = "This may be begun."
				if p.Bits() == 0 {
					known := ofFlow
					if match.port != "" {
						known = "-m conntrack" + match.port + " "
					}
					root.add("", "", rule{match.protocol + known + "-j RETURN", why})
					continue
				}
				entries = append(entries, entry{bitsOf(p), serving("", "", rule{match.protocol + "-m conntrack --ctorigdst " + bare(p) + match.port + " -j RETURN", why})})
			}
		}
	}
	x := fam.byAddress(name, "")
	x.match = func(path string) string { return "-m conntrack --ctorigdst " + bare(fam.beginning(path)) }
	x.end, x.depth = &end, 3
	x.why = "Destinations whose addresses begin so are there, so that others don't meet them."
	if len(root.rules) == 0 || len(entries) == 0 {
		below := x.fill(&root, entries)
		root.add("", "", end)
		return append([]chain{root}, below...)
	}
	// What is allowed at whatever address must be asked before the index, which does not come back.
	addressed := chain{name: name + "/A", last: true}
	x.depth--
	below := x.fill(&addressed, entries)
	addressed.add("", "", end)
	root.add("", "", rule{"-g " + addressed.name, "The rest is allowed or not by its address."})
	return append([]chain{root, addressed}, below...)
}

// serviceMatch is the parts of a rule that say what a service is of.
type serviceMatch struct{ protocol, port string }

// matches are those of a service, one for each protocol.
func (fam family) matches(s egress.Service) (all []serviceMatch) {
	port := ""
	if s.First != 0 {
		port = fmt.Sprintf(" --ctorigdstport %d", s.First)
		if s.Last != s.First {
			port += fmt.Sprintf(":%d", s.Last)
		}
	}
	for _, proto := range s.Protos() {
		word := proto.String()
		if proto == egress.ICMP {
			word = fam.icmp
		}
		all = append(all, serviceMatch{"-p " + word + " ", port})
	}
	if len(all) == 0 {
		all = []serviceMatch{{}}
	}
	return all
}

// bare is a prefix as conntrack's matches are printed, which a single address has none of.
func bare(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
