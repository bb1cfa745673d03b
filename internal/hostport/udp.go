package hostport

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

// maxFlows is how many clients one UDP port remembers at a time. One more drives
// out the one that has been silent longest, so that sources which somebody makes up
// can't use up the process's descriptors (a flow holds one).
const maxFlows = 1024

// udpCarrier takes the datagrams of one socket to one container port, and the
// answers back to the client from the address it had sent to.
type udpCarrier struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	target  netip.AddrPort
	idle    time.Duration
	buffers *datagrams
	account *account

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

// flow is one client: a socket connected to the container.
type flow struct {
	key    flowKey
	client unix.Sockaddr
	conn   *net.UDPConn
	raw    syscall.RawConn
	active atomic.Int64 // the last datagram either way, in Unix nanoseconds
}

// carryUDP carries until stop. idle is how long a client is remembered.
func carryUDP(conn *net.UDPConn, target netip.AddrPort, idle time.Duration, buffers *datagrams, account *account) (*udpCarrier, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &udpCarrier{conn: conn, raw: raw, target: target, idle: idle, buffers: buffers, account: account, flows: map[flowKey]*flow{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.forward)
	return c, nil
}

// stop forgets every client and waits until nothing is left.
func (c *udpCarrier) stop() {
	c.cancel()
	_ = c.conn.SetDeadline(time.Unix(1, 0)) // wakes forward, and backward if it waits to answer
	c.mu.Lock()
	for _, f := range c.flows {
		_ = f.conn.Close()
		c.account.give(perFlow)
	}
	clear(c.flows)
	c.mu.Unlock()
	c.wg.Wait()
}

// forward takes datagrams to the container. Nothing that happens to one of them
// ends it.
func (c *udpCarrier) forward() {
	var again backoff
	for {
		d, err := c.buffers.receive(c.raw)
		if err != nil {
			if !again.wait(c.ctx) {
				return
			}
			continue
		}
		again.reset()
		if f := c.flow(d); f != nil {
			f.send(d.bytes())
		}
		d.free()
	}
}

// flow finds or makes the client's flow and notes that it is alive. Nil: it can't
// be made now, and the datagram is lost.
func (c *udpCarrier) flow(d *datagram) *flow {
	k, ok := keyOfFlow(d)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flows[k]; f != nil {
		f.touch()
		return f
	}
	if c.ctx.Err() != nil {
		return nil // stop has closed what it saw
	}
	if len(c.flows) >= maxFlows || !c.account.take(perFlow) {
		c.evict()
		if !c.account.take(perFlow) {
			return nil
		}
	}
	conn, raw, err := c.dial()
	if err != nil {
		c.account.give(perFlow)
		return nil
	}
	f := &flow{key: k, client: d.from, conn: conn, raw: raw}
	f.touch()
	c.flows[k] = f
	c.wg.Go(func() { c.backward(f) })
	return f
}

// dial makes a socket that is connected to the container.
func (c *udpCarrier) dial() (*net.UDPConn, syscall.RawConn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.target))
	if err != nil {
		return nil, nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
	}
	return conn, raw, err
}

// remove takes a flow out of the table. The caller holds c.mu and closes it.
func (c *udpCarrier) remove(f *flow) {
	delete(c.flows, f.key)
	c.account.give(perFlow)
}

// evict forgets the client that has been silent longest, if there is one. The caller
// holds c.mu.
func (c *udpCarrier) evict() {
	var longest *flow
	for _, f := range c.flows {
		if longest == nil || f.active.Load() < longest.active.Load() {
			longest = f
		}
	}
	if longest == nil {
		return
	}
	c.remove(longest)
	_ = longest.conn.Close()
}

// backward takes the container's answers to the client, until the flow has been
// idle for long enough or was closed.
func (c *udpCarrier) backward(f *flow) {
	defer f.conn.Close()
	for {
		_ = f.conn.SetReadDeadline(f.lastActive().Add(c.idle))
		d, err := c.buffers.receive(f.raw)
		switch {
		case err == nil:
			f.touch()
			_ = answer(c.raw, d.bytes(), f.client, f.key.local) // as lossy as the wire
			d.free()
		case refused(err):
		case c.forget(f, errors.Is(err, os.ErrDeadlineExceeded)):
			return
		}
	}
}

// forget removes the flow and reports true; but not one that was only quiet, as
// idle says, if a datagram of the client has come meanwhile.
func (c *udpCarrier) forget(f *flow, idle bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flows[f.key] != f {
		return true
	}
	if idle && time.Since(f.lastActive()) < c.idle {
		return false
	}
	c.remove(f)
	return true
}

func (f *flow) lastActive() time.Time { return time.Unix(0, f.active.Load()) }

func (f *flow) touch() { f.active.Store(time.Now().UnixNano()) }

// send writes to the container. The first write after an ICMP error reports that
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
