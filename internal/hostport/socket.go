package hostport

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// key is what a socket is bound to.
type key struct {
	proto model.Proto
	host  netip.AddrPort // of IPv4, or of IPv6 alone; never an IPv4-mapped address
}

// slot is where sockets meet that could stand in each other's way.
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

// shift returns the address with a port that is n further.
func shift(ap netip.AddrPort, n uint16) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr(), ap.Port()+n)
}

// conn is what the kinds of socket have in common. It is nil in a socket that only
// the table guards.
type conn interface {
	syscall.Conn
	Close() error
	SetDeadline(time.Time) error
}

// carrier takes what arrives at a socket to a container. stop ends it and waits
// until nothing of it is left; the socket stays open.
type carrier interface{ stop() }

// socket is one held host port. Manager.mu guards it.
type socket struct {
	key
	owner   string
	conn    conn
	pending map[*reservation]struct{} // claims that no Apply has adopted and nobody has released
	adopted bool                      // an Apply wanted it
	shun    []uint32                  // links whose packets are not let in; while there is a carrier
	target  netip.AddrPort            // where carried traffic goes; while adopted
	carrier carrier                   // nil unless adopted, and always for SCTP
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

// adopt makes the socket carry to target from now on. What was carried to another
// target ends. What may come is let in only once the carrier runs; if it can't be told
// from what may not, nothing is.
func (m *Manager) adopt(s *socket, target netip.AddrPort) error {
	if s.adopted && s.target == target {
		if s.carrier == nil || slices.Equal(s.shun, m.shun) {
			return nil
		}
	} else if err := m.carry(s, target); err != nil || s.carrier == nil {
		return err
	}
	err := s.admit(m.shun)
	if err != nil {
		s.park()
	}
	return err
}

// carry begins to carry what will be let in; for SCTP, nothing.
func (m *Manager) carry(s *socket, target netip.AddrPort) error {
	s.park()
	account := &account{budget: m.budget, port: fmt.Sprintf("%s/%s", s.host, s.proto)}
	switch c := s.conn.(type) {
	case *net.TCPListener:
		s.carrier = carryTCP(c, target, m.cfg.DialTimeout, account)
	case *net.UDPConn:
		carrier, err := carryUDP(c, target, m.cfg.UDPTimeout, &m.buffers, account)
		if err != nil {
			return err
		}
		s.carrier = carrier
	}
	s.adopted, s.target = true, target
	return nil
}

// park makes the socket drop all that arrives again and ends what it carried. It
// stays bound.
func (s *socket) park() {
	s.adopted = false
	if s.carrier == nil {
		return
	}
	// The filter can't be refused (it is one instruction); if it were, what arrives
	// would wait in the queue instead of being dropped.
	_ = withFD(s.conn, func(fd int) error { return attachFilter(fd, nothing()) })
	s.carrier.stop()
	s.carrier = nil
	_ = s.conn.SetDeadline(time.Time{})
}

// close ends what the socket carried and frees the port before it returns: the net
// package's Close waits for the descriptor's last user.
func (s *socket) close() {
	if s.carrier != nil {
		s.carrier.stop()
		s.carrier = nil
	}
	s.adopted = false
	if s.conn != nil {
		_ = s.conn.Close()
	}
}
