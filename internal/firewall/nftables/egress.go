package nftables

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about what containers may begin connections to. Packets of networks that may begin
// everything meet none of it.

// checking is what packets from a network meet that has egress lists, before they are judged as
// all others, or reach the host.
func (fam family) checking(l layout) []chain {
	c := chain{name: chainChecked}
	c.add("Only what begins is checked.", known(), by(setBehind, iif()))
	c.add("What turns back into its own network is not checked.", by(setInside, iif(), oif()))
	if l.names {
		fam.passGranted(&c)
	}
	c.add("What containers begin, through a published port or not, is compared with what they may.", verdict("jump "+chainListed))
	c.add("The rest is judged as in every network.", by(setBehind, iif()))

	host := chain{name: chainToHost}
	host.add("The host is answered. What containers have begun is checked as long as it goes on.", known(), replying(), verdict("return"))
	if fam.icmpProto == ipv6().icmpProto {
		host.add("Neighbours find each other.", icmpv6("nd-neighbor-solicit", 135), verdict("return"))
		host.add("Neighbours find each other.", icmpv6("nd-neighbor-advert", 136), verdict("return"))
	}
	host.add("What containers send to the host is compared with what they may.", verdict("goto "+chainListed))

	list := chain{name: chainListed}
	list.add("The container with this address has a list of its own.", by(setListedFrom, iif(), fam.from()))
	list.add("All others have the network's.", by(setListed, iif()))
	return []chain{c, host, list}
}

// allowance is what a family has of an egress list.
type allowance struct {
	egress.Allowed
	name     string // of its chain: it hangs on what is allowed of the family, so that another list is another chain
	services []egress.Service
}

// allowanceOf reads a list, which costs by its length: who has many asks once for each.
func (fam family) allowanceOf(a egress.Allowed) allowance {
	services := a.Services(fam.Family)
	text := fmt.Sprint(services)
	if a.Audit() {
		text += " audit"
	}
	sum := sha256.Sum256([]byte(text))
	return allowance{a, chainAllowed + hex.EncodeToString(sum[:])[:12], services}
}

// allowances are lists that were read, for who meets the same ones again and again.
type allowances map[egress.Allowed]allowance

func (all allowances) of(fam family, a egress.Allowed) allowance {
	l, known := all[a]
	if !known {
		l = fam.allowanceOf(a)
		all[a] = l
	}
	return l
}

// named are the lists that the family needs chains for, however many containers have them.
func (fam family) named(all []firewall.Egress) map[egress.Allowed]bool {
	names := map[egress.Allowed]bool{}
	var last egress.Allowed // that of neighbours is the same memory as a rule, which is told faster than its hash
	for _, e := range all {
		if e.To != last && !e.To.All() && (!e.Addr.IsValid() || fam.Has(e.Addr)) {
			last, names[e.To] = e.To, true
		}
	}
	return names
}

// lists are the egress lists of a policy of which the family has a chain, each once.
func (fam family) lists(p firewall.Policy) (all []allowance) {
	for a := range fam.named(p.Egress) {
		all = append(all, fam.allowanceOf(a))
	}
	slices.SortFunc(all, func(a, b allowance) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b allowance) bool { return a.name == b.name })
}

// destinations are the addresses of a service, as the sets of clients have them; none where all
// are meant.
func (fam family) destinations(s egress.Service) (c model.Clients, named bool) {
	if s.Host || slices.ContainsFunc(s.To, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		return c, false
	}
	return model.NewClients(s.To), true
}

