package hostport

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
)

// shift returns the address with a port that is n further.
func shift(ap netip.AddrPort, n uint16) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr(), ap.Port()+n)
}

// socket is one host port that is held at one address. Manager.mu guards it.
type socket struct {
	key
	owner   string
	link    string         // of the binding that has adopted it last; "": none has
	port    *port          // nil: the table alone guards it
	pending []*reservation // claims that are neither adopted by an Apply nor released
	adopted bool           // an Apply wanted it
	blocked []uint32       // links whose packets are dropped; while adopted
	target  netip.AddrPort // where what arrives is relayed to; while adopted
	limit   Limit          // for whom; while adopted
	early   uint64         // the round (Config.Early) until whose end only what is relayed by design is let in; 0: all is
	near    netip.Prefix   // Binding.Neighbours of what has adopted it last
}

// relays reports whether what arrives is relayed.
func (s *socket) relays() bool { return s.adopted && s.port != nil && s.port.session != nil }

// destroyed reports whether the kernel has ended a listening socket at another program's
// request (sock_diag(7), SOCK_DESTROY; ss -K): it listens no longer and holds no port.
func (s *socket) destroyed() bool {
	if s.port == nil || s.proto == model.UDP {
		return false
	}
	listens, err := unix.GetsockoptInt(s.port.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && listens == 0
}

// containers lists where the socket's traffic belongs, by the record and by every
// claim.
func (s *socket) containers() []netip.AddrPort {
	var all []netip.AddrPort
	if s.adopted {
		all = append(all, s.target)
	}
	for _, r := range s.pending {
		all = append(all, r.claimed[s])
	}
	return all
}

// adopt has what arrives relayed to target from now on, for whom limit says, save by the links
// with the indexes blocked. What was relayed to another target, or for others, ends. Packets are accepted only once they are
// relayed; if the blocked ones can't be told from the others, none is.
func (m *Manager) adopt(s *socket, target netip.AddrPort, limit Limit, blocked []uint32) error {
	if s.adopted && s.target == target {
		if s.limit != limit {
			s.limit = limit
			if s.relays() {
				_ = s.port.serve() // what is served already can't fail
			}
		}
		if !s.relays() || slices.Equal(s.blocked, blocked) {
			return nil
		}
	} else {
		s.limit = limit
		m.guard(s, target)
		if err := s.relayTo(target); err != nil || !s.relays() {
			return err
		}
	}
	s.blocked = blocked
	err := s.port.filter()
	if err != nil {
		s.suspend()
	}
	return err
}

// guard has the socket let in only what is relayed by design while flows may be tracked that
// began before: NAT never sees those, and what is relayed of them keeps them going.
func (m *Manager) guard(s *socket, target netip.AddrPort) {
	s.early = 0
	if s.host.Addr().Is4() == target.Addr().Is4() && s.port != nil && !s.limit.Carried { // what leads to the other family is not translated
		s.early = m.cfg.Early()
	}
	delete(m.early, s)
	if s.early != 0 {
		m.early[s] = struct{}{}
	}
}

// Looked has the ports let in all whose early flows have been looked for in a round
// (Config.Early), or one before it.
func (m *Manager) Looked(round uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	open := map[*port][]*socket{}
	for s := range m.early {
		if s.early > round {
			continue
		}
		s.early = 0
		delete(m.early, s)
		if s.relays() {
			open[s.port] = append(open[s.port], s)
		}
	}
	for p, opened := range open { // once for both families
		err := p.filter()
		if err == nil {
			continue
		}
		for _, s := range opened { // the filter that there is lets in too little
			s.suspend()
			m.touch(s.owner)
			m.cfg.Lost(fmt.Errorf("%s %s: %w", s.proto, s.host, err))
		}
	}
}

// relayTo begins to relay what will be accepted; for SCTP, nothing.
func (s *socket) relayTo(target netip.AddrPort) error {
	if err := fault.Point("hostport: before relaying"); err != nil {
		return err
	}
	s.suspend()
	s.adopted, s.target = true, target
	if s.port == nil {
		return nil
	}
	err := s.port.serve()
	if err != nil {
		s.adopted = false
	}
	return err
}

// suspend makes the socket drop all that arrives again and ends what it relayed. It
// stays bound.
func (s *socket) suspend() {
	if !s.adopted {
		return
	}
	relayed := s.relays()
	s.adopted = false
	if relayed {
		// A filter can be refused where many links are blocked (dropFrom), but that of a port
		// which drops all is one instruction. What arrives would wait in the queue instead of
		// being dropped.
		_ = s.port.filter()
		_ = s.port.serve() // what ends can't fail
	}
}
