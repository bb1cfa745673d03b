// Package egress is what containers may begin connections to, as values: the grammar of the
// option mybr.egress and of the lists that operators keep for it, what such a list allows, and
// whether it allows a packet.
//
//	LIST      all | none | ENTRY{,ENTRY}
//	ENTRY     TO[:PORTS][/PROTOCOL] | host:PORTS[/PROTOCOL] | @NAME
//	TO        ADDRESS | PREFIX | NAME | *.NAME    IPv6 in brackets where ports follow
//	PORTS     PORT | FIRST-LAST
//	PROTOCOL  tcp | udp | sctp | icmp
//
// Without ports and protocol, everything that goes there is meant, of every IP protocol; with
// ports alone, TCP, UDP and SCTP. An address is the one that the container has chosen: that of a
// published port is the host's, whatever container answers.
//
// Be aware: Allowed is what is allowed by address, and leaves host names out; Named has those.
package egress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// List is what an option says.
type List struct {
	All     bool    // everything is allowed, and there are no Entries
	Entries []Entry // sorted, each once; none and not All: nothing is allowed
}

// maxEntries is how many entries an option or a list has at most. What is forwarded is compared
// when it begins, and what is sent to the host packet by packet. Addresses with the same protocol
// and ports are looked up together; different protocols and ports are compared one after the
// other, so in the worst case a packet to the host meets a rule for each entry, and more for those
// that name ports and no protocol.
const maxEntries = 1000

// Parse reads a list. An error says what of it can't be taken, and nothing of where it stands.
func Parse(text string) (List, error) { return parse(text, maxEntries) }

// parse reads a list of so many entries at most.
func parse(text string, most int) (l List, err error) {
	switch strings.TrimSpace(text) {
	case wordAll:
		return List{All: true}, nil
	case wordNone:
		return l, nil
	}
	if l.Entries, err = parseEntries(text, most); err != nil {
		return List{}, err
	}
	return l, nil
}

// parseEntries reads so many entries at most, with commas between.
func parseEntries(text string, most int) (all []Entry, err error) {
	for word := range strings.SplitSeq(text, ",") {
		e, err := ParseEntry(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, compareEntries)
	if all = slices.Compact(all); len(all) > most {
		return nil, fmt.Errorf("there are more than %d entries", most)
	}
	return all, nil
}

// compareEntries orders addresses before the host, names and lists, and those of one
// service by their address.
func compareEntries(a, b Entry) int {
	rank := func(e Entry) int {
		switch {
		case e.List != "":
			return 3
		case e.Name != "":
			return 2
		case e.Host:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.List, b.List), cmp.Compare(a.Name, b.Name),
		a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}

// String returns the list as Parse reads it: equal lists are equal texts.
func (l List) String() string {
	switch {
	case l.All:
		return wordAll
	case len(l.Entries) == 0:
		return wordNone
	}
	return join(l.Entries)
}

func join(all []Entry) string {
	var words []string
	for _, e := range all {
		words = append(words, e.String())
	}
	return strings.Join(words, ",")
}

// Lists are the names of the lists that it names.
func (l List) Lists() (names []string) {
	for _, e := range l.Entries {
		if e.List != "" {
			names = append(names, e.List)
		}
	}
	return names
}

// Names are its entries that are host names.
func (l List) Names() (all []Entry) {
	for _, e := range l.Entries {
		if e.Name != "" {
			all = append(all, e)
		}
	}
	return all
}

// ParseKept reads the entries of a list that operators keep, which are given as several words,
// each of which can be several with commas between. Plain addresses and prefixes are its
// Prefixes, so that it can be one of clients, too; the others are its Egress.
func ParseKept(name string, words ...string) (model.List, error) {
	kept := model.List{Name: name}
	if err := model.CheckListName(name); err != nil {
		return kept, err
	}
	all, err := parseEntries(strings.Join(words, ","), maxEntries)
	if err != nil {
		return kept, fmt.Errorf("list %s: %w", name, err)
	}
	for _, e := range all {
		switch {
		case e.List != "":
			return kept, fmt.Errorf("list %s: %s: a list can't name another one", name, e)
		case e.Plain():
			kept.Prefixes = append(kept.Prefixes, e.Prefix)
		default:
			kept.Egress = append(kept.Egress, e.String())
		}
	}
	return kept, nil
}

// Kept are the entries of a list that operators keep. What can't be read allows nothing.
func Kept(l model.List) (all []Entry) {
	for _, p := range l.Prefixes {
		all = append(all, Entry{Prefix: p})
	}
	for _, word := range l.Egress {
		if e, err := ParseEntry(word); err == nil {
			all = append(all, e)
		}
	}
	return all
}
