package model

import (
	"net/netip"
	"slices"
	"strings"
)

// Clients is who reaches a published port from outside, as a value that can be compared: sets
// that are equal are equal texts. The zero value is everybody.
type Clients string

// nobody is no client at all.
const nobody Clients = FromNobody

// NewClients is the clients of some prefixes; none: nobody.
func NewClients(prefixes []netip.Prefix) Clients {
	prefixes = slices.Clone(prefixes)
	slices.SortFunc(prefixes, comparePrefixes)
	var words []string
	var last netip.Prefix
	for _, p := range prefixes {
		if last.IsValid() && last.Overlaps(p) { // it is behind one that contains it
			continue
		}
		last = p
		words = append(words, p.String())
	}
	switch {
	case len(words) == 0:
		return nobody
	case slices.Equal(words, everywhere[:]):
		return ""
	}
	return Clients(strings.Join(words, ","))
}

// Prefixes are the clients', sorted; none contains another one.
func (c Clients) Prefixes() (all []netip.Prefix) {
	words := strings.Split(string(c), ",")
	switch c {
	case nobody:
		return nil
	case "":
		words = everywhere[:]
	}
	for _, word := range words {
		if p, err := netip.ParsePrefix(word); err == nil { // what can't be read admits nobody
			all = append(all, p)
		}
	}
	return all
}

// Of is the clients of one family.
func (c Clients) Of(f Family) (all []netip.Prefix) {
	for _, p := range c.Prefixes() {
		if f.Has(p.Addr()) {
			all = append(all, p)
		}
	}
	return all
}

// All reports whether everybody of a family is a client.
func (c Clients) All(f Family) bool {
	of := c.Of(f)
	return len(of) == 1 && of[0].Bits() == 0
}

// Has reports whether an address is a client's. A zone does not matter.
func (c Clients) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return c == "" || slices.ContainsFunc(c.Prefixes(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// And is who is a client of both.
func (c Clients) And(o Clients) Clients {
	if c == "" || c == o {
		return o
	}
	var both []netip.Prefix
	for _, a := range c.Prefixes() {
		for _, b := range o.Prefixes() {
			switch {
			case !a.Overlaps(b):
			case a.Bits() > b.Bits():
				both = append(both, a)
			default:
				both = append(both, b)
			}
		}
	}
	return NewClients(both)
}

// Lists is what limits name, by their names.
type Lists map[string]List

// ListsOf are those of a snapshot.
func ListsOf(s Snapshot) Lists {
	all := make(Lists, len(s.Lists))
	for _, l := range s.Lists {
		all[l.Name] = l
	}
	return all
}

// Clients is who a limit admits. A list that is not known has nobody.
func (all Lists) Clients(l Limit) Clients {
	var prefixes []netip.Prefix
	for _, word := range l.From {
		if name, ok := strings.CutPrefix(word, ListPrefix); ok {
			prefixes = append(prefixes, all[name].Prefixes...)
		} else if p, err := netip.ParsePrefix(word); err == nil { // what can't be read admits nobody
			prefixes = append(prefixes, p)
		}
	}
	return NewClients(prefixes)
}

// Missing is the first list that a limit names and that is not there; "": none.
func (all Lists) Missing(l Limit) string {
	for _, word := range l.From {
		if name, ok := strings.CutPrefix(word, ListPrefix); ok {
			if _, there := all[name]; !there {
				return name
			}
		}
	}
	return ""
}

// LimitOf returns what finds the limit of a published port of an endpoint: of clients, or by
// interfaces. Those of the endpoint count before those of its network.
func (n Network) LimitOf(e Endpoint, byInterface bool) func(proto Proto, port uint16) (l Limit, ok bool) {
	own, all, kind := e.Limits(), n.Limits(), Limit{}
	if byInterface {
		kind = kind.AnyInterface()
	}
	return func(proto Proto, port uint16) (l Limit, ok bool) {
		if l, ok = limitOf(own, kind, proto, port); ok {
			return l, true
		}
		return limitOf(all, kind, proto, port)
	}
}

// Admission is who reaches a published port from outside. The zero value is everybody.
type Admission struct {
	From Clients
	Via  Interfaces // by which interfaces of the host they come
}

// ContainerPort is one port of a container.
type ContainerPort struct {
	Proto Proto
	At    netip.AddrPort
}

// Admitted is who reaches each of an endpoint's ports; those that everybody reaches are not in
// it. A container's port that is published at several of the host's ports is reached by those
// that all of the limits admit: behind the translation it can't be told which one a client has
// used. nil: everybody reaches all.
func (all Lists) Admitted(n Network, e Endpoint) map[ContainerPort]Admission {
	if n.Internal || len(n.From)+len(n.FromSet)+len(e.From)+len(e.FromSet) == 0 {
		return nil
	}
	admitted, read := map[ContainerPort]Admission{}, map[string]Clients{}
	clientsOf, interfacesOf := n.LimitOf(e, false), n.LimitOf(e, true)
	add := func(proto Proto, port uint16, at netip.AddrPort) {
		p := ContainerPort{proto, at}
		who := admitted[p]
		if l, ok := clientsOf(proto, port); ok {
			text := l.String()
			if _, known := read[text]; !known {
				read[text] = all.Clients(l)
			}
			who.From = who.From.And(read[text])
		}
		if l, ok := interfacesOf(proto, port); ok {
			who.Via = who.Via.And(l.interfaces())
		}
		if who != (Admission{}) {
			admitted[p] = who
		}
	}
	for _, b := range e.Ports {
		for i := range b.Count {
			add(b.Proto, b.Host.Port()+i, netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i))
		}
	}
	for _, f := range Families() {
		a := e.Address(f).Addr()
		if !a.IsValid() || n.Subnet(f).Mode != ModeRouted {
			continue
		}
		for _, s := range *e.Open(f) {
			for i := range s.Count {
				add(s.Proto, s.First+i, netip.AddrPortFrom(a, s.First+i))
			}
		}
	}
	return admitted
}
