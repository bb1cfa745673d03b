package spoof

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/icc"
)

// Network is one whose containers may begin some connections to each other only. Its fields are
// texts, so that it can be compared.
type Network struct {
	Bridge string
	List   string // as icc.List writes it
	// Combos are the classes of its ports that are of more than one group, sorted, with | between:
	// those of no group and of one are always there, so that a container that comes or goes changes
	// nothing of others.
	Combos string
	// Own are the addresses of the bridge, and Inside the prefixes of its containers, which the host
	// must not route back to them; sorted, with commas between.
	Own, Inside string
}

// CompareNetworks orders them by their bridges.
func CompareNetworks(a, b *Network) int {
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.List, b.List), cmp.Compare(a.Combos, b.Combos), cmp.Compare(a.Own, b.Own), cmp.Compare(a.Inside, b.Inside))
}

// NewNetwork puts one together. classes may have some more than once.
func NewNetwork(bridge string, l icc.List, classes []string, own []netip.Addr, inside []netip.Prefix) Network {
	var addresses, prefixes []string
	for _, a := range own {
		addresses = append(addresses, a.String())
	}
	for _, p := range inside {
		prefixes = append(prefixes, p.String())
	}
	text := func(words []string, between string) string {
		words = slices.Clone(words)
		slices.Sort(words)
		return strings.Join(slices.Compact(words), between)
	}
	classes = slices.DeleteFunc(slices.Clone(classes), func(class string) bool { return !strings.Contains(class, ",") })
	return Network{Bridge: bridge, List: l.String(), Combos: text(classes, "|"), Own: text(addresses, ","), Inside: text(prefixes, ",")}
}

// Rules is the list. One that can't be read allows nothing.
func (n Network) Rules() icc.List {
	l, err := icc.Parse(n.List)
	if err != nil { // icc.List has written it
		return nil
	}
	return l
}

// Classes are those that ports of the network can be of (icc.List.Class).
func (n Network) Classes() []string { return append(n.Rules().Classes(), words(n.Combos, "|")...) }

// Addresses are the bridge's.
func (n Network) Addresses() (all []netip.Addr) {
	for _, word := range words(n.Own, ",") {
		if a, err := netip.ParseAddr(word); err == nil { // NewNetwork has written it
			all = append(all, a)
		}
	}
	return all
}

// Prefixes are those of its containers.
func (n Network) Prefixes() (all []netip.Prefix) {
	for _, word := range words(n.Inside, ",") {
		if p, err := netip.ParsePrefix(word); err == nil { // likewise
			all = append(all, p)
		}
	}
	return all
}

func words(text, between string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, between)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
