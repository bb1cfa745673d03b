package hostport

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// owner is what one owner holds.
type owner struct {
	sockets map[*socket]struct{}

	// What Plan has last found to match, with nothing reserved besides: the owner's
	// bindings, and the indexes of blocked links. nil: something has changed since.
	matched []Binding
	blocked []uint32
}

// touch notes that an owner's sockets change. The caller holds m.mu.
func (m *Manager) touch(name string) {
	if o := m.owners[name]; o != nil {
		o.matched = nil
	}
}

// owned returns the sockets of an owner. The caller holds m.mu.
func (m *Manager) owned(name string) map[*socket]struct{} {
	if o := m.owners[name]; o != nil {
		return o.sockets
	}
	return nil
}

// overlapping reports whether a socket is held that conflicts with k: the same protocol,
// family and port, with the same address or with either one unspecified. The caller holds
// m.mu.
func (m *Manager) overlapping(k key) bool {
	for _, s := range m.held[k.slot()] {
		if s.host.Addr() == k.host.Addr() || s.host.Addr().IsUnspecified() || k.host.Addr().IsUnspecified() {
			return true
		}
	}
	return false
}

// find returns the socket that holds k, or nil. The caller holds m.mu.
func (m *Manager) find(k key) *socket {
	for _, s := range m.held[k.slot()] {
		if s.key == k {
			return s
		}
	}
	return nil
}

// open binds k for an owner, filtered, and remembers the socket. The container's port is
// for messages. The caller holds m.mu.
//
// Errors: *ConflictError if the Manager itself holds a socket that conflicts,
// *BindError with the kernel's reason, or with the budget's (*relay.LimitError).
func (m *Manager) open(k key, name string, container netip.AddrPort) (*socket, error) {
	if m.overlapping(k) {
		return nil, &ConflictError{Addr: k.host}
	}
	refused := func(err error) error {
		return &BindError{Addr: k.host, Container: container, Proto: k.proto, Err: reason(err)}
	}
	if err := m.budget.Hold(); err != nil {
		return nil, refused(err)
	}
	s := &socket{key: k, owner: name, pending: map[*reservation]struct{}{}}
	err := m.bind(s)
	if s.conn == nil { // refused, or guarded by the table alone
		m.budget.Release()
	}
	if err != nil {
		return nil, refused(err)
	}
	m.held[k.slot()] = append(m.held[k.slot()], s)
	o := m.owners[name]
	if o == nil {
		o = &owner{sockets: map[*socket]struct{}{}}
		m.owners[name] = o
	}
	o.sockets[s] = struct{}{}
	return s, nil
}

// drop gives s back to the kernel: when it returns the port is free. The caller
// holds m.mu.
func (m *Manager) drop(s *socket) {
	s.close()
	if s.conn != nil {
		m.budget.Release()
	}
	for r := range s.pending { // its claims have nothing to give back any more
		delete(r.claimed, s)
	}
	list := m.held[s.slot()]
	for i, other := range list {
		if other == s {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if m.held[s.slot()] = list; len(list) == 0 {
		delete(m.held, s.slot())
	}
	o := m.owners[s.owner]
	if delete(o.sockets, s); len(o.sockets) == 0 {
		delete(m.owners, s.owner)
	}
}

// key is what a socket is bound to.
type key struct {
	proto model.Proto
	host  netip.AddrPort // of IPv4, or of IPv6 alone; never an IPv4-mapped address
}

// slot is what sockets that can conflict have in common.
type slot struct {
	proto model.Proto
	is6   bool
	port  uint16
}

func (k key) slot() slot {
	return slot{proto: k.proto, is6: k.host.Addr().Is6(), port: k.host.Port()}
}

// keyOf is the socket that a binding of one port needs.
func keyOf(b model.PortBinding) key {
	return key{proto: b.Proto, host: netip.AddrPortFrom(b.Host.Addr().Unmap(), b.Host.Port())}
}
