// Package relay copies what arrives at a socket to another address, and the answers back:
// TCP connections inside the kernel where there is much to copy (splice(2)), UDP datagrams in
// batches. It bounds the descriptors that all of this may take.
//
// A few threads serve all sockets and connections together (epoll(7)): a port costs no
// goroutine, and a connection that is silent neither a buffer nor a pipe.
//
// Be aware: whoever asks for a session keeps the socket: Stop leaves it open, and while
// there is no session, what arrives waits in its queue. Connections that are relayed end
// with the process. Clients for whom no descriptors are left are reset; a UDP socket then
// drops the client that has been silent longest. A datagram for which the kernel has no room
// is lost, as on the wire.
// Connections are made by any thread of the process: the whole process must be in one
// network namespace.
package relay

import (
	"net/netip"
	"sync"
	"time"
)

// Config is how relayed traffic is treated. Every field is needed.
type Config struct {
	Budget      *Budget
	DialTimeout time.Duration // what the connection to a target may take
	UDPTimeout  time.Duration // how long a client is remembered after its last datagram in either direction
}

// Relay relays for many sockets, which share its budget and its threads. Its methods may be
// called from any goroutine.
type Relay struct {
	cfg      Config
	pipes    pipes
	tcp, udp counters

	mu   sync.Mutex
	poll *poll // nil while there is no session
}

// New returns a Relay without sessions, which has no threads.
func New(cfg Config) *Relay {
	return &Relay{cfg: cfg, pipes: pipes{most: cfg.Budget.pipes()}}
}

// Targets are where clients of each family are led to. Those of a family that has none are
// not served, and neither are clients that Admit refuses.
type Targets struct {
	V4, V6 netip.AddrPort
	Admit  Admit // nil: all are served
}

// Admit says of a client whether it is served. An address that needs a link has its name as the
// zone; none is a mapped one. link is the index of the interface by which the client has come, 0 if
// that is not known; what the host sends to an address of its own comes by that address's. It can
// cost system calls, so it is asked only where the answer hangs on it.
type Admit func(client netip.Addr, link func() uint32) bool

// of is the target of a client; zero: it is not served. What an IPv4 client sends to an IPv6
// socket comes from a mapped address (ipv6(7)).
func (t Targets) of(client netip.Addr, link func() uint32) netip.AddrPort {
	if t.Admit != nil && !t.Admit(client.Unmap(), link) {
		return netip.AddrPort{}
	}
	if client.Is4() || client.Is4In6() {
		return t.V4
	}
	return t.V6
}

// Session is what is relayed for one socket.
type Session interface {
	// Serve changes the targets, and ends what was relayed to others, or for others.
	Serve(Targets)
	// Stop ends every connection: nothing of the session is left. The socket stays open,
	// and another session may begin.
	Stop()
}

// session is what the kinds of session have in common.
type session struct {
	relay   *Relay
	poll    *poll
	fd      int
	id      uint64
	account account
	turn    turn
	stopped bool // while turn is held

	mu      sync.Mutex // what follows, besides what the kinds have
	targets Targets
}

// begin has the socket's events told to h.
func (r *Relay) begin(s *session, h handler) (err error) {
	if s.poll, err = r.join(); err != nil {
		return err
	}
	if err = s.poll.add(s.fd, h, first, &s.id); err != nil {
		r.leave(s.poll)
	}
	return err
}

// end undoes begin. No worker is about the session when it returns. It reports false if
// the session has ended before.
func (s *session) end() bool {
	s.turn.mu.Lock()
	defer s.turn.mu.Unlock()
	if s.stopped {
		return false
	}
	s.stopped = true
	s.poll.remove(s.fd, s.id)
	return true
}