// allowed are the chains of lists: they return from what is allowed, and lead all else to where it
// is dropped, or told of. What a published port has led elsewhere has a chain of its own, where
// addresses and ports are those of the flow; nft(8) can't list sets that these are looked up in (it
// aborts, as of version 1.0.6).
func (fam family) allowed(lists []allowance) (chains []chain) {
	for _, a := range lists {
		led := chain{name: chainTranslated + strings.TrimPrefix(a.name, chainAllowed)}
		c := chain{name: a.name}
		why, refuse := unlisted(a.Allowed)
		c.add("What is of no flow may not be begun.", ct("ct state invalid,untracked", expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED), refuse)
		c.add("What a published port leads elsewhere is compared by where it was sent.", translated(), verdict("goto "+led.name))
		for _, s := range a.services {
			to, named := fam.destinations(s)
			for _, match := range fam.matches(s, sentPort) {
				switch why := "This may be begun."; {
				case s.Host:
					c.add("This may be sent to the host.", append(match, local(), verdict("return"))...)
				case named:
					c.add(why, append(match, in(clientsName(admitted, fam, to), fam.to()), verdict("return"))...)
				default:
					c.add(why, append(match, verdict("return"))...)
				}
			}
			for _, match := range fam.matches(s, chosenPort) {
				if !named {
					led.add("This may be sent to published ports.", append(match, verdict("return"))...)
					continue
				}
				for _, prefix := range to.Of(fam.Family) {
					led.add("This may be sent to published ports.", append(match, within(fam.chosen(), prefix), verdict("return"))...)
				}
			}
		}
		c.add(why, refuse)
		led.add(why, refuse)
		chains = append(chains, c, led)
	}
	return chains
}

// matches are what a service is of, one for each protocol; port matches its ports. None of them has
// room for more clauses.
func (fam family) matches(s egress.Service, port func(proto string, first, last uint16) clause) (all [][]clause) {
	for _, proto := range s.Protos() {
		word, number := proto.String(), byte(proto)
		if proto == egress.ICMP {
			word, number = fam.icmp, fam.icmpProto
		}
		match := protocol(word, number)
		if s.First != 0 {
			of := port(match.text, s.First, s.Last)
			match = clause{of.text, append(match.exprs, of.exprs...)}
		}
		all = append(all, slices.Clip([]clause{match}))
	}
	if len(all) == 0 {
		all = [][]clause{nil}
	}
	return all
}

// egress has what an egress list is for in the maps that lead to it.
func (fam family) egress(all map[string]*set, e firewall.Egress, read allowances) {
	if e.Addr.IsValid() && !fam.Has(e.Addr) {
		return
	}
	of := served{why: "What containers of the network may begin.", bridge: e.Bridge}
	to := "return"
	if !e.To.All() {
		to = "goto " + read.of(fam, e.To).name
	}
	switch {
	case !e.Addr.IsValid():
		all[setListed].add(of, element{key: nameBytes(e.Bridge), data: to})
	default:
		of.why, of.link = "What the container with this address may begin.", e.Link
		all[setListedFrom].add(of, element{key: key(nameBytes(e.Bridge), addrBytes(e.Addr)), data: to})
	}
}

// addressSets are the sets of addresses that limits and egress lists name, each once.
func (fam family) addressSets(p firewall.Policy, lists []allowance) (sets []set) {
	names := map[string]bool{}
	add := func(c model.Clients, why string) {
		s := set{name: clientsName(admitted, fam, c), key: []kind{fam.address}, interval: true}
		if names[s.name] {
			return
		}
		names[s.name] = true
		for _, prefix := range c.Of(fam.Family) {
			s.add(served{why: why}, element{key: addrBytes(prefix.Addr()), end: addrBytes(lastOf(prefix))})
		}
		sets = append(sets, s)
	}
	for _, c := range fam.clientsOf(p) {
		add(c, "These clients may.")
	}
	for _, a := range lists {
		for _, s := range a.services {
			if to, named := fam.destinations(s); named {
				add(to, "These are allowed.")
			}
		}
	}
	slices.SortFunc(sets, func(a, b set) int { return strings.Compare(a.name, b.name) })
	return sets
}

