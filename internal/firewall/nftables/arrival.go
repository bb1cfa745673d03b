package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// This file is about ports that clients reach by some of the host's interfaces alone. Where no
// network has such ports there is none of it.

// arrive is the first rule that packets to networks meet. Those of connections that have begun are
// compared, too, so that a port whose interfaces change is closed at once.
func (fam family) arrive(c *chain) {
	c.add("What comes to a port that is reached by some interfaces alone is checked, whatever its state is.",
		by(setArrival, oif(), fam.to(), proto(), port()))
}

// arrivalChains are the chains that look interfaces up in sets of names. Their names hang on the
// interfaces: others are other chains.
func (fam family) arrivalChains(p firewall.Policy) (chains []chain) {
	for _, via := range fam.arrivalsOf(p) {
		c := chain{name: arrivalName(via)}
		c.add("What comes by these interfaces may.", in(arrivalName(via), iif()), verdict("return"))
		c.add("The network itself is not outside.", in(setArrivalOwn, iif(), oif()), verdict("return"))
		c.add("Nothing else does.", verdict("drop"))
		chains = append(chains, c)
	}
	return chains
}

// arrivalSets are the sets of those names.
func (fam family) arrivalSets(p firewall.Policy) (sets []set) {
	for _, via := range fam.arrivalsOf(p) {
		s := set{name: arrivalName(via), key: []kind{nameKind()}}
		for _, name := range via.Names() {
			s.add(served{why: "What comes by this interface may."}, element{key: nameBytes(name)})
		}
		s.sorted()
		sets = append(sets, s)
	}
	return sets
}

// arrivalsOf lists the sets of interfaces of a policy's limits in a family, each once.
func (fam family) arrivalsOf(p firewall.Policy) (all []model.Interfaces) {
	for _, l := range p.Limits {
		if fam.Has(l.Addr) && l.Via != "" && !slices.Contains(all, l.Via) {
			all = append(all, l.Via)
		}
	}
	slices.SortFunc(all, func(a, b model.Interfaces) int { return strings.Compare(arrivalName(a), arrivalName(b)) })
	return all
}

func arrivalName(via model.Interfaces) string {
	sum := sha256.Sum256([]byte(via))
	return arriving + hex.EncodeToString(sum[:])[:12]
}

// arrival has each port of a limit in the map that leads to its interfaces.
func (fam family) arrival(all map[string]*set, l firewall.Limit) {
	of := served{why: "The port is reached by these interfaces alone from outside of its network.", bridge: l.Bridge, link: l.Link}
	for i := range l.Count {
		at := key(nameBytes(l.Bridge), addrBytes(l.Addr), protoBytes(l.Proto), portBytes(l.First+i))
		all[setArrival].add(of, element{key: at, data: "jump " + arrivalName(l.Via)})
	}
}
