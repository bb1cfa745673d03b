package hostport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Apply is Plan, and then Do.
//
// Errors: errors.Join of a *plan.Error for each link, with an *Error in it for each binding
// that is not held, or not whole; everything else is held all the same, and the next Apply
// tries again. The errors of Reserve are in them.
func (m *Manager) Apply(ctx context.Context, have *Set, want Set) error {
	p, err := m.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}

// Plan says what is missing for the Manager to hold and relay exactly what want says: what
// is unwanted is closed with every connection it relays, and its ports are free when that
// is done; what is missing is opened, as after a restart of the process; and what Reserve
// has bound is adopted. Pending reservations that want does not name stay as they are.
//
// A step is about one link, and serves all its bindings that can be served. The indexes of
// blocked links are those of the moment of Plan.
//
// What is held is known from the sockets themselves. have == nil only means that every one
// of them is looked at; otherwise an owner is passed over which an earlier Plan has found
// to match the same bindings, and for whom nothing was reserved or changed since.
//
// Errors: net.ErrClosed; that a blocked link can't be looked up: the plan opens nothing
// then.
func (m *Manager) Plan(_ context.Context, have *Set, want Set) (plan.Plan, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, net.ErrClosed
	}
	blocked, err := indexes(want.Blocked)
	differ := m.differing(have != nil, want, blocked)
	look := slices.DeleteFunc(slices.Clone(want.Bindings), func(b Binding) bool { _, ok := differ[b.Owner]; return !ok })
	wanted := portsOf(look)
	closing, touched := m.planClosing(differ, wanted)
	if err != nil {
		return closing, err
	}
	opening := &opening{m: m, wanted: wanted, blocked: blocked, names: want.Blocked, bindings: map[string][]Binding{}, changes: map[string][]string{}}
	for _, b := range look {
		if opening.add(b) {
			touched[b.Owner] = true
		}
	}
	for name, bindings := range differ {
		if o := m.owners[name]; o != nil && !touched[name] {
			o.matched, o.blocked = bindings, blocked
		}
	}
	return append(closing, opening.steps()...), nil
}

// differing returns the owners that may not match, with all their wanted bindings: with
// trust, those that Plan has not found to match before. The caller holds m.mu.
func (m *Manager) differing(trust bool, want Set, blocked []uint32) map[string][]Binding {
	all := map[string][]Binding{}
	for _, b := range want.Bindings {
		all[b.Owner] = append(all[b.Owner], b)
	}
	for name, o := range m.owners {
		bindings := all[name]
		if trust && o.matched != nil && slices.Equal(o.matched, bindings) && slices.Equal(o.blocked, blocked) {
			delete(all, name)
			continue
		}
		o.matched = nil
		all[name] = bindings
	}
	return all
}

// planClosing returns a step for each link with ports that their owners must not hold any
// more, and the owners. The caller holds m.mu.
func (m *Manager) planClosing(differ map[string][]Binding, wanted map[key]Binding) (p plan.Plan, owners map[string]bool) {
	type group struct{ link, owner string }
	groups := map[group][]model.PortBinding{}
	owners = map[string]bool{}
	for name := range differ {
		for s := range m.owned(name) {
			if w, ok := wanted[s.key]; (ok && w.Owner == name) || (!s.adopted && len(s.pending) > 0) {
				continue
			}
			g := group{s.link, name}
			groups[g] = append(groups[g], model.PortBinding{Proto: s.proto, Host: s.host, Container: s.target, Count: 1})
			owners[name] = true
		}
	}
	for _, g := range slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.link, b.link), cmp.Compare(a.owner, b.owner))
	}) {
		runs := coalesce(groups[g])
		step := plan.Step{Subject: g.link, Do: func(context.Context) error { m.closeAll(g.owner, runs); return nil }}
		for _, b := range runs {
			host, _, _ := strings.Cut(b.String(), " -> ")
			step.Changes = append(step.Changes, fmt.Sprintf("host ports: close %s of %s", host, named(g.owner)))
		}
		p = append(p, step)
	}
	return p, owners
}

