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
)

// ServePacket answers what comes to a UDP socket until the context ends, and closes it then.
// It returns when the last query that it has begun is done.
//
// Errors: what reading from the socket says; nil if the context has ended.
func (s *Server) ServePacket(ctx context.Context, c *net.UDPConn) error {
	var busy sync.WaitGroup
	defer busy.Wait()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	buf := make([]byte, maxTCP)
	again := backoff{}
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve DNS at %s: %w", c.LocalAddr(), err)
		case err != nil:
			// An answer that did not arrive (ICMP), or no memory: it passes.
			again.wait(ctx)
			continue
		}
		again = backoff{}
		client := from.Addr().Unmap()
		if !s.queries.enter(client) {
			continue // lost, as it may be on the way: clients ask again
		}
		query := append([]byte(nil), buf[:n]...)
		busy.Go(func() {
			defer s.queries.leave(client)
			if answer := s.answer(ctx, client, query, false); answer != nil {
				_, _ = c.WriteToUDPAddrPort(answer, from) // who doesn't get it asks again
			}
		})
	}
}

// ServeStream answers what comes to connections of a TCP socket until the context ends, and
// closes them and the socket then. It returns when the last one has ended.
//
// Errors: what accepting says; nil if the context has ended.
func (s *Server) ServeStream(ctx context.Context, l *net.TCPListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer busy.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	again := backoff{}
	for {
		c, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve DNS at %s: %w", l.Addr(), err)
		case err != nil: // no descriptors or memory are left, which passes
			again.wait(ctx)
			continue
		}
		again = backoff{}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.conns.enter(client) {
			c.Close()
			continue
		}
		busy.Go(func() {
			defer s.conns.leave(client)
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.stream(ctx, client, c)
		})
	}
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
		if !s.queries.enter(client) {
			return
		}
		answer := s.answer(ctx, client, query, true)
		s.queries.leave(client)
		if answer == nil || c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// backoff is the pause before a socket that failed is asked again: 5 ms, then twice as long
// each time, at most 1 s.
type backoff struct{ next time.Duration }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, 5*time.Millisecond), time.Second)
	select {
	case <-ctx.Done():
	case <-time.After(b.next):
	}
}
