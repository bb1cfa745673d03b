package iptables

import (
	"math/bits"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// differing is of the rules of two policies, of which the second commutes with the first, what
// it takes to see the difference. What a port costs that comes or goes does not depend on the
// rules of other ports, nor, as long as no network, limit or egress list comes or goes, on those of networks.
func (fam family) differing(have, want firewall.Policy, f facts) (h, w ruleset) {
	x, hadPorts, ports := fam.narrowed(have.Ports, want.Ports)
	grants := fam.regrants(have, want)
	rules := func(p firewall.Policy, ports []firewall.Port) ruleset {
		p.Ports = nil
		all := ruleset{{name: "filter"}, {name: "nat"}}
		switch {
		case !plan.SameList(have.Networks, want.Networks) || !plan.SameList(have.Limits, want.Limits) || !plan.SameList(have.Egress, want.Egress):
			all = fam.render(p, f)
			all[1].chains = all[1].chains[1:] // MYBR-PORTS, without ports
		default:
			if !plan.SameList(have.Openings, want.Openings) {
				all[0].chains = fam.direct(p)
			}
			if len(grants) > 0 {
				filter, nat := fam.grantedOf(p, grants)
				all[0].chains, all[1].chains = append(all[0].chains, filter...), nat
			}
		}
		all[1].chains = append(fam.portsIn(x, ports), all[1].chains...)
		return all
	}
	return rules(have, hadPorts), rules(want, ports)
}

// branch is where in the index of published ports a path leads: the protocol, and so many of
// the first bits of the port's number.
type branch struct {
	proto model.Proto
	bits  int
	port  uint16
}

// branches calls fn with each level of the index above a port, as far as levels are the same
// whatever is published, and as fn wants to go on. whole says that it has come to the last.
func branches(p *firewall.Port, fn func(branch) bool) (whole bool) {
	first := p.Host.Port()
	same := bits.LeadingZeros16(first ^ (first + p.Count - 1))
	for n := 0; n <= min(same, fixedBits); n += strideBits {
		if !fn(branch{p.Proto, n, first >> (16 - n)}) {
			return false
		}
	}
	return same >= fixedBits
}

// The levels of the index of published ports that are the same whatever is published: of each
// strideBits of the number, up to fixedBits of them, behind the protocol's.
const strideBits, fixedBits = 4, 12

// narrowed leaves out of two lists of ports what is the same in both and does not change
// where the others' rules are, given the index that x is then. Beside what differs it keeps
// the ports in the last levels of which something differs, and of each level above, one that
// shows that the level is there.
func (fam family) narrowed(have, want []firewall.Port) (x index, h, w []firewall.Port) {
	x = fam.published()
	if fam.count(have) <= x.limit || fam.count(want) <= x.limit {
		return x, have, want // those that stay together
	}
	gone, came := plan.Differing(have, want, func(a, b *firewall.Port) int { return a.Compare(b.PortBinding) })
	touched, shown := map[branch]bool{}, map[branch]bool{}
	for _, list := range [][]firewall.Port{gone, came} {
		for i := range list {
			branches(&list[i], func(b branch) bool { touched[b] = true; return true })
		}
	}
	var both []firewall.Port
	rest := gone // in the order of have
	for i := range have {
		p := &have[i]
		if len(rest) > 0 && *p == rest[0] {
			rest = rest[1:]
			continue
		}
		keep := false
		last := branches(p, func(b branch) bool {
			if touched[b] && !shown[b] && fam.Has(p.Container.Addr()) {
				keep, shown[b] = true, true
			}
			return touched[b]
		})
		if keep || last {
			both = append(both, *p)
		}
	}
	x.spread = true
	return x, append(gone, both...), append(came, both...)
}

// count is how many ports are of the family.
func (fam family) count(ports []firewall.Port) (n int) {
	for i := range ports {
		if fam.Has(ports[i].Container.Addr()) {
			n++
		}
	}
	return n
}
