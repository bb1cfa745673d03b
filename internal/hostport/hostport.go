// Package hostport reserves host ports with sockets that it holds, so that no other
// program can take them. On those sockets package relay serves the connections that NAT
// can't lead to containers: from the host to 127.0.0.0/8, to ::1 and to link-local
// addresses, and from one address family to containers of the other. There is no process
// for each port, and no goroutine: a port costs one socket, which has both families where
// both are wanted at every address.
//
// Be aware: a port that is reserved drops what arrives (a socket filter) until Apply
// adopts it, and from then on until Looked what flows bring that began before (Config.Early). Connections that are relayed end with the process; translated ones don't
// pass through here. SCTP is reserved, never relayed, and where the kernel has no SCTP
// sockets only this package's own table guards its ports.
// Where one socket has both families and one of them is given up, the port is nobody's for a
// moment, and what is relayed of the other family ends.
// Blocked links are known by their interface indexes, which Plan looks up: to be called
// when such a link was made anew.
// Sockets belong to the network namespace of the thread that makes them: the whole process
// must be in one namespace.
package hostport

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// Config is how a Manager behaves. The zero value is ready for use.
type Config struct {
	// Warn says what is no error, but worth knowing: that the kernel has no SCTP
	// sockets. Nil: it is not said.
	Warn func(format string, args ...any)
	// Lost is told that a port which was held for both families could not be held again for
	// the one that is still wanted: a plan from nothing finds it missing. It must not wait.
	// Nil: nobody is told.
	Lost func(err error)
	// Early returns the number of the round by whose end (Looked) the kernel tracks no flow any
	// more that began before a port was translated; 0: it tracks none. Until then a port that is
	// adopted lets in what NAT leads to no container alone: what else arrives is of such flows. It
	// must not wait. Nil: it tracks none.
	Early func() uint64
	// UDPTimeout is how long a UDP client is remembered after its last datagram in
	// either direction. 0: 90 s, as docker-proxy has it.
	UDPTimeout time.Duration
	// DialTimeout is how long the connection to a container may take to be made
	// before the client's is reset. 0: 10 s, beyond which three SYNs have gone
	// unanswered (RFC 6298, 1 s doubled each time).
	DialTimeout time.Duration
	// Descriptors is how many the process may have, for ports, relayed traffic and its own
	// work (relay.Budget). 0: RLIMIT_NOFILE.
	Descriptors int
	// Root is where net/ipv4/ip_local_port_range and net/ipv4/ip_local_reserved_ports
	// are read. "": /proc/sys.
	Root string
}

// Manager holds host ports for their owners. Its methods may be called from any
// goroutine.
type Manager struct {
	cfg      Config
	budget   *relay.Budget
	relay    *relay.Relay
	sctpOnce sync.Once // the warning that SCTP is guarded by the table alone
	holders  holders   // of ports that were refused
	local    addresses // of the host
	links    links

	mu     sync.Mutex
	held   map[slot][]*socket
	halves []*port                // held for both families, and one was given up: see settle
	owners map[string]*owner      // those that hold something
	last   map[model.Proto]uint16 // the ephemeral port chosen last
	early  map[*socket]struct{}   // those that do not let in all
	closed bool
}

// New returns a Manager that holds nothing.
func New(cfg Config) *Manager {
	if cfg.Lost == nil {
		cfg.Lost = func(error) {}
	}
	if cfg.Early == nil {
		cfg.Early = func() uint64 { return 0 }
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string, ...any) {}
	}
	if cfg.UDPTimeout == 0 {
		cfg.UDPTimeout = 90 * time.Second
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	if cfg.Root == "" {
		cfg.Root = "/proc/sys"
	}
	budget := relay.NewBudget(cfg.Descriptors, cfg.Warn)
	return &Manager{
		cfg: cfg, budget: budget,
		relay:   relay.New(relay.Config{Budget: budget, DialTimeout: cfg.DialTimeout, UDPTimeout: cfg.UDPTimeout}),
		holders: holders{look: holderOfAny},
		held:    map[slot][]*socket{}, owners: map[string]*owner{}, last: map[model.Proto]uint16{}, early: map[*socket]struct{}{},
	}
}

// Relayed returns what was relayed since New, of all ports.
func (m *Manager) Relayed() relay.Counts { return m.relay.Counts() }

// Close gives every port back and ends every relayed connection. When it returns
// no socket and no goroutine of the Manager is left; Reserve and Apply fail from
// then on with net.ErrClosed.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for name := range m.owners {
		for s := range m.owned(name) {
			m.drop(s)
		}
	}
	m.halves = nil // all that they were held for has been dropped
}

// hasIPv6 reports whether ports without an address are published on [::] too: where ::1
// can be bound. No setting says it: net.ipv6.conf.all.disable_ipv6 is written through to
// the interfaces, each of which can be switched again (ip-sysctl).
//
// Errors: what else the kernel refuses, such as a lack of descriptors.
func hasIPv6() (bool, error) {
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, syscall.EADDRINUSE): // every UDP port is taken, so there is the address
		return true, nil
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return false, nil
	}
	return false, fmt.Errorf("look for IPv6: %w", err)
}
