package iptables

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about ports that clients reach by some of the host's interfaces alone.

// arrivals is MYBR-ARRIVAL, and the chains that it leads to: they only drop. A set of interfaces has
// a chain, however many ports it is for. Packets of connections that have begun are compared, too,
// so that a port whose interfaces change is closed at once.
func (fam family) arrivals(p firewall.Policy) []chain {
	root := chain{name: chainArrival}
	var entries []entry
	sets := map[model.Interfaces]bool{}
	for _, l := range p.Limits {
		if !fam.Has(l.Addr) || l.Via == "" {
			continue
		}
		sets[l.Via] = true
		entries = append(entries, entry{limitPath(l), serving(l.Bridge, l.Link, rule{limitIn(l) + " -g " + interfaceChain(l.Via),
			"The port is reached by these interfaces alone from outside of its network."})})
	}
	below := fam.limited(chainArrival, "-d", "--dport", 6).fill(&root, entries)
	chains := append([]chain{root}, below...)
	var all []model.Interfaces
	for via := range sets {
		all = append(all, via)
	}
	slices.Sort(all)
	for _, via := range all {
		c := chain{name: interfaceChain(via), last: true}
		for _, name := range via.Names() {
			c.add("", "", rule{"-i " + name + " -j RETURN", "What comes by this interface may."})
		}
		c.add("", "", rule{"-j DROP", "Nothing else does."})
		chains = append(chains, c)
	}
	return chains
}

// interfaceChain names the chain that is left by what comes by some interfaces: others are another
// chain.
func interfaceChain(via model.Interfaces) string {
	sum := sha256.Sum256([]byte(via))
	return chainByLink + hex.EncodeToString(sum[:])[:10]
}
