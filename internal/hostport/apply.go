package hostport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// wish is whose a port is to be and where it leads.
type wish struct {
	owner     string
	container netip.AddrPort
}

// Apply makes the Manager hold and carry exactly what want says, except for pending
// reservations of Reserve: it adopts those that want names and leaves the others
// reserved. What is missing is opened, as after a restart of the process; what is
// unwanted is closed with every connection it carries, and its ports are free when
// Apply returns.
//
// What comes by the links that want blocks is not relayed, from the moment that Apply
// returns.
//
// have is not read: what is held is known from the sockets themselves, so that both
// ways are one.
//
// Errors: errors.Join of an *Error for each binding that is not held, or not whole;
// everything else is held all the same, and the next Apply tries again. The errors
// of Reserve are in them. If ctx ends, what is missing stays so, and the error is
// ctx's.
func (m *Manager) Apply(ctx context.Context, have *Set, want Set) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return net.ErrClosed
	}
	wishes := want.wishes()
	for _, s := range m.sockets() {
		if w, ok := wishes[s.key]; ok && w.owner == s.owner {
			continue
		}
		if len(s.pending) > 0 {
			s.suspend()
			continue
		}
		m.drop(s)
	}
	var errs []error
	if blocked, err := indexes(want.Blocked); err != nil {
		errs = append(errs, err)
	} else {
		m.blocked = blocked
	}
	for _, b := range want.Bindings {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := m.hold(b, wishes); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// wishes maps every port of the set to the first binding that names it.
func (s Set) wishes() map[key]wish {
	wishes := map[key]wish{}
	for _, b := range s.Bindings {
		if b.check() != nil {
			continue
		}
		for one := range expand(b.PortBinding) {
			if _, twice := wishes[keyOf(one)]; !twice {
				wishes[keyOf(one)] = wish{owner: b.Owner, container: one.Container}
			}
		}
	}
	return wishes
}

// check refuses a binding that Reserve can't have made.
func (b Binding) check() error {
	switch {
	case !b.Host.IsValid() || b.Host.Port() == 0 || !isContainer(b.Container):
		return fmt.Errorf("%w address", model.ErrInvalid)
	case b.Count == 0 || int(b.Host.Port())+int(b.Count) > 1<<16 || int(b.Container.Port())+int(b.Count) > 1<<16:
		return fmt.Errorf("%w number of ports %d", model.ErrInvalid, b.Count)
	}
	return nil
}

// hold adopts or opens every port of b. The caller holds m.mu.
func (m *Manager) hold(b Binding, wishes map[key]wish) error {
	if err := b.check(); err != nil {
		return &Error{Binding: b, Err: err, Missing: max(1, int(b.Count))}
	}
	var failed *Error
	for one := range expand(b.PortBinding) {
		err := m.holdOne(keyOf(one), wish{owner: b.Owner, container: one.Container}, wishes)
		switch {
		case err == nil:
		case failed == nil:
			failed = &Error{Binding: b, Err: err, Missing: 1}
		default:
			failed.Missing++
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}

// holdOne makes one port w's, unless another binding of the set was there first.
func (m *Manager) holdOne(k key, w wish, wishes map[key]wish) error {
	if first := wishes[k]; first != w {
		return &ConflictError{Addr: k.host, Proto: k.proto, Owner: first.owner}
	}
	s := m.find(k)
	if s != nil && s.owner != w.owner {
		return &ConflictError{Addr: k.host, Proto: k.proto, Owner: s.owner}
	}
	if s == nil {
		var err error
		if s, err = m.open(k, w); err != nil {
			return err
		}
	}
	for r := range s.pending {
		if r.claimed[s] == w.container {
			delete(s.pending, r)
		}
	}
	if err := m.adopt(s, w.container); err != nil {
		return &BindError{Addr: k.host, Container: w.container, Proto: k.proto, Err: reason(err)}
	}
	return nil
}
