package egress

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Named is the entries of a list that are host names, those of the lists that it names among them,
// as a value that can be compared. "" is none.
type Named string

// Named is the names of a list, given those that it names. One that is not known has none.
func (l List) Named(lists model.Lists) Named {
	var all []Entry
	for _, e := range l.Entries {
		all = append(all, e)
		if e.List != "" {
			all = append(all, Kept(lists[e.List])...)
		}
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return e.Name == "" })
	slices.SortFunc(all, compareEntries)
	return Named(join(slices.Compact(all)))
}

// RecordedNames is the names of a recorded option; "" and what can't be read have none.
func RecordedNames(text string, lists model.Lists) Named {
	if text == "" {
		return ""
	}
	l, err := Parse(text)
	if err != nil {
		return ""
	}
	return l.Named(lists)
}

// Entries are the names, sorted, each of them once.
func (n Named) Entries() []Entry {
	if n == "" {
		return nil
	}
	all, err := parseEntries(string(n), math.MaxInt)
	if err != nil {
		return nil // it was not made by List.Named, and names nothing
	}
	return all
}

// PortRange is the ports from one to another one, both of them among them.
type PortRange struct{ First, Last uint16 }

// Has reports whether a port is in it.
func (r PortRange) Has(port uint16) bool { return r.First <= port && port <= r.Last }

// Ports is a choice of ports as a value that can be compared: ranges with commas between, sorted,
// with other ports between any two. "" is none.
type Ports string

// NewPorts is the ports of ranges, in whatever order and however they overlap.
func NewPorts(ranges []PortRange) Ports {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var words []string
	for i := 0; i < len(ranges); {
		r := ranges[i]
		for i++; i < len(ranges) && int(ranges[i].First) <= int(r.Last)+1; i++ {
			r.Last = max(r.Last, ranges[i].Last)
		}
		word := strconv.Itoa(int(r.First))
		if r.Last != r.First {
			word = fmt.Sprintf("%d-%d", r.First, r.Last)
		}
		words = append(words, word)
	}
	return Ports(strings.Join(words, ","))
}

// Ranges are the ports, sorted.
func (p Ports) Ranges() (all []PortRange) {
	if p == "" {
		return nil
	}
	for word := range strings.SplitSeq(string(p), ",") {
		first, last, err := model.ParsePorts(word)
		if err != nil {
			return nil // it was not made by NewPorts
		}
		all = append(all, PortRange{first, last})
	}
	return all
}

// Without are the ports but one, sorted.
func (p Ports) Without(port uint16) (all []PortRange) {
	for _, r := range p.Ranges() {
		if r.Has(port) && r.First < port {
			all = append(all, PortRange{r.First, port - 1})
		}
		if r.Has(port) && r.Last > port {
			all = append(all, PortRange{port + 1, r.Last})
		}
		if !r.Has(port) {
			all = append(all, r)
		}
	}
	return all
}

// The ports of HTTPS and HTTP (IANA), at which connections are held by the name that they begin with.
const portHTTPS, portHTTP = 443, 80

// Carried are the TCP ports at which connections to the name are led to mybr's process, which
// carries them to the host that they name: those of the entry, and without any HTTPS and HTTP.
// A name's ports without a protocol are TCP's.
func (e Entry) Carried() []PortRange {
	switch {
	case e.Name == "" || e.Proto != 0 && e.Proto != model.TCP:
		return nil
	case e.First == 0:
		return []PortRange{{portHTTP, portHTTP}, {portHTTPS, portHTTPS}}
	}
	return []PortRange{{e.First, e.Last}}
}

// Carried are those of all names.
func (n Named) Carried() Ports {
	var all []PortRange
	for _, e := range n.Entries() {
		all = append(all, e.Carried()...)
	}
	return NewPorts(all)
}

// Granted is what of a named host is reached at the addresses that DNS gives for the name: whatever
// can't be carried by its name, as the process would have to know each protocol. Connections to
// HTTPS and HTTP are not among it.
type Granted struct {
	Proto     model.Proto
	PortRange // zero: all, and what has none
}

// Granted is what of the name is reached by its addresses.
func (e Entry) Granted() (all []Granted) {
	switch {
	case e.Name == "":
		return nil
	case e.Proto != 0 && e.Proto != model.TCP:
		return []Granted{{e.Proto, PortRange{e.First, e.Last}}}
	case e.First == 0:
		return nil
	}
	first := int(e.First)
	for _, carried := range []int{portHTTP, portHTTPS, math.MaxUint16 + 1} {
		if last := min(int(e.Last), carried-1); first <= last {
			all = append(all, Granted{model.TCP, PortRange{uint16(first), uint16(last)}})
		}
		first = max(first, carried+1)
	}
	return all
}
