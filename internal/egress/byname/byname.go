// Package byname is the process as containers meet it whose lists have host names: the packet
// filter leads their DNS and their connections to HTTP and HTTPS to two ports of the host's, where
// package names answers for the names that each has, and packages carry and web carry what is
// meant for these hosts, and nothing else.
//
// Who asks is told by the address, which containers with lists can't forge and of which no two
// networks have the same; who is not known is refused. What each may reach is what the last Follow
// has said. So it begins with what is recorded, and there is no moment in which a container
// without a record, or with an older list than Follow was given, gets anything.
//
// While no list has names nothing is listened for, and nothing is kept in memory.
//
// Be aware: what is carried ends with the process. The ports are recorded before they are used,
// and stay: rules that still stand when the process has ended lead to where nobody listens.
package byname

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/egress/names"
)

// Ports are where it is listened, at each of the host's addresses. The zero value is nowhere.
type Ports struct {
	DNS uint16 // of UDP and TCP
	TCP uint16 // of connections that are carried
}

// Way is an address that DNS is about to give, and the entry of the list by which something is
// reached there that is not carried.
type Way struct {
	Entry egress.Entry
	To    netip.Addr
}

// Config is what a Server works with. Seen, Failed and Lost may be nil: nobody is told.
type Config struct {
	// Resolvers asks those of the host.
	Resolvers names.Upstream
	// Local reports whether an address is the host's own, everybody's on a link, or of a container
	// of another engine's network. What it can't tell of is taken for one.
	Local func(netip.Addr) (bool, error)

	// Recorded are the ports that Record was told of last; zero: of none.
	Recorded func() (Ports, error)
	Record   func(Ports) error

	// Open opens ways for an endpoint for a time, and returns when they are open. It must fail if
	// the endpoint's list does not have an entry by then.
	Open func(ctx context.Context, endpoint string, ways []Way, lasting time.Duration) error

	// Seen is told of what was refused, or, with let, would be if the list did more than watch. It
	// must not block.
	Seen func(k denied.Key, let bool)
	// Failed is told why something of a listed name could not be had. It must not block.
	Failed func(name string, err error)
	// Lost is told that a socket has failed: the next Follow makes it anew.
	Lost func(error)
}

// Server serves the containers of one host. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	clients clients

	mu     sync.Mutex
	run    *run   // nil: nothing is listened for
	unused bool   // of run: nobody has names any more, and rules may still lead there
	past   Counts // of runs that have ended
}

// New returns a Server that listens nowhere, and knows nobody.
func New(cfg Config) (*Server, error) {
	if cfg.Resolvers == nil || cfg.Local == nil || cfg.Recorded == nil || cfg.Record == nil || cfg.Open == nil {
		return nil, errors.New("serving containers by host name needs resolvers, the host's addresses, what records ports, and what opens ways")
	}
	if cfg.Seen == nil {
		cfg.Seen = func(denied.Key, bool) {}
	}
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func(error) {}
	}
	return &Server{cfg: cfg}, nil
}

// Follow makes the lists those of a set, ends what they don't allow any more, and listens if
// something has names. It returns the ports to which the rules may lead now: they must not lead
// there before. Call it before the rules of the same set are made.
//
// When nothing has names any more, it is listened until Settled, so that the ports are nobody
// else's while rules lead there.
//
// Errors: that no port is to be had, or that it can't be recorded. Then it listens nowhere, and the
// lists are those of the set all the same.
func (s *Server) Follow(want Set) (Ports, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	less := s.clients.change(want)
	if less && s.run != nil {
		s.run.recheck()
	}
	s.unused = !want.Listen
	if s.unused {
		return Ports{}, nil
	}
	if s.run == nil {
		run, err := s.start()
		if err != nil {
			return Ports{}, fmt.Errorf("listen for containers that reach host names: %w", err)
		}
		s.run = run
	}
	return s.run.ports, nil
}

// Ports are those that Follow has returned last, for who only looks.
func (s *Server) Ports() Ports {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || s.unused {
		return Ports{}
	}
	return s.run.ports
}

// Settled says that the rules lead where the last Follow has said, and nowhere else.
func (s *Server) Settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unused {
		s.stop()
	}
}

// Close ends everything, and returns when all has ended.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

// stop ends what is served. The caller holds s.mu.
func (s *Server) stop() {
	if s.run == nil {
		return
	}
	s.run.end()
	s.past = s.past.plus(s.run.counts())
	s.run = nil
}

// lost is called when a socket of a run has failed.
func (s *Server) lost(r *run, err error) {
	s.mu.Lock()
	if s.run == r {
		s.stop()
	}
	s.mu.Unlock()
	s.cfg.Lost(err)
}
