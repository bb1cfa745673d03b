package nftables

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about lists with host names: what is led to mybr's process, and what DNS has opened.
// Packets of networks without names meet none of it, but for one look into a map where they begin,
// and one where they come to the host.

// reserved are addresses that are no host's: of groups, of everybody, and none at all. What is sent
// there may be for neighbours.
func (fam family) reserved() []netip.Prefix {
	if fam.linkLocal.IsValid() {
		return []netip.Prefix{fam.linkLocal, netip.MustParsePrefix("ff00::/8")}
	}
	return []netip.Prefix{netip.MustParsePrefix("224.0.0.0/3")}
}

// leadable is what begins in a network of which some containers' lists have names, before published
// ports are asked: those are asked for at addresses of the host, which a name never leads to.
func (fam family) leadable() chain {
	c := chain{name: chainLeadable}
	const stays = "What stays in the network is not led, where bridged frames pass here."
	c.add(stays, in(setOwn, fam.to(), iif()), notLocal(), verdict("return"))
	for _, p := range fam.reserved() {
		c.add(stays, within(fam.to(), p), verdict("return"))
	}
	for _, granted := range fam.grantedClauses() {
		c.add("DNS has given the address for a name that the list has.", granted, verdict("return"))
	}
	c.add("The container with this address has a list of its own.", by(setLeadFrom, iif(), fam.from()))
	c.add("All others have the network's.", by(setLead, iif()))
	return c
}

// grantedClauses match what DNS has opened: at all ports, at one, and at several.
func (fam family) grantedClauses() []clause {
	return []clause{
		in(setGranted, iif(), fam.from(), fam.to(), proto()),
		in(setGrantedPort, iif(), fam.from(), fam.to(), proto(), port()),
		in(setGrantedPorts, port(), proto(), iif(), fam.from(), fam.to()),
	}
}

// passGranted are the rules of the chain of what begins. What a published port has led elsewhere is
// compared by where it was sent, before its present address is taken for one that was granted.
func (fam family) passGranted(c *chain) {
	c.add("What a published port leads elsewhere was granted by nobody.", translated(), verdict("jump "+chainListed))
	for _, granted := range fam.grantedClauses() {
		c.add("DNS has given the address for a name that the list has.", granted, by(setBehind, iif()))
	}
}

// processInput are the chains of what comes to the ports of the process.
func processInput(fam family, beside bool) []chain {
	c := chain{name: chainProcess}
	c.add("What was led to mybr's process reaches it.", in(setGateways, iif(), fam.to()), translated(), verdict("goto "+chainLetIn))
	c.add("Nobody reaches these ports of mybr's process who was not led there.", verdict("drop"))
	let := chain{name: chainLetIn}
	if beside {
		let.add("A rule of iptables that comes later accepts what bears this bit.", mark(passBit))
	}
	let.add("What others drop later is dropped all the same.", verdict("accept"))
	return []chain{c, let}
}

// lead is what becomes of what a list does not have.
type lead struct {
	to      egress.Allowed
	carried egress.Ports
}

// leadsOf are those of lists, each once, however many containers have it.
func (fam family) leadsOf(all []firewall.Egress) map[lead]bool {
	leads := map[lead]bool{}
	for _, e := range all {
		if e.Names && (!e.Addr.IsValid() || fam.Has(e.Addr)) {
			leads[lead{e.To, e.Carried}] = true
		}
	}
	return leads
}

// leadName names the chain of a lead: it hangs on what it has of the family.
func (fam family) leadName(l lead) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(l.to.Services(fam.Family), l.carried)))
	return chainLead + hex.EncodeToString(sum[:])[:12]
}

// leading are the chains of lists with names: they return from what is allowed by its address, and
// lead the rest to the process. Where that listens is said by the network that a packet comes from;
// what is led nowhere is dropped as what is not listed.
func (fam family) leading(p firewall.Policy) (chains []chain) {
	names := map[string]bool{}
	for l := range fam.leadsOf(p.Egress) {
		c := chain{name: fam.leadName(l)}
		if names[c.name] {
			continue
		}
		names[c.name] = true
		for _, s := range l.to.Services(fam.Family) {
			to, named := fam.destinations(s)
			for _, match := range fam.matches(s, sentPort) {
				why := "This may be begun."
				switch {
				case s.Host:
					c.add("This may be sent to the host.", append(match, local(), verdict("return"))...)
				case named:
					c.add(why, append(match, in(clientsName(admitted, fam, to), fam.to()), verdict("return"))...)
				default:
					c.add(why, append(match, verdict("return"))...)
				}
			}
		}
		at := func(proto model.Proto, r egress.PortRange) []clause {
			return fam.matches(egress.Service{Proto: proto, First: r.First, Last: r.Last}, sentPort)[0]
		}
		for _, proto := range []model.Proto{model.UDP, model.TCP} {
			c.add("DNS is asked of mybr, whomever the container asks.", append(at(proto, egress.PortRange{First: 53, Last: 53}), fam.dnat(setLeadDNS, iif()))...)
		}
		for _, r := range l.carried.Without(53) {
			c.add("Connections at this port are carried by mybr to the host that they name.", append(at(model.TCP, r), fam.dnat(setLeadTCP, iif()))...)
		}
		chains = append(chains, c)
	}
	slices.SortFunc(chains, func(a, b chain) int { return cmp.Compare(a.name, b.name) })
	return chains
}

