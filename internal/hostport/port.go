package hostport

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// port is a socket of the kernel's that holds a host port, at one address or, for both
// families, at every one: half as many descriptors as with one for each. Manager.mu guards
// it.
type port struct {
	m       *Manager
	fd      int
	proto   model.Proto
	at      netip.AddrPort
	both    bool
	v4, v6  *socket       // for which it is held; nil: for none
	session relay.Session // nil unless one of them is adopted, and always for SCTP
}

// side is the socket of a family.
func (p *port) side(is4 bool) **socket {
	if is4 {
		return &p.v4
	}
	return &p.v6
}

// hold has the port held for s.
func (p *port) hold(s *socket) {
	*p.side(s.host.Addr().Is4()) = s
	s.port = p
}

// serve has what arrives relayed to the targets of what is adopted; for SCTP, nothing.
func (p *port) serve() (err error) {
	var targets relay.Targets
	if p.v4 != nil && p.v4.adopted {
		targets.V4 = p.v4.target
	}
	if p.v6 != nil && p.v6.adopted {
		targets.V6 = p.v6.target
	}
	none := !targets.V4.IsValid() && !targets.V6.IsValid()
	targets.Admit = p.admit()
	switch {
	case p.session != nil && none:
		p.session.Stop()
		p.session = nil
	case p.session != nil:
		p.session.Serve(targets)
	case none:
	case p.proto == model.TCP:
		p.session, err = p.m.relay.TCP(p.fd, p.at, targets)
	case p.proto == model.UDP:
		p.session, err = p.m.relay.UDP(p.fd, p.at, targets)
	}
	return err
}

// admit is what the port's sockets say of their clients; nil: nobody says anything.
func (p *port) admit() relay.Admit {
	of := func(s *socket) relay.Admit {
		if s == nil || !s.adopted {
			return nil
		}
		return p.m.admit(s.limit)
	}
	v4, v6 := of(p.v4), of(p.v6)
	if v4 == nil && v6 == nil {
		return nil
	}
	return func(client netip.Addr, link func() uint32) bool {
		admit := v6
		if client.Is4() {
			admit = v4
		}
		return admit == nil || admit(client, link)
	}
}

// filter lets in what is relayed, save what comes by blocked links. What is sent to a
// loopback address comes by lo alone.
func (p *port) filter() error {
	v4, v6 := p.v4, p.v6
	if !p.both { // there is no other family
		one := v4
		if one == nil {
			one = v6
		}
		v4, v6 = one, one
	}
	in4, in6 := v4 != nil && v4.adopted, v6 != nil && v6.adopted
	var one *socket // whose blocked links are the other family's, too
	switch {
	case !in4 && !in6:
		return attachFilter(p.fd, dropAll())
	case !in4:
		one = v6
	case !in6 || slices.Equal(v4.blocked, v6.blocked):
		one = v4
	default:
		return attachFilter(p.fd, byFamily(
			dropFrom(v4.blocked, restOf(in4, v4, byDesign4)...), dropFrom(v6.blocked, restOf(in6, v6, byDesign6)...)))
	}
	rest := acceptAll()
	if !in4 || !in6 || v4.early != 0 || v6.early != 0 {
		rest = byFamily(restOf(in4, v4, byDesign4), restOf(in6, v6, byDesign6))
	} else if len(one.blocked) == 0 || p.at.Addr().IsLoopback() {
		return detachFilter(p.fd)
	}
	return attachFilter(p.fd, dropFrom(one.blocked, rest...))
}

// restOf is the program for what came to one family by links that are not blocked. relayed is
// what lets in what is relayed by design alone.
func restOf(in bool, s *socket, relayed func(near netip.Prefix) []unix.SockFilter) []unix.SockFilter {
	switch {
	case !in:
		return dropAll()
	case s.early != 0:
		return relayed(s.near)
	}
	return acceptAll()
}

// close ends what is relayed and frees the port before it returns.
func (p *port) close() {
	fault.Passed("hostport: before closing a socket")
	if p.session != nil {
		p.session.Stop()
		p.session = nil
	}
	_ = unix.Close(p.fd)
	p.m.budget.Release()
	fault.Passed("hostport: after closing a socket")
}

// settle has each port that was held for both families, and is for one still, held for that
// one alone: the kernel can't take a family from a socket. For a moment the port is nobody's,
// and what was relayed ends. Where it can't be held again Lost is told.
// The caller holds m.mu.
func (m *Manager) settle() {
	halves := m.halves
	m.halves = nil
	for _, p := range halves {
		s := p.v4
		if s == nil {
			s = p.v6
		}
		if s == nil {
			continue // the other one has gone, too
		}
		adopted := s.adopted
		p.close()
		s.adopted, s.port = false, nil
		m.touch(s.owner)
		one, err := m.newPort(p.proto, s.host, false)
		if err == nil {
			one.hold(s)
			if adopted {
				err = m.adopt(s, s.target, s.limit, s.blocked)
			}
		}
		if err != nil {
			m.drop(s)
			m.cfg.Lost(fmt.Errorf("%s %s: %w", p.proto, s.host, err))
		}
	}
}
