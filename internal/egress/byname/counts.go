package byname

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/mybr/mybr/internal/egress/hosts"
	"github.com/mybr/mybr/internal/egress/names"
	"github.com/mybr/mybr/internal/egress/web"
)

// Carried is connections of one kind.
type Carried struct{ Begun, Ended uint64 }

// Counts is what was served since the process began.
type Counts struct {
	TLS, HTTP   Carried
	Refused     uint64 // connections, and requests of HTTP
	Unreachable uint64 // connections and requests to listed hosts that could not be reached
	Out, In     uint64 // bytes to hosts, and from them
	DNS         names.Counts
}

// plus is both together.
func (c Counts) plus(o Counts) Counts {
	c.TLS.Begun, c.TLS.Ended = c.TLS.Begun+o.TLS.Begun, c.TLS.Ended+o.TLS.Ended
	c.HTTP.Begun, c.HTTP.Ended = c.HTTP.Begun+o.HTTP.Begun, c.HTTP.Ended+o.HTTP.Ended
	c.Refused, c.Unreachable = c.Refused+o.Refused, c.Unreachable+o.Unreachable
	c.Out, c.In = c.Out+o.Out, c.In+o.In
	c.DNS.Answered += o.DNS.Answered
	c.DNS.Refused += o.DNS.Refused
	c.DNS.Failed += o.DNS.Failed
	c.DNS.Malformed += o.DNS.Malformed
	c.DNS.Dropped += o.DNS.Dropped
	return c
}

// Counts is what has been served up to now.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return s.past
	}
	return s.past.plus(s.run.counts())
}

func (r *run) counts() Counts {
	c, w := r.carrier.Counts(), r.web
	return Counts{
		TLS: Carried{c.Begun, c.Ended}, HTTP: Carried{w.begun.Load(), w.ended.Load()},
		Refused: c.Refused + w.refused.Load(), Unreachable: c.Unreachable + w.unreachable.Load(),
		Out: c.Out + w.out.Load(), In: c.In + w.in.Load(),
		DNS: r.dns.Counts(),
	}
}

// webCounted is a web.Server, with its connections and their bytes counted.
type webCounted struct {
	*web.Server
	begun, ended, refused, unreachable, out, in atomic.Uint64
}

// Serve implements carry.Web.
func (w *webCounted) Serve(ctx context.Context, client netip.Addr, to netip.AddrPort, c hosts.Conn) {
	w.begun.Add(1)
	defer w.ended.Add(1)
	w.Server.Serve(ctx, client, to, countedConn{c, w})
}

type countedConn struct {
	hosts.Conn
	of *webCounted
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.of.out.Add(uint64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.of.in.Add(uint64(n))
	return n, err
}
