package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxFlows is how many clients one socket remembers at a time. One more takes the place of
// the client that has been silent longest, so that forged source addresses can't use up
// the process's descriptors (a flow holds one).
const maxFlows = 1024

// udpSession relays the datagrams of one socket, and the answers back to the client from
// the address that the client had sent to.
type udpSession struct {
	session
	conn    *net.UDPConn
	raw     syscall.RawConn
	idle    time.Duration // how long a client is remembered
	buffers *datagrams

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	flows  map[flowKey]*flow
}

// flowKey is what one client and the address it talks to are known by.
type flowKey struct {
	client netip.AddrPort
	zone   uint32
	local  local
}

// flow is one client: a socket connected to the target.
type flow struct {
	key    flowKey
	client unix.Sockaddr
	conn   *net.UDPConn
	raw    syscall.RawConn
	begun  time.Time
	active atomic.Int64 // the last datagram either way, in nanoseconds since begun
}

// UDP relays datagrams to target, each client from a socket of its own, until the session
// is stopped. The socket tells the address that a datagram was sent to, if it has
// IP_PKTINFO (ip(7)) or IPV6_RECVPKTINFO (RFC 3542) set; answers come from there.
//
// Errors: conn is closed.
func (r *Relay) UDP(conn *net.UDPConn, target netip.AddrPort) (Session, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &udpSession{
		session: session{target: target, account: &account{budget: r.cfg.Budget, addr: conn.LocalAddr()}, counts: &r.udp},
		conn:    conn, raw: raw, idle: r.cfg.UDPTimeout, buffers: &r.buffers, flows: map[flowKey]*flow{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.forward)
	return s, nil
}

// Stop drops every client and waits until nothing is left.
func (s *udpSession) Stop() {
	s.cancel()
	_ = s.conn.SetDeadline(time.Unix(1, 0)) // wakes forward, and backward if it waits to answer
	s.mu.Lock()
	for _, f := range s.flows {
		s.remove(f)
		_ = f.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	_ = s.conn.SetDeadline(time.Time{})
}

// forward takes datagrams to the target. Nothing that happens to one of them
// ends it.
func (s *udpSession) forward() {
	var again backoff
	for {
		d, err := s.buffers.receive(s.raw)
		if err != nil {
			if !again.wait(s.ctx) {
				return
			}
			continue
		}
		again.reset()
		if f := s.flow(d); f != nil {
			f.send(d.bytes())
			s.counts.in.Add(uint64(d.n))
		}
		d.free()
	}
}

// flow finds or makes the client's flow and notes that it is alive. Nil: it can't
// be made now, and the datagram is lost.
func (s *udpSession) flow(d *datagram) *flow {
	k, ok := keyOfFlow(d)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flows[k]; f != nil {
		f.touch()
		return f
	}
	if s.ctx.Err() != nil {
		return nil // Stop has closed what it saw
	}
	if len(s.flows) >= maxFlows || !s.account.take(perFlow) {
		s.evict()
		if !s.account.take(perFlow) {
			s.counts.refused.Add(1)
			return nil
		}
	}
	conn, raw, err := s.dial()
	if err != nil {
		s.account.give(perFlow)
		return nil
	}
	f := &flow{key: k, client: d.from, conn: conn, raw: raw, begun: time.Now()}
	f.touch()
	s.flows[k] = f
	s.counts.begun.Add(1)
	s.wg.Go(func() { s.backward(f) })
	return f
}

// dial makes a socket that is connected to the target.
func (s *udpSession) dial() (*net.UDPConn, syscall.RawConn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.target))
	if err != nil {
		return nil, nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
	}
	return conn, raw, err
}

// remove takes a flow out of the table. The caller holds s.mu, and closes the flow.
func (s *udpSession) remove(f *flow) {
	delete(s.flows, f.key)
	s.counts.ended.Add(1)
	s.account.give(perFlow)
}

// evict drops the client that has been silent longest, if there is one. The caller
// holds s.mu.
func (s *udpSession) evict() {
	var longest *flow
	for _, f := range s.flows {
		if longest == nil || f.lastActive().Before(longest.lastActive()) {
			longest = f
		}
	}
	if longest == nil {
		return
	}
	s.remove(longest)
	_ = longest.conn.Close()
}

// backward takes the target's answers to the client, until the flow has been
// idle for long enough or was closed.
func (s *udpSession) backward(f *flow) {
	defer f.conn.Close()
	for {
		_ = f.conn.SetReadDeadline(f.lastActive().Add(s.idle))
		d, err := s.buffers.receive(f.raw)
		switch {
		case err == nil:
			f.touch()
			_ = answer(s.raw, d.bytes(), f.client, f.key.local) // as lossy as the wire
			s.counts.out.Add(uint64(d.n))
			d.free()
		case refused(err):
		case s.expire(f, errors.Is(err, os.ErrDeadlineExceeded)):
			return
		}
	}
}

// expire removes the flow and reports true, save where idle says that the flow was only
// quiet and a datagram of the client has come meanwhile.
func (s *udpSession) expire(f *flow, idle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[f.key] != f {
		return true
	}
	if idle && time.Since(f.lastActive()) < s.idle {
		return false
	}
	s.remove(f)
	return true
}

// lastActive has a monotonic clock reading, so that a flow neither ends early nor stays when
// the clock is set.
func (f *flow) lastActive() time.Time { return f.begun.Add(time.Duration(f.active.Load())) }

func (f *flow) touch() { f.active.Store(int64(time.Since(f.begun))) }

// send writes to the target. The first write after an ICMP error reports that
// error instead of sending, so it is done once more.
func (f *flow) send(p []byte) {
	if _, err := f.conn.Write(p); err != nil && refused(err) {
		_, _ = f.conn.Write(p)
	}
}

// keyOfFlow reads the client's address.
func keyOfFlow(d *datagram) (flowKey, bool) {
	switch sa := d.from.(type) {
	case *unix.SockaddrInet4:
		return flowKey{client: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), local: d.local}, true
	case *unix.SockaddrInet6:
		return flowKey{client: netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), zone: sa.ZoneId, local: d.local}, true
	}
	return flowKey{}, false
}