// turnLists has the chains and sets of egress lists come and go in a difference between policies
// of which nothing else needs other rules. gone and came are what differs: mostly a container
// more or less that has a list which others have, too, and no list has to be read for that.
func (c *change) turnLists(fam family, have, want, gone, came firewall.Policy) {
	had, wanted := fam.named(have.Egress), fam.named(want.Egress)
	hadLeads, wantedLeads := fam.leadsOf(have.Egress), fam.leadsOf(want.Egress)
	same := true
	for _, all := range [][]firewall.Egress{gone.Egress, came.Egress} {
		for a := range fam.named(all) {
			same = same && had[a] == wanted[a]
		}
		for l := range fam.leadsOf(all) {
			same = same && hadLeads[l] == wantedLeads[l]
		}
	}
	if same {
		return
	}
	hadLists, lists := fam.lists(have), fam.lists(want)
	hadChains, hadSets := append(fam.allowed(hadLists), fam.leading(have)...), fam.addressSets(have, hadLists)
	chains, sets := append(fam.allowed(lists), fam.leading(want)...), fam.addressSets(want, lists)
	for _, s := range sets {
		if !slices.ContainsFunc(hadSets, func(h set) bool { return h.name == s.name }) {
			c.made.sets = append(c.made.sets, s)
			c.tellSet(s)
		}
	}
	for _, w := range chains {
		if !slices.ContainsFunc(hadChains, func(h chain) bool { return h.name == w.name }) {
			c.made.chains, c.chains = append(c.made.chains, w), append(c.chains, w)
			c.tellChain(w)
		}
	}
	for _, h := range hadChains {
		if !slices.ContainsFunc(chains, func(w chain) bool { return h.name == w.name }) {
			c.gone.chains = append(c.gone.chains, h)
			c.tell(wordDelete, "chain", h.name, "")
		}
	}
	for _, h := range hadSets {
		if !slices.ContainsFunc(sets, func(w set) bool { return h.name == w.name }) {
			c.gone.sets = append(c.gone.sets, set{name: h.name})
			c.tell(wordDelete, "set", h.name, "")
		}
	}
}

// chosen is the address that the first packet of a flow was sent to, whatever it is translated to;
// there is none without a flow.
func (fam family) chosen() field {
	return field{"ct original " + fam.word + " daddr", fam.address, func(r uint32) expr.Any {
		return &expr.Ct{Key: expr.CtKeyDST, Direction: ipCtDirOriginal, Register: r}
	}}
}

// chosenPort matches a protocol with the ports that the first packet of a flow was sent to.
func chosenPort(protocol string, first, last uint16) clause {
	return portsOf(protocol+" ct original proto-dst ", first, last, &expr.Ct{Key: expr.CtKeyPROTODST, Direction: ipCtDirOriginal, Register: register(0)})
}

// sentPort matches a protocol with the ports that a packet is sent to, as nft(8) prints it.
func sentPort(protocol string, first, last uint16) clause {
	return portsOf(strings.TrimPrefix(protocol, "meta l4proto ")+" dport ", first, last, port().load(register(0)))
}

func portsOf(text string, first, last uint16, load expr.Any) clause {
	from, to := []byte(portBytes(first))[:2], []byte(portBytes(last))[:2]
	if first == last {
		return clause{text + fmt.Sprint(first), []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: from}}}
	}
	return clause{text + fmt.Sprintf("%d-%d", first, last), []expr.Any{load,
		&expr.Range{Op: expr.CmpOpEq, Register: register(0), FromData: from, ToData: to}}}
}

// The directions of a flow (enum ip_conntrack_dir of linux/netfilter/nf_conntrack_tuple_common.h).
const ipCtDirOriginal, ipCtDirReply = 0, 1

// replying matches what goes against the direction in which its flow has begun.
func replying() clause {
	return clause{"ct direction reply", []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{ipCtDirReply}},
	}}
}

// icmpv6 matches a type of ICMPv6.
func icmpv6(name string, number byte) clause {
	return clause{"icmpv6 type " + name, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{number}},
	}}
}
