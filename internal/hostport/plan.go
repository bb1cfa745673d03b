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
	"syscall"

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
// What is held is known from the sockets themselves. have == nil means that every one of
// them is looked at, and that the kernel is asked whether it still listens; otherwise an
// owner is passed over which an earlier Plan has found to match the same bindings, and for
// whom nothing was reserved or changed since.
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
	d := &difference{m: m, thorough: have == nil, wanted: portsOf(look), blocked: blocked, names: strings.Join(want.Blocked, ", ")}
	matched := maps.Clone(differ)
	closing, opening := steps{done: m.settled}, steps{done: func() {}}
	for _, name := range slices.Sorted(maps.Keys(differ)) {
		if d.unwanted(name, &closing) {
			delete(matched, name)
		}
	}
	if err != nil {
		return closing.plan(), err
	}
	for _, b := range look {
		if change := d.missing(b); change != "" {
			delete(matched, b.Owner)
			opening.add(b.Link, fmt.Sprintf("%s %s for %s", change, b.PortBinding, named(b.Owner)), func() error { return d.hold(b) })
		}
	}
	for name, bindings := range matched {
		if o := m.owners[name]; o != nil {
			o.matched, o.blocked = bindings, blocked
		}
	}
	return append(closing.plan(), opening.plan()...), nil
}

// settled is settle for a step.
func (m *Manager) settled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.settle()
	}
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

// difference is what Plan compares the Manager with.
type difference struct {
	m        *Manager
	thorough bool             // the kernel is asked about each socket
	wanted   map[key]*Binding // each port, for the binding that is to have it
	blocked  []uint32         // the indexes of
	names    string           // the blocked links
	refused  int              // bindings with a port that another program has
}

// unwanted adds the closing of the ports that an owner must not hold any more, and reports
// whether there are such. The caller holds m.mu.
func (d *difference) unwanted(name string, closing *steps) bool {
	links := map[string][]model.PortBinding{}
	for s := range d.m.owned(name) {
		if w := d.wanted[s.key]; (w == nil || w.Owner != name) && (s.adopted || len(s.pending) == 0) {
			links[s.link] = append(links[s.link], model.PortBinding{Proto: s.proto, Host: s.host, Container: s.target, Count: 1})
		}
	}
	for _, link := range slices.Sorted(maps.Keys(links)) {
		for _, b := range model.Coalesce(links[link]) {
			host, _, _ := strings.Cut(b.String(), " -> ")
			closing.add(link, fmt.Sprintf("close %s of %s", host, named(name)), func() error { d.m.closePorts(name, b); return nil })
		}
	}
	return len(links) > 0
}

// closePorts closes ports if they are still the owner's; what has been reserved again is only
// suspended.
func (m *Manager) closePorts(owner string, b model.PortBinding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(owner)
	for one := range b.Ones() {
		switch s := m.find(keyOf(one)); {
		case s == nil || s.owner != owner:
		case len(s.pending) > 0:
			s.suspend()
		default:
			m.drop(s)
		}
	}
}

// missing says what is to be done for the first port of a binding that does not match; ""
// if all do.
func (d *difference) missing(b Binding) string {
	if b.check() != nil {
		return "open"
	}
	for one := range b.each() {
		s := d.m.find(keyOf(one.PortBinding))
		switch {
		case s == nil || s.owner != b.Owner || !d.wanted[s.key].names(one) || d.thorough && s.destroyed():
			return "open"
		case !s.adopted || s.target != one.Container || s.claimedFor(one.Container):
			return "adopt"
		case s.limit != one.Limit:
			return "limit the clients of"
		case !s.relays() || slices.Equal(s.blocked, d.blocked):
		default:
			return "block " + cmp.Or(d.names, "no link") + " at"
		}
	}
	return ""
}

// hold adopts or opens every port of b.
func (d *difference) hold(b Binding) error {
	err := d.holdAll(b)
	var failed *Error
	var refused *BindError
	if errors.As(err, &failed) && errors.As(err, &refused) && errors.Is(refused.Err, syscall.EADDRINUSE) {
		if d.refused++; d.refused <= maxNamed {
			failed.Holder = d.m.holders.of(refused.Proto, refused.Addr)
		}
	}
	return err
}

func (d *difference) holdAll(b Binding) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.closed {
		return net.ErrClosed
	}
	if err := b.check(); err != nil {
		return &Error{Binding: b, Err: err, Missing: max(1, int(b.Count))}
	}
	var failed *Error
	for one := range b.each() {
		err := d.holdOne(one)
		switch {
		case err == nil:
		case failed == nil:
			failed = &Error{Binding: b, Err: err, Missing: 1}
		default:
			failed.Missing++
		}
	}
	d.m.touch(b.Owner)
	if failed == nil {
		return nil
	}
	return failed
}

// holdOne makes one port b's, unless another binding of the set was there first.
func (d *difference) holdOne(b Binding) error {
	k := keyOf(b.PortBinding)
	s := d.m.find(k)
	if !d.wanted[k].names(b) || s != nil && s.owner != b.Owner {
		return &ConflictError{Addr: k.host}
	}
	if s != nil && d.thorough && s.destroyed() {
		d.m.drop(s)
		s = nil
	}
	if s == nil {
		if w := d.wanted[k.other()]; w != nil && w.Owner == b.Owner && d.m.find(k.other()) == nil {
			d.m.openBoth(k, b.Owner)
			s = d.m.find(k)
		}
	}
	if s == nil {
		var err error
		if s, err = d.m.open(k, b.Owner, b.Container); err != nil {
			return err
		}
	}
	s.take(b)
	other := d.joint(s, b)
	if err := d.m.adopt(s, b.Container, b.Limit, d.blocked); err != nil {
		if other != nil {
			other.suspend()
		}
		return &BindError{Addr: k.host, Container: b.Container, Proto: k.proto, Err: reason(err)}
	}
	return nil
}

// joint takes what one socket of the kernel's holds besides s for adopted, so that the kernel
// is told once, if it is wanted for the same link and nothing is relayed there yet; nil if not.
func (d *difference) joint(s *socket, b Binding) *socket {
	if s.port == nil || !s.port.both || s.adopted {
		return nil
	}
	other := *s.port.side(!s.host.Addr().Is4())
	if other == nil || other.adopted {
		return nil
	}
	w := d.wanted[other.key]
	if w == nil || w.Owner != other.owner || w.Link != b.Link {
		return nil // the step of another link may have to wait
	}
	one := w.at(other.host.Port() - w.Host.Port())
	other.take(one)
	other.limit = one.Limit
	d.m.guard(other, one.Container)
	other.adopted, other.target, other.blocked = true, one.Container, d.blocked
	return other
}

// take notes whose the socket is, and ends the reservations for it.
func (s *socket) take(b Binding) {
	for _, r := range slices.Clone(s.pending) {
		if r.claimed[s] == b.Container {
			s.unclaimed(r)
		}
	}
	s.link, s.near = b.Link, b.Neighbours
}

// claimedFor reports whether a reservation for a container's port is pending.
func (s *socket) claimedFor(container netip.AddrPort) bool {
	for _, r := range s.pending {
		if r.claimed[s] == container {
			return true
		}
	}
	return false
}
