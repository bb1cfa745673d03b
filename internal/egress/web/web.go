// Package web serves plain HTTP/1.x connections of containers that may reach listed names
// only: each request goes to the host that it names, if that is listed, and to no other.
//
// Requests are read with net/http and written anew, so that a server reads what was judged.
// What two readers could end at two places is refused before that (request smuggling): see
// check. httputil.ReverseProxy would do the rest, but behind net/http's server, which has by
// then forgotten what a request had too much of; http.Transport, which it uses, is used here.
//
// Servers see the requests as they are, but for what is of one connection alone (RFC 9110,
// 7.6.1), the order and case of header fields, and a target that names the host, of which the
// path is left. WebSocket (RFC 6455) is passed on, other upgrades are not offered.
//
// Be aware: that a client has gone away is seen when something is written to it.
// A refusal is an answer (403) with the reason, and ends the connection.
package web

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// Config is how connections are served. Policy and Dial are needed.
type Config struct {
	Policy hosts.Policy
	// Dial connects to a listed host, at an address that was resolved here.
	Dial func(ctx context.Context, name string, port uint16) (net.Conn, error)

	// Refused is told of what was refused, and of what would be if the list weren't one that
	// only watches (Audit, without a reason). It must not block. nil: nobody is told.
	Refused func(Refused, hosts.Verdict)
	// Failed is told why a listed host could not be asked. It must not block. nil: nobody is.
	Failed func(name string, err error)
}

// Refused is a request that a list does not allow, or that can't be judged.
type Refused struct {
	Client netip.Addr
	To     netip.AddrPort // where the client has connected to
	Name   string         // "": it names none
	Reason string
}

// Server serves connections. Its methods may be called from any goroutine.
type Server struct {
	cfg Config

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// New returns a Server without connections.
func New(cfg Config) (*Server, error) {
	if cfg.Policy == nil || cfg.Dial == nil {
		return nil, errors.New("serving HTTP needs a policy, and what connects to hosts")
	}
	return &Server{cfg: cfg, sessions: map[*session]struct{}{}}, nil
}

// Serve serves a client that has connected to an address, until its connection or the context
// ends. The caller closes the connection.
func (s *Server) Serve(ctx context.Context, client netip.Addr, to netip.AddrPort, c hosts.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := newSession(s, client, to, c, cancel)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	s.mu.Lock()
	s.sessions[x] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, x)
		s.mu.Unlock()
	}()
	x.serve(ctx)
}

// Recheck ends the connections whose last request lists don't allow any more. It is for
// whoever has changed a list, behind the change.
func (s *Server) Recheck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.sessions {
		x.mu.Lock()
		name := x.name
		x.mu.Unlock()
		if name != "" && s.cfg.Policy.Allowed(x.client, name, x.to.Port()) == hosts.Refuse {
			s.refused(Refused{x.client, x.to, name, "the list has no longer the host"}, hosts.Refuse)
			x.cancel()
		}
	}
}

func (s *Server) refused(r Refused, v hosts.Verdict) {
	if s.cfg.Refused != nil {
		s.cfg.Refused(r, v)
	}
}

func (s *Server) failed(name string, err error) {
	if s.cfg.Failed != nil {
		s.cfg.Failed(name, err)
	}
}
