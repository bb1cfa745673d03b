// Package relay copies what arrives at a socket to another address, and the answers back:
// TCP connections inside the kernel (splice(2)), UDP datagrams one by one. It bounds the
// descriptors that all of this may take.
//
// Be aware: whoever asks for a session keeps the socket: Stop leaves it open, and while
// there is no session, what arrives waits in its queue. Connections that are relayed end
// with the process. Clients for whom no descriptors are left are reset; a UDP socket then
// drops the client that has been silent longest.
// Connections are made by any thread of the process: the whole process must be in one
// network namespace.
package relay

import (
	"net/netip"
	"time"
)

// Config is how relayed traffic is treated. Every field is needed.
type Config struct {
	Budget      *Budget
	DialTimeout time.Duration // what the connection to a target may take
	UDPTimeout  time.Duration // how long a client is remembered after its last datagram in either direction
}

// Relay relays for many sockets, which share its budget. Its methods may be called from
// any goroutine.
type Relay struct {
	cfg      Config
	buffers  datagrams
	tcp, udp counters
}

// New returns a Relay without sessions.
func New(cfg Config) *Relay { return &Relay{cfg: cfg} }

// Session is what is relayed for one socket.
type Session interface {
	// Stop ends every connection and waits until nothing of the session is left. The
	// socket stays open, and another session may begin.
	Stop()
}

// session is what the kinds of session have in common.
type session struct {
	target  netip.AddrPort
	account *account
	counts  *counters
}
