package iptables

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/plan"
)

// This file is about what a grant costs that comes or goes: beside a walk along the list of all of
// them, nothing that hangs on other containers.

// regranted is what differs of grants on a network.
type regranted struct {
	of map[netip.Addr]bool // containers whose grants differ
	// index says that there is a container among them who had been granted nothing before, or has
	// nothing any more, so that it comes into the index of containers, or leaves it.
	index bool
	near  *near // where in the index; nil: all of it may differ
}

// near is a part of the index of a network's containers: below a path that all of them have in common
// before and after, some of the branches at its first level.
type near struct {
	path     string
	branches map[string]bool
}

// nearBits are the bits of addresses that a level of that index tells apart.
const nearBits = 4

// branch is that of an address.
func (x *near) branch(addr netip.Addr) string {
	path := bitsOf(netip.PrefixFrom(addr, addr.BitLen()))
	return path[:min(len(x.path)+nearBits, len(path))]
}

// nearOf is where in the index of a network's containers these come, or go.
func (fam family) nearOf(bridge string, of map[netip.Addr]bool, have, want firewall.Policy) *near {
	had, hadPath := fam.indexed(bridge, have)
	has, path := fam.indexed(bridge, want)
	if had <= few || has <= few || hadPath != path {
		return nil
	}
	x := &near{path, map[string]bool{}}
	for addr := range of {
		x.branches[x.branch(addr)] = true
	}
	return x
}

// indexed is how many of a network's containers have been granted something, and what the paths of all
// have in common: those of the first and the last address, for grants are in the order of addresses.
func (fam family) indexed(bridge string, p firewall.Policy) (count int, path string) {
	var first, last netip.Addr
	for i := range p.Grants {
		if g := &p.Grants[i]; g.Bridge == bridge && fam.Has(g.Addr) && g.Addr != last {
			if count == 0 {
				first = g.Addr
			}
			count, last = count+1, g.Addr
		}
	}
	if count == 0 {
		return 0, ""
	}
	of := func(a netip.Addr) entry { return entry{path: bitsOf(netip.PrefixFrom(a, a.BitLen()))} }
	return count, common([]entry{of(first), of(last)})
}

// regrants is what differs of grants, by bridge: of networks of which nothing else does.
func (fam family) regrants(have, want firewall.Policy) map[string]*regranted {
	gone, came := plan.Differing(have.Grants, want.Grants, firewall.CompareGrants)
	all := map[string]*regranted{}
	for _, g := range slices.Concat(gone, came) {
		if !fam.Has(g.Addr) {
			continue
		}
		if all[g.Bridge] == nil {
			all[g.Bridge] = &regranted{of: map[netip.Addr]bool{}}
		}
		all[g.Bridge].of[g.Addr] = true
	}
	if len(all) == 0 {
		return nil
	}
	own := map[string]bool{}
	for i := range want.Egress {
		if e := &want.Egress[i]; fam.Has(e.Addr) {
			own[e.Bridge] = true
		}
	}
	had, has := links(have, all), links(want, all)
	for bridge, r := range all {
		for addr := range r.of {
			at := held{bridge, addr}
			r.index = r.index || !own[bridge] && had[at] != has[at]
		}
		if r.index {
			r.near = fam.nearOf(bridge, r.of, have, want)
		}
	}
	return all
}

// held is a container on a network.
type held struct {
	bridge string
	addr   netip.Addr
}

// links are the links that the index of containers has for those whose grants differ, as
// listings.sources has them; none for those without any grant.
func links(p firewall.Policy, differ map[string]*regranted) map[held]string {
	all := map[held]string{}
	for i := range p.Grants {
		g := &p.Grants[i]
		if i > 0 && g.Addr == p.Grants[i-1].Addr && g.Bridge == p.Grants[i-1].Bridge {
			continue
		}
		if r := differ[g.Bridge]; r != nil && r.of[g.Addr] {
			all[held{g.Bridge, g.Addr}] = g.Link
		}
	}
	return all
}

// about is a policy with the networks, lists and grants that what differs of grants is about.
func about(p firewall.Policy, differ map[string]*regranted) firewall.Policy {
	out := firewall.Policy{Process: p.Process, Untold: p.Untold}
	for _, n := range p.Networks {
		if differ[n.Bridge] != nil {
			out.Networks = append(out.Networks, n)
		}
	}
	for i := range p.Egress {
		e := &p.Egress[i]
		if r := differ[e.Bridge]; r != nil && (!e.Addr.IsValid() || r.of[e.Addr]) {
			out.Egress = append(out.Egress, *e)
		}
	}
	var last *firewall.Grant
	keep := false
	for i := range p.Grants {
		g := &p.Grants[i]
		if last == nil || g.Addr != last.Addr || g.Bridge != last.Bridge {
			r := differ[g.Bridge]
			last, keep = g, r != nil && (r.of[g.Addr] || r.index && (r.near == nil || r.near.branches[r.near.branch(g.Addr)]))
		}
		if keep {
			out.Grants = append(out.Grants, *g)
		}
	}
	return out
}

// grantedOf is of the rules of a policy those that hang on what differs of grants, in the tables
// filter and nat.
func (fam family) grantedOf(p firewall.Policy, differ map[string]*regranted) (filter, nat []chain) {
	p = about(p, differ)
	lists := fam.listings(p)
	for _, n := range p.Networks {
		if !n.Names {
			continue
		}
		of := differ[n.Bridge]
		chains := func(at stage) []chain {
			if of.index {
				return fam.comparing(n, lists, at, of.near)
			}
			var all []chain
			for _, e := range lists.sources(n) {
				if e.Names {
					all = append(all, fam.granted(n, lists, at, e, at.target(e)))
				}
			}
			return all
		}
		filter = append(filter, chains(lists.dropping(n))...)
		if n.Leads(fam.Family) {
			nat = append(nat, chains(lists.leading(n))...)
		}
	}
	return filter, nat
}
