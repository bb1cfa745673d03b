package nftables

import (
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// sets is what the rules look up: there is an element or two for each network and each
// published port, and nothing else grows with them.
func (fam family) sets(p firewall.Policy, others []string) []set {
	names, at := []kind{nameKind()}, []kind{fam.address, protoKind(), portKind()}
	all := map[string]*set{}
	out := []set{
		{name: setFrom, key: names, verdicts: true},
		{name: setInside, key: []kind{nameKind(), nameKind()}, verdicts: true},
		{name: setTo, key: names, verdicts: true},
		{name: setBridges, key: names},
		{name: setOthers, key: names},
		{name: setOpen, key: append(names[:1:1], at...)},
		{name: setOpenFrom, key: append([]kind{nameKind(), nameKind()}, at...)},
		{name: setLimited, key: append(names[:1:1], at...), verdicts: true},
		{name: setLimitedFrom, key: append(names[:1:1], at...), verdicts: true},
		{name: setArrival, key: append(names[:1:1], at...), verdicts: true},
		{name: setArrivalOwn, key: []kind{nameKind(), nameKind()}},
		{name: setListed, key: names, verdicts: true},
		{name: setListedFrom, key: []kind{nameKind(), fam.address}, verdicts: true},
		{name: setListedInput, key: names},
		{name: setBehind, key: names, verdicts: true},
		{name: setLed, key: names, verdicts: true},
		{name: setOwn, key: []kind{fam.address, nameKind()}, interval: true},
		{name: setLead, key: names, verdicts: true},
		{name: setLeadFrom, key: []kind{nameKind(), fam.address}, verdicts: true},
		{name: setLeadDNS, key: names, data: []kind{fam.address, portKind()}},
		{name: setLeadTCP, key: names, data: []kind{fam.address, portKind()}},
		{name: setGateways, key: []kind{nameKind(), fam.address}},
		{name: setProcess, key: at[1:], verdicts: true},
		{name: setGranted, key: []kind{nameKind(), fam.address, fam.address, protoKind()}},
		{name: setGrantedPort, key: []kind{nameKind(), fam.address, fam.address, protoKind(), portKind()}},
		{name: setGrantedPorts, key: []kind{portKind(), protoKind(), nameKind(), fam.address, fam.address}, interval: true},
		{name: setPublished, key: at[1:], data: []kind{fam.address, portKind()}, counter: true},
		{name: setPublishedAt, key: at, data: []kind{fam.address, portKind()}, counter: true},
		{name: setApart, key: append(names[:1:1], at[1:]...)},
		{name: setApartAt, key: append(names[:1:1], at...)},
		{name: setStaying, key: []kind{fam.address, nameKind()}, verdicts: true, interval: true},
		{name: setLeaving, key: []kind{fam.address}, verdicts: true, interval: true},
		{name: setFixedAddress, key: []kind{fam.address}, data: []kind{fam.address}, interval: true},
		{name: setNoInput, key: names},
		{name: setNoAdverts, key: names},
	}
	for i := range out {
		all[out[i].name] = &out[i]
	}
	for _, n := range p.Networks {
		fam.network(all, n)
		fam.addresses(all, n)
		fam.names(all, n, p.Process)
	}
	fam.process(all, p)
	for _, bridge := range others {
		all[setOthers].add(served{why: "This bridge is Docker's."}, element{key: nameBytes(bridge)})
	}
	for _, port := range p.Ports {
		if fam.Has(port.Container.Addr()) {
			fam.port(all, port)
		}
	}
	for _, o := range p.Openings {
		if fam.Has(o.Addr) {
			fam.opening(all, o)
		}
	}
	for _, l := range p.Limits {
		if fam.Has(l.Addr) {
			fam.limit(all, l)
		}
	}
	read := allowances{}
	for _, e := range p.Egress {
		fam.egress(all, e, read)
		fam.leads(all, e)
	}
	for _, g := range p.Grants {
		if fam.Has(g.Addr) {
			fam.grant(all, g)
		}
	}
	for i := range out {
		out[i].sorted()
	}
	return out
}

// add appends an element and what it is for.
func (s *set) add(of served, e element) {
	e.served = of
	s.elements = append(s.elements, e)
}

// network has a network's bridge in the sets that say what may pass.
func (fam family) network(all map[string]*set, n firewall.Network) {
	name, family := nameBytes(n.Bridge), n.Family(fam.Family)
	of := func(why string) served { return served{why: why, bridge: n.Bridge} }
	all[setBridges].add(of("A network of mybr's."), element{key: name})

	inside := of("Containers of the network reach each other through the host.")
	verdict := "goto " + chainPass
	if !n.ICC {
		inside.why = "Containers of the network don't reach each other through the host; between its ports, the bridge itself keeps them apart."
		verdict = "drop"
	}
	all[setInside].add(inside, element{key: key(name, name), data: verdict})

	var from, to, out, into string
	switch {
	case !n.Forwards(fam.Family):
		from, to = "goto "+fromClosed, "drop"
		out, into = "Nothing leaves the network: it is internal, or has no subnet of this family.", "For the same reason nothing comes into it."
	case family.Masquerade:
		from, out = "goto "+fromMasquerade, "Containers reach the outside with an address of the host."
	default:
		from, out = "goto "+fromOpen, "Containers reach the outside with their own addresses."
	}
	switch {
	case !n.Forwards(fam.Family):
	case n.Unprotected(fam.Family):
		to, into = "goto "+toAll, "Everything may enter that doesn't come from the bridge of another network."
	case family.Direct == firewall.DirectRouted:
		to, into = "goto "+toRouted, "What is listed as open may enter at the containers' own addresses, and ICMP."
	case n.TakesOpenings(fam.Family):
		to, into = "goto "+toOpenings, "What is listed as open may enter at the containers' own addresses, but not from bridges of other networks."
	default:
		to, into = "goto "+toProtected, "Into the network come only replies and what a published port leads there."
	}
	if n.Limited && n.Forwards(fam.Family) {
		from = limitedTo(from)
		if !n.Unprotected(fam.Family) {
			to, into = limitedTo(to), into+" Some ports have clients of their own."
		}
	}
	if n.Arrivals && n.Forwards(fam.Family) {
		all[setArrivalOwn].add(of("The network itself is not outside."), element{key: key(name, name)})
	}
	if n.Listed && n.Forwards(fam.Family) {
		all[setBehind].add(of(out), element{key: name, data: from})
		from, out = "goto "+chainChecked, "What containers begin is checked first."
	}
	if n.Listed {
		all[setListedInput].add(of("What containers send to the host is checked."), element{key: name})
	}
	all[setFrom].add(of(out), element{key: name, data: from})
	all[setTo].add(of(into), element{key: name, data: to})

	switch family.Input {
	case firewall.InputNone:
		all[setNoInput].add(of("The host takes nothing of this family from the network."), element{key: name})
	case firewall.InputNoAdvertisements:
		all[setNoAdverts].add(of("The host takes no router advertisements from containers."), element{key: name})
	}
}

// limitedTo is the verdict that checks limits before it follows another one.
func limitedTo(verdict string) string {
	return "goto " + limited + strings.TrimPrefix(verdict, "goto ")
}

// addresses has a network's subnet in the maps that say how its packets are translated.
func (fam family) addresses(all map[string]*set, n firewall.Network) {
	family := n.Family(fam.Family)
	turns := family.Hairpin && n.ICC
	if !n.Forwards(fam.Family) || !family.Masquerade && !turns {
		return
	}
	of := func(why string) served { return served{why: why, bridge: n.Bridge} }
	first, last := addrBytes(family.Prefix.Addr()), addrBytes(lastOf(family.Prefix))
	back, out := "goto "+hairpin, "goto "+toHostAddress
	if family.SNAT.IsValid() {
		back, out = "goto "+hairpinFixed, "goto "+toFixedAddress
		all[setFixedAddress].add(of("What leaves the network takes this address of the host."),
			element{key: first, end: last, data: addrBytes(family.SNAT)})
	}
	staying := of("What comes back to the network through a published port takes an address of the host.")
	if !turns {
		back, staying.why = "accept", "What comes back to the network keeps its address."
	}
	name := nameBytes(n.Bridge)
	all[setStaying].add(staying, element{key: key(first, name), end: key(last, name), data: back})
	if family.Masquerade {
		all[setLeaving].add(of("What leaves the network takes an address of the host, to which replies find back."),
			element{key: first, end: last, data: out})
	}
}

// port has each published port of a binding in a map: hash maps, unlike those with
// intervals, take and give up an element in a time that depends on nothing else.
func (fam family) port(all map[string]*set, p firewall.Port) {
	of := served{why: "The published port leads to the container.", bridge: p.Bridge, link: p.Link}
	apart := served{why: "From its own network the port is served by the process, unless the network has a list (mybr.icc): containers are kept apart there.", bridge: p.Bridge, link: p.Link}
	for i := range p.Count {
		host := key(protoBytes(p.Proto), portBytes(p.Host.Port()+i))
		to := key(addrBytes(p.Container.Addr()), portBytes(p.Container.Port()+i))
		published, kept := setPublished, setApart
		if a := p.Host.Addr(); !a.IsUnspecified() {
			published, kept, host = setPublishedAt, setApartAt, addrBytes(a)+host
		}
		all[published].add(of, element{key: host, data: to})
		if !p.ICC {
			all[kept].add(apart, element{key: nameBytes(p.Bridge) + host})
		}
	}
}

// opening has each port that is open at a container's own address in a set.
func (fam family) opening(all map[string]*set, o firewall.Opening) {
	of := served{why: "The port is open to every client that has a route to the container.", bridge: o.Bridge, link: o.Link}
	to, from := setOpen, ""
	if o.From != "" {
		to, from = setOpenFrom, nameBytes(o.From)
		of.why = "The port is open to what comes from this interface."
	}
	for i := range o.Count {
		all[to].add(of, element{key: key(nameBytes(o.Bridge), from, addrBytes(o.Addr), protoBytes(o.Proto), portBytes(o.First+i))})
	}
}
