package iptables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// index spreads the rules of a chain over a tree of chains, so that a packet meets few of
// them: each level tells by a handful of rules where those are that may match. Which chains
// there are, and what is in them, hangs on the entries alone, and not on their order.
type index struct {
	base, why string
	match     func(path string) string // matches what everything below the path has in common
	label     func(path string) string // the path as part of a chain's name; nil: as it is
	stride    int                      // how many symbols a level tells apart
	fixed     int                      // up to so many symbols there are all levels, once there are any; beyond, those that tell something apart
	limit     int                      // so many entries stay together; beyond the fixed levels too
	depth     int                      // levels at most: the kernel follows 16 (NFT_JUMP_STACK_SIZE of nf_tables.h)
	spread    bool                     // there are more entries than the limit, of which those are left out that don't matter
	whole     int                      // a path of more symbols matches only by those behind them: a level tells apart these first
	disjoint  bool                     // no packet matches two entries, nor an entry and what is below another path
	end       *rule                    // the last one in each chain of the tree, if entries may have RETURN for a target
}

// entry is rules that are found by a path: a string of which each byte is a symbol.
type entry struct {
	path  string
	rules []served
}

// fill adds the entries to the chain that is the root, and returns the other chains.
func (x index) fill(root *chain, entries []entry) []chain {
	return x.level(root, "", entries, 0)
}

// level adds the entries to a chain in which all paths begin so.
func (x index) level(c *chain, path string, entries []entry, depth int) (below []chain) {
	action := "-j" // from the root, which may have other rules behind, and where others may match
	if x.end != nil || x.disjoint && depth > 0 {
		action = "-g"
	}
	next, together := x.next(path, entries, depth == 0)
	together = together || depth == x.depth
	groups := map[string][]entry{}
	for _, e := range entries {
		if together || len(e.path) < next {
			c.rules = append(c.rules, e.rules...)
		} else {
			groups[e.path[:next]] = append(groups[e.path[:next]], e)
		}
	}
	for _, next := range slices.Sorted(maps.Keys(groups)) {
		group := groups[next]
		if len(path) >= x.fixed {
			if len(group) == 1 {
				c.rules = append(c.rules, group[0].rules...)
				continue
			}
			next = common(group)
			if len(path) < x.whole && len(next) > x.whole {
				next = next[:x.whole]
			}
		}
		node := chain{name: x.name(next), ordered: c.ordered, last: x.end != nil}
		c.add("", "", rule{x.match(next) + " " + action + " " + node.name, x.why})
		deeper := x.level(&node, next, group, depth+1)
		if x.end != nil {
			node.add("", "", *x.end)
		}
		below = append(append(below, node), deeper...)
	}
	return below
}

// next is the length of the paths that a level tells apart, or that its entries stay together.
// Those whose paths are shorter stay, too.
func (x index) next(path string, entries []entry, root bool) (length int, together bool) {
	if together = len(entries) <= x.limit && !(root && x.spread) && (path == "" || len(path) >= x.fixed); together {
		return 0, true
	}
	length = len(path) + x.stride
	if x.end == nil {
		return length, false
	}
	for _, e := range entries { // one that ends here may match what is below others, where it would not be found
		length = min(length, len(e.path))
	}
	return length, length == len(path)
}

// common is the longest beginning of all paths.
func common(entries []entry) string {
	path := entries[0].path
	for _, e := range entries {
		n := 0
		for n < len(path) && n < len(e.path) && path[n] == e.path[n] {
			n++
		}
		path = path[:n]
	}
	return path
}

// name is that of a chain of the tree. What is too long for one (XT_EXTENSION_MAXNAMELEN of
// x_tables.h, with a zero at the end), or what nft(8) could not read again, is a hash.
func (x index) name(path string) string {
	if x.label != nil {
		path = x.label(path)
	}
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}
	if len(x.base)+1+len(path) > 28 || strings.ContainsFunc(path, odd) {
		sum := sha256.Sum256([]byte(path))
		path = hex.EncodeToString(sum[:])[:min(16, 27-len(x.base))]
	}
	return x.base + "/" + path
}

// byLink is an index of networks by the names of their bridges; option is -i or -o.
func byLink(base, option string) index {
	return index{base: base, stride: 1, limit: few, depth: 3, disjoint: true,
		why:   "The rules of bridges whose names begin so are there, so that other packets don't meet them.",
		match: func(path string) string { return option + " " + path + "+" }}
}

// byAddress is an index by addresses; option is -s or -d. The symbols of paths are bits.
// Three at a time cost least, where a rule is 8 ns and to go to another chain 15 (as few is
// measured).
func (fam family) byAddress(base, option string) index {
	return index{base: base, stride: 3, limit: few, depth: 4, disjoint: true,
		why:   "The rules of networks whose addresses begin so are there, so that other packets don't meet them.",
		match: func(path string) string { return option + " " + fam.beginning(path).String() },
		label: fam.addressLabel}
}

// addressLabel names addresses that begin with these bits.
func (fam family) addressLabel(bits string) string {
	return fmt.Sprintf("%s-%d", hex.EncodeToString(fam.beginning(bits).Addr().AsSlice())[:(len(bits)+3)/4], len(bits))
}

// bitsOf is the path of a prefix: the bits that all of its addresses have in common.
func bitsOf(p netip.Prefix) string {
	addr, bits := p.Addr().AsSlice(), make([]byte, p.Bits())
	for i := range bits {
		bits[i] = '0' + addr[i/8]>>(7-i%8)&1
	}
	return string(bits)
}

// beginning is the prefix of all addresses that have these bits.
func (fam family) beginning(bits string) netip.Prefix {
	bytes := make([]byte, len(fam.loopback.Addr().AsSlice()))
	for i, b := range bits {
		bytes[i/8] |= byte(b-'0') << (7 - i%8)
	}
	addr, _ := netip.AddrFromSlice(bytes) // it has the length of one
	return netip.PrefixFrom(addr, len(bits))
}