// closeAll closes ports if they are still the owner's; what has been reserved again is only
// suspended.
func (m *Manager) closeAll(owner string, bindings []model.PortBinding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(owner)
	for _, b := range bindings {
		for one := range expand(b) {
			switch s := m.find(keyOf(one)); {
			case s == nil || s.owner != owner:
			case len(s.pending) > 0:
				s.suspend()
			default:
				m.drop(s)
			}
		}
	}
}

// opening collects what is to be opened, adopted, or blocked anew.
type opening struct {
	m       *Manager
	wanted  map[key]Binding // each port, for the binding that is to have it
	blocked []uint32        // the indexes of
	names   []string        // the blocked links

	links    []string // in the order of their first binding
	bindings map[string][]Binding
	changes  map[string][]string
}

// add notes a binding that does not match and reports true, or false. The caller holds
// m.mu.
func (o *opening) add(b Binding) bool {
	change := o.missing(b)
	if change == "" {
		return false
	}
	if _, known := o.bindings[b.Link]; !known {
		o.links = append(o.links, b.Link)
	}
	o.bindings[b.Link] = append(o.bindings[b.Link], b)
	o.changes[b.Link] = append(o.changes[b.Link], fmt.Sprintf("host ports: %s %s for %s", change, b.PortBinding, named(b.Owner)))
	return true
}

// missing says what is to be done for the first port of a binding that does not match; ""
// if all do.
func (o *opening) missing(b Binding) string {
	if b.check() != nil {
		return "open"
	}
	for one := range b.each() {
		s := o.m.find(keyOf(one.PortBinding))
		switch {
		case s == nil || s.owner != b.Owner || o.wanted[s.key] != one:
			return "open"
		case !s.adopted || s.target != one.Container || s.claimedFor(one.Container):
			return "adopt"
		case s.session == nil || slices.Equal(s.blocked, o.blocked):
		case len(o.names) == 0:
			return "block no link at"
		default:
			return "block " + strings.Join(o.names, ", ") + " at"
		}
	}
	return ""
}

// steps returns a step for each link.
func (o *opening) steps() (p plan.Plan) {
	for _, link := range o.links {
		p = append(p, plan.Step{Subject: link, Changes: o.changes[link], Do: func(ctx context.Context) error {
			var errs []error
			for _, b := range o.bindings[link] {
				if err := context.Cause(ctx); err != nil {
					return errors.Join(append(errs, err)...)
				}
				if err := o.hold(b); err != nil {
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		}})
	}
	return p
}

// hold adopts or opens every port of b.
func (o *opening) hold(b Binding) error {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if o.m.closed {
		return net.ErrClosed
	}
	if err := b.check(); err != nil {
		return &Error{Binding: b, Err: err, Missing: max(1, int(b.Count))}
	}
	var failed *Error
	for one := range b.each() {
		err := o.holdOne(one)
		switch {
		case err == nil:
		case failed == nil:
			failed = &Error{Binding: b, Err: err, Missing: 1}
		default:
			failed.Missing++
		}
	}
	o.m.touch(b.Owner)
	if failed == nil {
		return nil
	}
	return failed
}

// holdOne makes one port b's, unless another binding of the set was there first.
func (o *opening) holdOne(b Binding) error {
	k := keyOf(b.PortBinding)
	s := o.m.find(k)
	if o.wanted[k] != b || s != nil && s.owner != b.Owner {
		return &ConflictError{Addr: k.host}
	}
	if s == nil {
		var err error
		if s, err = o.m.open(k, b.Owner, b.Container); err != nil {
			return err
		}
	}
	for r := range s.pending {
		if r.claimed[s] == b.Container {
			delete(s.pending, r)
		}
	}
	s.link = b.Link
	if err := o.m.adopt(s, b.Container, o.blocked); err != nil {
		return &BindError{Addr: k.host, Container: b.Container, Proto: k.proto, Err: reason(err)}
	}
	return nil
}

// claimedFor reports whether a reservation for a container's port is pending.
func (s *socket) claimedFor(container netip.AddrPort) bool {
	for r := range s.pending {
		if r.claimed[s] == container {
			return true
		}
	}
	return false
}
