package hostport

import (
	"net/netip"
	"slices"

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
		if s.host.Addr().Is4() != k.host.Addr().Is4() {
			continue
		}
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
	m.settle()
	if m.overlapping(k) {
		return nil, &ConflictError{Addr: k.host}
	}
	p, err := m.newPort(k.proto, k.host, false)
	if err != nil {
		return nil, &BindError{Addr: k.host, Container: container, Proto: k.proto, Err: reason(err)}
	}
	return m.remember(k, name, p), nil
}

// openBoth binds a port at every address of both families by one socket, if it can: where
// not, either family tells why when it is opened by itself. The caller holds m.mu.
func (m *Manager) openBoth(k key, name string) {
	other := k.other()
	if k.proto == model.SCTP || !k.host.Addr().IsUnspecified() {
		return
	}
	m.settle()
	if m.overlapping(k) || m.overlapping(other) {
		return
	}
	everywhere := netip.AddrPortFrom(netip.IPv6Unspecified(), k.host.Port())
	p, err := m.newPort(k.proto, everywhere, true)
	if err != nil {
		return
	}
	m.remember(k, name, p)
	m.remember(other, name, p)
}

// remember enters a socket into the table.
func (m *Manager) remember(k key, name string, p *port) *socket {
	s := &socket{key: k, owner: name}
	if p != nil {
		p.hold(s)
	}
	m.held[k.slot()] = append(m.held[k.slot()], s)
	o := m.owners[name]
	if o == nil {
		o = &owner{sockets: map[*socket]struct{}{}}
		m.owners[name] = o
	}
	o.sockets[s] = struct{}{}
	return s
}

// drop gives s back to the kernel: when it returns the port is free, or if it is held for
// the other family by the same socket, when that is dropped too, or m.settle returns. The
// caller holds m.mu.
func (m *Manager) drop(s *socket) {
	delete(m.early, s)
	m.release(s)
	for _, r := range s.pending { // its claims have nothing to give back any more
		delete(r.claimed, s)
	}
	list := slices.DeleteFunc(m.held[s.slot()], func(other *socket) bool { return other == s })
	if m.held[s.slot()] = list; len(list) == 0 {
		delete(m.held, s.slot())
	}
	o := m.owners[s.owner]
	if delete(o.sockets, s); len(o.sockets) == 0 {
		delete(m.owners, s.owner)
	}
}

// release has s held by no port.
func (m *Manager) release(s *socket) {
	p := s.port
	if p == nil {
		return
	}
	is4 := s.host.Addr().Is4()
	if *p.side(!is4) == nil {
		*p.side(is4) = nil
		p.close()
		return
	}
	*p.side(is4) = nil
	m.halves = append(m.halves, p)
}

// key is what a socket is bound to.
type key struct {
	proto model.Proto
	host  netip.AddrPort // of IPv4, or of IPv6 alone; never an IPv4-mapped address
}

// other is the same port at every address of the other family.
func (k key) other() key {
	everywhere := netip.IPv4Unspecified()
	if k.host.Addr().Is4() {
		everywhere = netip.IPv6Unspecified()
	}
	return key{proto: k.proto, host: netip.AddrPortFrom(everywhere, k.host.Port())}
}

// slot is what sockets of a family that can conflict have in common.
type slot struct {
	proto model.Proto
	port  uint16
}

func (k key) slot() slot { return slot{proto: k.proto, port: k.host.Port()} }

// keyOf is the socket that a binding of one port needs.
func keyOf(b model.PortBinding) key {
	return key{proto: b.Proto, host: netip.AddrPortFrom(b.Host.Addr().Unmap(), b.Host.Port())}
}
