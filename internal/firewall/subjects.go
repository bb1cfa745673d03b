package firewall

import (
	"slices"

	"github.com/mybr/mybr/internal/plan"
)

// Same reports whether two policies are deeply equal.
func (p Policy) Same(o Policy) bool {
	return p.DefaultDrop == o.DefaultDrop && p.DropInDoubt == o.DropInDoubt && p.Accept == o.Accept &&
		p.Process == o.Process && p.Untold == o.Untold &&
		plan.SameList(p.Networks, o.Networks) && plan.SameList(p.Ports, o.Ports) && plan.SameList(p.Openings, o.Openings) &&
		plan.SameList(p.Limits, o.Limits) && plan.SameList(p.Egress, o.Egress) && plan.SameList(p.Grants, o.Grants)
}

// Has reports whether a part of the policy is about a subject, as Subjects has it.
func (p Policy) Has(subject string) bool {
	return slices.ContainsFunc(p.Ports, func(port Port) bool { return port.Link == subject }) ||
		slices.ContainsFunc(p.Networks, func(n Network) bool { return n.Bridge == subject }) ||
		slices.ContainsFunc(p.Openings, func(o Opening) bool { return o.Link == subject }) ||
		slices.ContainsFunc(p.Limits, func(l Limit) bool { return l.Link == subject }) ||
		slices.ContainsFunc(p.Egress, func(e Egress) bool { return e.Link == subject }) ||
		slices.ContainsFunc(p.Grants, func(g Grant) bool { return g.Link == subject }) ||
		subject == "" && !p.common().Equal(Policy{})
}

// Subjects returns the parts of the policy by the link that each is about: a network is
// about its bridge, a port, an opening, a limit, an egress list or a grant about its Link. What concerns all
// of them is below "", if there is anything. Parts of two policies that are deeply equal need the
// same rules.
func (p Policy) Subjects() map[string]any {
	parts := map[string]Policy{}
	part := func(subject string, add func(*Policy)) {
		of := parts[subject]
		add(&of)
		parts[subject] = of
	}
	if common := p.common(); !common.Equal(Policy{}) {
		parts[""] = common
	}
	for _, n := range p.Networks {
		part(n.Bridge, func(of *Policy) { of.Networks = append(of.Networks, n) })
	}
	for _, port := range p.Ports {
		part(port.Link, func(of *Policy) { of.Ports = append(of.Ports, port) })
	}
	for _, o := range p.Openings {
		part(o.Link, func(of *Policy) { of.Openings = append(of.Openings, o) })
	}
	for _, l := range p.Limits {
		part(l.Link, func(of *Policy) { of.Limits = append(of.Limits, l) })
	}
	for _, e := range p.Egress {
		part(e.Link, func(of *Policy) { of.Egress = append(of.Egress, e) })
	}
	for _, g := range p.Grants {
		part(g.Link, func(of *Policy) { of.Grants = append(of.Grants, g) })
	}
	all := make(map[string]any, len(parts))
	for subject, of := range parts {
		all[subject] = of
	}
	return all
}

// Only returns the policy with the subjects that keep reports true for. Ports, openings, limits,
// egress lists and grants go with their network, without which they have no meaning; what concerns all
// subjects stays.
func (p Policy) Only(keep func(subject string) bool) Policy {
	kept := map[string]bool{}
	out := p.common()
	for _, n := range p.Networks {
		if keep(n.Bridge) {
			out.Networks, kept[n.Bridge] = append(out.Networks, n), true
		}
	}
	for _, port := range p.Ports {
		if kept[port.Bridge] && keep(port.Link) {
			out.Ports = append(out.Ports, port)
		}
	}
	for _, o := range p.Openings {
		if kept[o.Bridge] && keep(o.Link) {
			out.Openings = append(out.Openings, o)
		}
	}
	for _, l := range p.Limits {
		if kept[l.Bridge] && keep(l.Link) {
			out.Limits = append(out.Limits, l)
		}
	}
	for _, e := range p.Egress {
		if kept[e.Bridge] && keep(e.Link) {
			out.Egress = append(out.Egress, e)
		}
	}
	for _, g := range p.Grants {
		if kept[g.Bridge] && keep(g.Link) {
			out.Grants = append(out.Grants, g)
		}
	}
	return out
}

// With returns the policy with the networks, ports, openings, limits, egress lists and
// grants of another one that has no subject in common with it, behind its own.
func (p Policy) With(o Policy) Policy {
	p.Networks = slices.Concat(p.Networks, o.Networks)
	p.Ports = slices.Concat(p.Ports, o.Ports)
	p.Openings = slices.Concat(p.Openings, o.Openings)
	p.Limits = slices.Concat(p.Limits, o.Limits)
	p.Egress = slices.Concat(p.Egress, o.Egress)
	p.Grants = slices.Concat(p.Grants, o.Grants)
	return p
}

// common is what concerns all subjects.
func (p Policy) common() Policy {
	return Policy{DefaultDrop: p.DefaultDrop, DropInDoubt: p.DropInDoubt, Accept: p.Accept, Process: p.Process, Untold: p.Untold}
}

// Equal reports whether two policies need the same rules: they differ in the Links of
// ports, openings, limits, egress lists and grants, and the IDs of networks, at most.
func (p Policy) Equal(q Policy) bool {
	return p.DefaultDrop == q.DefaultDrop && p.DropInDoubt == q.DropInDoubt && p.Accept == q.Accept &&
		p.Process == q.Process && p.Untold == q.Untold &&
		equal(p.Networks, q.Networks, func(a, b Network) bool { a.ID = b.ID; return a == b }) &&
		equal(p.Ports, q.Ports, func(a, b Port) bool { a.Link = b.Link; return a == b }) &&
		equal(p.Openings, q.Openings, func(a, b Opening) bool { a.Link = b.Link; return a == b }) &&
		equal(p.Limits, q.Limits, func(a, b Limit) bool { a.Link = b.Link; return a == b }) &&
		equal(p.Egress, q.Egress, func(a, b Egress) bool { a.Link = b.Link; return a == b }) &&
		equal(p.Grants, q.Grants, func(a, b Grant) bool { a.Link = b.Link; return a == b })
}

// equal is slices.EqualFunc, which knows at once that the same memory is equal.
func equal[T any](a, b []T, alike func(a, b T) bool) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.EqualFunc(a, b, alike))
}
