package nftables

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
)

// spoofSets is what the rules look up: some elements for each port, and nothing else grows with
// them. listed: some network has a list, be it none of s.
func spoofSets(s spoof.Set, listed bool) []set {
	name, mac, four, six := nameKind(), macKind(), ipv4().address, ipv6().address
	out := []set{
		{name: setPorts, key: []kind{name}},
		{name: setMACs, key: []kind{name, mac}},
		{name: setSources4, key: []kind{name, mac, four}},
		{name: setSources6, key: []kind{name, mac, six}},
		{name: setPrefixes4, key: []kind{four, name}, interval: true},
		{name: setPrefixes6, key: []kind{six, name}, interval: true},
		{name: setDHCP, key: []kind{name}},
		{name: setRouters, key: []kind{name}},
		{name: setICMP6, key: []kind{icmp6Kind()}, verdicts: true, elements: icmp6Types()},
		{name: setRefused, key: []kind{name}, counter: true},
		{name: setAudited, key: []kind{name}, counter: true},
	}
	if listed {
		out = append(out, iccSets(s)...)
	}
	all := map[string]*set{}
	for i := range out {
		all[out[i].name] = &out[i]
	}
	macs := map[string][]model.MAC{}
	for _, p := range s.Ports {
		macs[p.Link] = addPort(all, p)
	}
	for _, sh := range s.Shares {
		of := served{why: "Another endpoint of the container has this address.", bridge: sh.Bridge, link: sh.Link}
		addSource(all, of, sh.Link, sh.MAC, sh.Addr)
		for _, m := range macs[sh.Link] {
			addSource(all, of, sh.Link, m, sh.Addr)
		}
	}
	for i := range out {
		out[i].sorted()
	}
	return out
}

// addPort has a port in the sets, and returns its further MACs.
func addPort(all map[string]*set, p spoof.Port) []model.MAC {
	name := nameBytes(p.Link)
	of := func(why string) served { return served{why: why, bridge: p.Bridge, link: p.Link} }
	all[setPorts].add(of("The sender of what comes from here is checked."), element{key: name})
	if p.Audited {
		all[setAudited].add(of("What it sends as somebody else is counted, and passes (mybr.spoof=audit)."), element{key: name})
	} else {
		all[setRefused].add(of("What was refused from here is counted."), element{key: name})
	}
	more := p.More.HardwareAddresses()
	for i, m := range append([]model.MAC{p.MAC}, more...) {
		why := "The endpoint's MAC."
		if i > 0 {
			why = "The endpoint may send with this MAC, too."
		}
		all[setMACs].add(of(why), element{key: key(name, macBytes(m))})
		for _, a := range []netip.Addr{p.V4, p.V6} {
			if a.IsValid() {
				addSource(all, of("The endpoint's address."), p.Link, m, a)
			}
		}
		addSource(all, of("The link-local address that the kernel makes of the MAC."), p.Link, m, spoof.LinkLocal(m))
	}
	for _, prefix := range p.More.Prefixes() {
		to, first, last := setPrefixes4, addrBytes(prefix.Addr()), addrBytes(lastOf(prefix))
		if prefix.Addr().Is6() {
			to = setPrefixes6
		}
		all[to].add(of("The endpoint may send from these addresses, too."), element{key: key(first, name), end: key(last, name)})
	}
	if p.More.Trusts(model.TrustDHCP) {
		all[setDHCP].add(of("The endpoint is trusted to be a DHCP server."), element{key: name})
	}
	if p.More.Trusts(model.TrustRA) {
		all[setRouters].add(of("The endpoint is trusted to be a router."), element{key: name})
	}
	return more
}

func addSource(all map[string]*set, of served, link string, m model.MAC, a netip.Addr) {
	to := setSources4
	if a.Is6() {
		to = setSources6
	}
	all[to].add(of, element{key: key(nameBytes(link), macBytes(m), addrBytes(a))})
}
