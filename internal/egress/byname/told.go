package byname

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mybr/mybr/internal/egress/denied"
	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/egress/names"
)

// How long ways stay open that DNS has given: longer than the answer may be used, by the time that
// a program may take from the answer to its first packet; and not less than a minute, for programs
// that ask once and connect several times.
const (
	behindTTL    = 30 * time.Second
	leastLasting = time.Minute
)

// forbidden tells addresses that no name leads to: those of the host, of which nobody is meant to
// get hold by an answer of a name server's (DNS rebinding), and of other containers.
func (s *Server) forbidden(a netip.Addr) bool {
	if s.clients.own(a.Unmap()) {
		return true
	}
	local, err := s.cfg.Local(a)
	return local || err != nil
}

// answered opens the ways to addresses that DNS is about to give, for what of the name is not
// carried.
func (s *Server) answered(ctx context.Context, a names.Answered) error {
	c := s.clients.find(a.Client)
	if c == nil {
		return fmt.Errorf("nobody has the address %s any more", a.Client)
	}
	var ways []Way
	entries := c.list.granting(a.Name)
	for _, to := range a.Addresses {
		from := c.V4
		if to = to.Unmap(); to.Is6() {
			from = c.V6
		}
		if !from.IsValid() {
			continue // it can't send there
		}
		for _, e := range entries {
			ways = append(ways, Way{e, to})
		}
	}
	if len(ways) == 0 {
		return nil
	}
	return s.cfg.Open(ctx, c.Endpoint, ways, max(a.TTL+behindTTL, leastLasting))
}

// Given is the name for which the container with one address was last answered another one, while
// that may be used and for a minute at least; "": there is none. Several names can have an address: it
// is what the container most likely means, and not what it has said.
func (s *Server) Given(from, to netip.Addr) string {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	if r == nil {
		return ""
	}
	return r.dns.Given(from.Unmap(), to.Unmap())
}

// refusedQuery tells of a question of DNS.
func (s *Server) refusedQuery(r names.Refused, v hosts.Verdict) {
	name, err := hosts.Question(r.Name)
	if err != nil {
		name = "" // it can have any bytes
	}
	s.seen(r.Client, denied.Key{Name: name, Protocol: "dns"}, v)
}

// refusedConnection tells of a connection, or of a request of HTTP. Of one that has named a host
// the address is no matter: it was the client's to choose.
func (s *Server) refusedConnection(client netip.Addr, to netip.AddrPort, name string, v hosts.Verdict) {
	k := denied.Key{Name: name, Port: to.Port(), Protocol: "tcp"}
	if name == "" {
		k.Address = to.Addr()
	}
	s.seen(client, k, v)
}

// seen tells of what a client of the set was refused. Who is none has no endpoint that it could be
// told of.
func (s *Server) seen(client netip.Addr, k denied.Key, v hosts.Verdict) {
	if c := s.clients.find(client); c != nil {
		k.Network, k.Endpoint = c.Network, c.Endpoint
		s.cfg.Seen(k, v == hosts.Audit)
	}
}
