package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about ports that some clients reach and others don't. Packets of networks without
// such ports meet none of it.

// limiting is what packets to and from a network meet that has limits, before they are judged as
// all others.
func (fam family) limiting() (chains []chain) {
	for _, to := range []string{toProtected, toOpenings, toRouted} {
		c := chain{name: limited + to}
		c.add("Replies reach the containers.", known(), verdict("goto "+chainPass))
		c.add("What begins at a port that only some clients reach is checked, led by a published port or not.",
			by(setLimited, oif(), fam.to(), proto(), port()))
		c.add("The rest is judged as in every network.", verdict("goto "+to))
		chains = append(chains, c)
	}
	for _, from := range []string{fromOpen, fromMasquerade} {
		c := chain{name: limited + from}
		c.add("What turns back into its own network is not limited.", by(setInside, iif(), oif()))
		why := "Only what begins is checked."
		c.add(why, known(), verdict("goto "+from))
		c.add(why, translated(), verdict("goto "+from))
		c.add("What a server begins whose port only some clients reach goes to these alone: its packets to one that is none any more would open the way back.",
			by(setLimitedFrom, iif(), fam.from(), proto(), sourcePort()))
		c.add("The rest is judged as in every network.", verdict("goto "+from))
		chains = append(chains, c)
	}
	return chains
}

// clientChains are the chains that look clients up in sets of addresses. Their names hang on the
// family's clients: other clients are others.
func (fam family) clientChains(p firewall.Policy) (chains []chain) {
	for _, c := range fam.clientsOf(p) {
		set := clientsName(admitted, fam, c)
		for name, at := range map[string]field{admitted: fam.from(), answered: fam.to()} {
			of := chain{name: clientsName(name, fam, c)}
			of.add("These clients may.", in(set, at), verdict("return"))
			of.add("Nobody else does.", verdict("drop"))
			chains = append(chains, of)
		}
	}
	slices.SortFunc(chains, func(a, b chain) int { return strings.Compare(a.name, b.name) })
	return chains
}

// clientsOf lists the sets of clients of a policy's limits, each once.
func (fam family) clientsOf(p firewall.Policy) (all []model.Clients) {
	names := map[string]bool{}
	for _, l := range p.Limits {
		if name := clientsName("", fam, l.From); fam.Has(l.Addr) && !l.From.All(fam.Family) && !names[name] {
			names[name] = true
			all = append(all, l.From)
		}
	}
	slices.SortFunc(all, func(a, b model.Clients) int { return strings.Compare(clientsName("", fam, a), clientsName("", fam, b)) })
	return all
}

func clientsName(beginning string, fam family, c model.Clients) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(c.Of(fam.Family))))
	return beginning + hex.EncodeToString(sum[:])[:12]
}

// limit has each port of a limit in the maps that lead to its clients.
func (fam family) limit(all map[string]*set, l firewall.Limit) {
	if l.Via != "" {
		fam.arrival(all, l)
	}
	if l.From.All(fam.Family) {
		return
	}
	in := served{why: "Only these clients reach the port from outside of its network.", bridge: l.Bridge, link: l.Link}
	out := in
	out.why = "What the server begins from this port goes to these clients alone."
	for i := range l.Count {
		at := key(nameBytes(l.Bridge), addrBytes(l.Addr), protoBytes(l.Proto), portBytes(l.First+i))
		all[setLimited].add(in, element{key: at, data: "jump " + clientsName(admitted, fam, l.From)})
		all[setLimitedFrom].add(out, element{key: at, data: "jump " + clientsName(answered, fam, l.From)})
	}
}

// sourcePort is at the same place in TCP, UDP and SCTP.
func sourcePort() field {
	return field{"th sport", portKind(), func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2}
	}}
}
