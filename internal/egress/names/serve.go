package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/egress/hosts"
)

// ServePacket answers what comes to a UDP socket until the context ends, and closes it then.
// Each answer leaves from the address that its question came to. It returns when the last query
// that it has begun is done.
//
// Errors: that the socket can't say where datagrams came to, or was closed by another; nil if the
// context has ended.
func (s *Server) ServePacket(ctx context.Context, c *net.UDPConn) error {
	var busy sync.WaitGroup
	defer busy.Wait()
	defer hosts.CloseWith(ctx, c)()
	p, err := newPackets(c)
	if err != nil {
		return fmt.Errorf("serve DNS at %s: %w", c.LocalAddr(), err)
	}
	buf := make([]byte, maxTCP)
	again := hosts.Backoff{}
	for {
		n, from, reply, err := p.read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve DNS at %s: %w", c.LocalAddr(), err)
		case err != nil:
			// An answer that did not arrive (ICMP), or no memory: it passes.
			again.Wait(ctx)
			continue
		}
		again = hosts.Backoff{}
		client := from.Addr().Unmap().WithZone("")
		if !s.queries.Enter(client) {
			s.counts.dropped.Add(1)
			continue // lost, as it may be on the way: clients ask again
		}
		query := append([]byte(nil), buf[:n]...)
		busy.Go(func() {
			defer s.queries.Leave(client)
			if answer := s.answer(ctx, client, query, false); answer != nil {
				_ = p.answer(answer, from, reply) // who doesn't get it asks again
			}
		})
	}
}

// ServeStream answers what comes to connections of a TCP socket until the context ends, and
// closes them and the socket then. It returns when the last one has ended.
//
// Errors: that the socket was closed by another; nil if the context has ended.
func (s *Server) ServeStream(ctx context.Context, l *net.TCPListener) error {
	return hosts.Accept(ctx, l, &s.conns, func(ctx context.Context, client netip.Addr, c *net.TCPConn) {
		defer context.AfterFunc(ctx, func() { c.Close() })()
		s.stream(ctx, client, c)
	})
}

// stream answers the queries of one connection, one after the other (RFC 7766). What breaks
// it concerns its client alone, who notices.
func (s *Server) stream(ctx context.Context, client netip.Addr, c net.Conn) {
	for {
		if c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		if !s.queries.Enter(client) {
			s.counts.dropped.Add(1)
			return
		}
		answer := s.answer(ctx, client, query, true)
		s.queries.Leave(client)
		if answer == nil || c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
