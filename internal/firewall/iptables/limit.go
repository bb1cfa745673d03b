package iptables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about ports that some clients reach and others don't.

// limits is MYBR-LIMIT-IN and MYBR-LIMIT-OUT, and the chains that they lead to: they only drop.
// A set of clients has a chain in each direction, however many ports it is for.
func (fam family) limits(p firewall.Policy) []chain {
	in, out := chain{name: chainLimitIn}, chain{name: chainLimitOut}
	var entriesIn, entriesOut []entry
	sets := map[model.Clients]bool{}
	for _, l := range p.Limits {
		if !fam.Has(l.Addr) || l.From.All(fam.Family) {
			continue
		}
		sets[l.From] = true
		path, admitted, served := limitPath(l), fam.clientChains(l.From)[0], fam.clientChains(l.From)[1]
		entriesIn = append(entriesIn, entry{path, serving(l.Bridge, l.Link, rule{limitIn(l) + " -g " + admitted,
			"Only these clients reach the port from outside of its network."})})
		entriesOut = append(entriesOut, entry{path, serving(l.Bridge, l.Link, rule{limitOut(l) + " -g " + served,
			"What the server begins from this port goes to these clients alone: its packets to one that is none any more would open the way back."})})
	}
	chains := []chain{in, out}
	chains = append(chains, fam.limited(chainLimitIn, "-d", "--dport", 6).fill(&chains[0], entriesIn)...)
	chains = append(chains, fam.limited(chainLimitOut, "-s", "--sport", 3).fill(&chains[1], entriesOut)...)
	for _, from := range sorted(sets) {
		chains = append(chains, fam.clients(from)...)
	}
	return chains
}

// limitIn matches what comes to the ports of a limit from outside.
func limitIn(l firewall.Limit) string {
	return fmt.Sprintf("-d %s ! -i %s -o %[2]s -p %[3]s -m %[3]s --dport %[4]s",
		netip.PrefixFrom(l.Addr, l.Addr.BitLen()), l.Bridge, l.Proto, span(l.First, l.Count, ":"))
}

// limitOut matches what comes from them, in the chain that only what leaves the network meets.
func limitOut(l firewall.Limit) string {
	return fmt.Sprintf("-s %s -p %[2]s -m %[2]s --sport %[3]s",
		netip.PrefixFrom(l.Addr, l.Addr.BitLen()), l.Proto, span(l.First, l.Count, ":"))
}

func limitPath(l firewall.Limit) string {
	return bitsOf(netip.PrefixFrom(l.Addr, l.Addr.BitLen())) + portPath(l.Proto, l.First, l.Count)
}

// limited is the index of MYBR-LIMIT-IN and -OUT, by the container's address, protocol and port.
func (fam family) limited(base, address, port string, depth int) index {
	x := fam.byAddress(base, address)
	match, label, bits := x.match, x.label, len(fam.loopback.Addr().AsSlice())*8
	x.depth, x.disjoint = depth, false
	x.why = "Limits of addresses and ports that begin so are there, so that other packets don't meet them."
	x.match = func(path string) string {
		if len(path) > bits {
			return strings.Replace(portMatch(path[bits:]), "--dport", port, 1)
		}
		return match(path)
	}
	x.label = func(path string) string {
		if len(path) > bits {
			return label(path[:bits]) + "-" + portLabel(path[bits:])
		}
		return label(path)
	}
	return x
}

// clientChains names the chain that clients leave to go on to a port, and the one that is left to
// go on to a client. The names hang on the family's clients: other clients are other chains.
func (fam family) clientChains(c model.Clients) [2]string {
	sum := sha256.Sum256([]byte(fmt.Sprint(c.Of(fam.Family))))
	id := hex.EncodeToString(sum[:])[:10]
	return [2]string{chainAdmit + id, chainServe + id}
}

// clients is the two chains of a set of clients, and those below them: they return from a client's
// packet, and drop all others.
func (fam family) clients(c model.Clients) (chains []chain) {
	for i, option := range []string{"-s", "-d"} {
		root := chain{name: fam.clientChains(c)[i], last: true}
		end := rule{"-j DROP", "Nobody else does."}
		var entries []entry
		for _, prefix := range c.Of(fam.Family) {
			entries = append(entries, entry{bitsOf(prefix), serving("", "", rule{option + " " + prefix.String() + " -j RETURN", "These clients may."})})
		}
		x := fam.byAddress(root.name, option)
		x.end, x.depth = &end, 3
		x.why = "Clients whose addresses begin so are there, so that others don't meet them."
		below := x.fill(&root, entries)
		root.add("", "", end)
		chains = append(append(chains, root), below...)
	}
	return chains
}

// sorted are the sets of clients in an order that hangs on them alone.
func sorted(sets map[model.Clients]bool) (all []model.Clients) {
	for c := range sets {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}