// names has a network of which some lists have names in the maps that lead to the process.
func (fam family) names(all map[string]*set, n firewall.Network, to firewall.Process) {
	if !n.Leads(fam.Family) {
		return
	}
	name, family := nameBytes(n.Bridge), n.Family(fam.Family)
	of := func(why string) served { return served{why: why, bridge: n.Bridge} }
	all[setLed].add(of("What containers begin whose list has host names is led to mybr's process, unless their list has the address."),
		element{key: name, data: "jump " + chainLeadable})
	all[setOwn].add(of("What stays in the network."), element{key: key(addrBytes(family.Prefix.Addr()), name), end: key(addrBytes(lastOf(family.Prefix)), name)})
	all[setGateways].add(of("What is led to mybr's process is led to this address."), element{key: key(name, addrBytes(family.Gateway))})
	for set, port := range map[string]uint16{setLeadDNS: to.DNS, setLeadTCP: to.TCP} {
		if port != 0 {
			all[set].add(of("Here mybr's process listens."), element{key: name, data: key(addrBytes(family.Gateway), portBytes(port))})
		}
	}
}

// process has the ports of the process in the map that keeps others from them: its sockets are of
// both families, whichever of them a network leads there.
func (fam family) process(all map[string]*set, p firewall.Policy) {
	if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Names }) {
		return
	}
	guard := func(proto model.Proto, port uint16) {
		if port != 0 {
			all[setProcess].add(served{why: "A port of mybr's process."}, element{key: key(protoBytes(proto), portBytes(port)), data: "jump " + chainProcess})
		}
	}
	guard(model.UDP, p.Process.DNS)
	guard(model.TCP, p.Process.DNS)
	guard(model.TCP, p.Process.TCP)
}

// differingSets are the sets of a part of a policy that is compared with another part: the ports of
// the process are alike in both policies, whichever networks are in the parts.
func (fam family) differingSets(p firewall.Policy) []set {
	all := fam.sets(p, nil)
	i := slices.IndexFunc(all, func(s set) bool { return s.name == setProcess })
	all[i].elements = nil
	return all
}

// leads has what a list with names leads to in the maps that are asked for it. Where containers
// have lists of their own, the network's has no names (firewall.Policy.Validate), so that those
// without names need no element.
func (fam family) leads(all map[string]*set, e firewall.Egress) {
	if !e.Names || e.Addr.IsValid() && !fam.Has(e.Addr) {
		return
	}
	to := "goto " + fam.leadName(lead{e.To, e.Carried})
	if !e.Addr.IsValid() {
		all[setLead].add(served{why: "What containers of the network begin, and the list does not have.", bridge: e.Bridge}, element{key: nameBytes(e.Bridge), data: to})
		return
	}
	of := served{why: "What the container with this address begins, and its list does not have.", bridge: e.Bridge, link: e.Link}
	all[setLeadFrom].add(of, element{key: key(nameBytes(e.Bridge), addrBytes(e.Addr)), data: to})
}

// grant has a grant in one of the sets.
func (fam family) grant(all map[string]*set, g firewall.Grant) {
	number := byte(g.Proto)
	if g.Proto == egress.ICMP {
		number = fam.icmpProto
	}
	of := served{why: "DNS has given the address for a name that the list has.", bridge: g.Bridge, link: g.Link}
	whose, what := key(nameBytes(g.Bridge), addrBytes(g.Addr), addrBytes(g.To)), protoBytes(model.Proto(number))
	switch {
	case g.First == 0:
		all[setGranted].add(of, element{key: key(whose, what)})
	case g.First == g.Last:
		all[setGrantedPort].add(of, element{key: key(whose, what, portBytes(g.First))})
	default:
		all[setGrantedPorts].add(of, element{key: key(portBytes(g.First), what, whose), end: key(portBytes(g.Last), what, whose)})
	}
}

// notLocal matches what is sent to an address that is not the host's.
func notLocal() clause {
	return clause{"fib daddr type != local", []expr.Any{
		&expr.Fib{Register: register(0), FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: native(unix.RTN_LOCAL)},
	}}
}
