package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Gate bounds what clients do at a time. A client has at most a quarter of what is free, too, so
// that several which take all they get leave something for others: it takes some 40 of them, and
// not All/Each, until nothing is left, and before that each who comes gets less. A lone client
// comes to a fifth of All. Its methods may be called from any goroutine.
type Gate struct {
	Each, All int // of one client, of all

	mu    sync.Mutex
	total int
	of    map[netip.Addr]int
}

// Enter reports whether a client may do one thing more; who may must Leave.
func (g *Gate) Enter(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	const share = 4
	has, free := g.of[client], g.All-g.total
	if free <= 0 || has >= g.Each || has > 0 && has >= free/share {
		return false
	}
	if g.of == nil {
		g.of = map[netip.Addr]int{}
	}
	g.total++
	g.of[client]++
	return true
}

// Leave undoes an Enter.
func (g *Gate) Leave(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.of[client]--; g.of[client] == 0 {
		delete(g.of, client)
	}
}

// Backoff is the pause before a socket that failed is asked again: 5 ms, then twice as long
// each time, at most 1 s. The zero value is ready for use.
type Backoff struct{ next time.Duration }

// Wait waits, or until the context ends.
func (b *Backoff) Wait(ctx context.Context) {
	b.next = min(max(2*b.next, 5*time.Millisecond), time.Second)
	t := time.NewTimer(b.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// CloseWith closes a socket when the context ends, so that whoever waits for something of it goes
// on. What it returns closes the socket at once, if that has not begun, and returns when the
// kernel has it no more, so that its port is free: a second Close would not wait for the first.
func CloseWith(ctx context.Context, socket io.Closer) (end func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		socket.Close()
	})
	return func() {
		if stop() {
			socket.Close()
		} else {
			<-closed
		}
	}
}

// Accept has each connection of a socket served by a goroutine, until the context ends; then
// it closes the socket. Who is one too many is reset. The context of a connection ends with
// Accept's, and the connection is closed when it was served. It returns when all have ended.
//
// Errors: that the socket was closed by another; nil if the context has ended.
func Accept(ctx context.Context, l *net.TCPListener, gate *Gate, serve func(context.Context, netip.Addr, *net.TCPConn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer busy.Wait()
	defer cancel()
	defer CloseWith(ctx, l)()
	var again Backoff
	for {
		c, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections at %s: %w", l.Addr(), err)
		case err != nil: // no descriptors or memory are left, which passes
			again.Wait(ctx)
			continue
		}
		again = Backoff{}
		from, ok := c.RemoteAddr().(*net.TCPAddr)
		if !ok {
			Reset(c)
			continue
		}
		client := from.AddrPort().Addr().Unmap().WithZone("")
		if !gate.Enter(client) {
			Reset(c)
			continue
		}
		busy.Go(func() {
			defer gate.Leave(client)
			defer c.Close()
			serve(ctx, client, c)
		})
	}
}

// Reset closes a connection so that its other end sees that it has broken.
func Reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // it fails for a connection that is closed
	c.Close()
}

// Conn is a client's connection, from its first byte.
type Conn interface {
	net.Conn
	CloseWrite() error
}
