package hostport

import (
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// shift returns the address with a port that is n further.
func shift(ap netip.AddrPort, n uint16) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr(), ap.Port()+n)
}

// conn is what the kinds of socket have in common. It is nil in a socket that only
// the table guards.
type conn interface {
	syscall.Conn
	Close() error
}

// socket is one held host port. Manager.mu guards it.
type socket struct {
	key
	owner   string
	link    string // of the binding that has adopted it last; "": none has
	conn    conn
	pending map[*reservation]struct{} // claims that are neither adopted by an Apply nor released
	adopted bool                      // an Apply wanted it
	blocked []uint32                  // links whose packets are dropped; while there is a session
	target  netip.AddrPort            // where what arrives is relayed to; while adopted
	session relay.Session             // nil unless adopted, and always for SCTP
}

// destroyed reports whether the kernel has ended a listening socket at another program's
// request (sock_diag(7), SOCK_DESTROY; ss -K): it listens no longer and holds no port.
func (s *socket) destroyed() bool {
	if s.conn == nil || s.proto == model.UDP {
		return false
	}
	var listens int
	err := withFD(s.conn, func(fd int) (err error) {
		listens, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		return err
	})
	return err == nil && listens == 0
}

// containers lists where the socket's traffic belongs, by the record and by every
// claim.
func (s *socket) containers() []netip.AddrPort {
	var all []netip.AddrPort
	if s.adopted {
		all = append(all, s.target)
	}
	for r := range s.pending {
		all = append(all, r.claimed[s])
	}
	return all
}

// adopt has what arrives relayed to target from now on, save by the links with the indexes
// blocked. What was relayed to another target ends. Packets are accepted only once they are
// relayed; if the blocked ones can't be told from the others, none is.
func (m *Manager) adopt(s *socket, target netip.AddrPort, blocked []uint32) error {
	if s.adopted && s.target == target {
		if s.session == nil || slices.Equal(s.blocked, blocked) {
			return nil
		}
	} else if err := m.relayTo(s, target); err != nil || s.session == nil {
		return err
	}
	err := s.accept(blocked)
	if err != nil {
		s.suspend()
	}
	return err
}

// relayTo begins to relay what will be accepted; for SCTP, nothing.
func (m *Manager) relayTo(s *socket, target netip.AddrPort) (err error) {
	if err := fault.Point("hostport: before relaying"); err != nil {
		return err
	}
	s.suspend()
	switch c := s.conn.(type) {
	case *net.TCPListener:
		s.session = m.relay.TCP(c, target)
	case *net.UDPConn:
		if s.session, err = m.relay.UDP(c, target); err != nil {
			return err
		}
	}
	s.adopted, s.target = true, target
	return nil
}

// suspend makes the socket drop all that arrives again and ends what it relayed. It
// stays bound.
func (s *socket) suspend() {
	s.adopted = false
	if s.session == nil {
		return
	}
	// The filter can't be refused (it is one instruction); if it were, what arrives
	// would wait in the queue instead of being dropped.
	_ = withFD(s.conn, func(fd int) error { return attachFilter(fd, dropAll()) })
	s.stop()
}

// stop ends what is relayed.
func (s *socket) stop() {
	s.adopted = false
	if s.session != nil {
		s.session.Stop()
		s.session = nil
	}
}

// close ends what is relayed and frees the port before it returns: the net package's
// Close waits for the descriptor's last user.
func (s *socket) close() {
	fault.Passed("hostport: before closing a socket")
	s.stop()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	fault.Passed("hostport: after closing a socket")
}
