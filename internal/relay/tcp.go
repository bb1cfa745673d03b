package relay

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// tcpSession relays the connections of one listening socket.
type tcpSession struct {
	session
	listener *net.TCPListener
	timeout  time.Duration // of the connection to the target

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	open   closers
}

// TCP accepts connections and relays each to target, until the session is stopped. A
// connection that can't be made to target, or breaks, is reset at its other end, too.
func (r *Relay) TCP(l *net.TCPListener, target netip.AddrPort) Session {
	s := &tcpSession{
		session:  session{target: target, account: &account{budget: r.cfg.Budget, addr: l.Addr()}, counts: &r.tcp},
		listener: l, timeout: r.cfg.DialTimeout,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	return s
}

// Stop closes every connection and waits until none is left.
func (s *tcpSession) Stop() {
	s.cancel()
	_ = s.listener.SetDeadline(time.Unix(1, 0)) // wakes accept
	s.open.closeAll()
	s.wg.Wait()
	_ = s.listener.SetDeadline(time.Time{})
}

// accept hands on what arrives. A failure of accept(2) that Stop has not caused (no
// descriptors or memory left) passes.
func (s *tcpSession) accept() {
	var again backoff
	for {
		client, err := s.listener.AcceptTCP()
		if err != nil {
			if !again.wait(s.ctx) {
				return
			}
			continue
		}
		again.reset()
		if !s.account.take(perConnection) {
			s.counts.refused.Add(1)
			_ = client.SetLinger(0)
			_ = client.Close()
			continue
		}
		s.counts.begun.Add(1)
		s.wg.Go(func() {
			defer s.account.give(perConnection)
			defer s.counts.ended.Add(1)
			s.relay(client)
		})
	}
}

// relay connects client with the target and copies both ways until both have
// said that they are done. A client whose target can't be reached is reset, as
// it would be without anyone between.
func (s *tcpSession) relay(client *net.TCPConn) {
	defer client.Close()
	if !s.open.add(client) {
		return
	}
	defer s.open.remove(client)

	dialer := net.Dialer{Timeout: s.timeout}
	conn, err := dialer.DialContext(s.ctx, "tcp", s.target.String())
	if err != nil {
		if s.ctx.Err() == nil { // else it is not the container's fault
			s.counts.unreachable.Add(1)
		}
		_ = client.SetLinger(0)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	if !s.open.add(server) {
		return
	}
	defer s.open.remove(server)

	var back sync.WaitGroup
	back.Go(func() { pipe(client, server, &s.counts.out) })
	pipe(server, client, &s.counts.in)
	back.Wait()
}

// pipe copies src to dst inside the kernel (io.Copy between TCP connections is
// splice(2), of a part of one too) and passes the end of the stream on. If either end
// breaks, both are reset, so that neither takes a part for the whole.
func pipe(dst, src *net.TCPConn, count *atomic.Uint64) {
	for {
		n, err := io.Copy(dst, io.LimitReader(src, countEvery))
		count.Add(uint64(n))
		if err != nil {
			break
		}
		if n < countEvery {
			_ = dst.CloseWrite()
			return
		}
	}
	_ = dst.SetLinger(0)
	_ = src.SetLinger(0)
	_ = dst.Close()
	_ = src.Close()
}

// closers is a set of what is to be closed at the end. The zero value is empty.
type closers struct {
	mu     sync.Mutex
	set    map[io.Closer]struct{}
	closed bool
}

// add reports false if the end has come already; c is not in the set then.
func (s *closers) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.set == nil {
		s.set = map[io.Closer]struct{}{}
	}
	s.set[c] = struct{}{}
	return true
}

func (s *closers) remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, c)
}

// closeAll closes what is in the set and lets nothing in any more.
func (s *closers) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.set {
		_ = c.Close()
	}
}

// backoff is the pause before something is tried again: 5 ms, then twice as long
// each time, at most 1 s. The zero value is ready for use.
type backoff struct{ next time.Duration }

// wait pauses and reports true, or false as soon as ctx has ended.
func (b *backoff) wait(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	b.next = min(max(2*b.next, 5*time.Millisecond), time.Second)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (b *backoff) reset() { b.next = 0 }
