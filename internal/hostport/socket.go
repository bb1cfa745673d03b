package hostport

import (
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
		// The filter can't be refused (it is a few instructions); if it were, what arrives
		// would wait in the queue instead of being dropped.
		_ = s.port.filter()
		_ = s.port.serve() // what ends can't fail
	}
}
