package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readSize is what is copied at once. Who sends as much as that has more to send, which
	// is spliced, or where there is no pipe, copied in parts of copySize.
	readSize = 16 << 10
	copySize = 64 << 10
	// turnSize is what is copied for one connection before others have their turn.
	turnSize = 4 << 20
)

// connection is a client and its target. Everything but the flags belongs to who holds turn.
type connection struct {
	session *tcpSession
	target  netip.AddrPort
	from    netip.Addr
	link    atomic.Uint64 // as linkOf has it, and linkAsked; 0: nobody has asked for it
	turn    turn

	clientID, serverID uint64
	in, out            half // to the target, and back
	connected, ended   bool
	timer              *time.Timer // ends the attempt to connect

	reachable atomic.Bool // connect(2) has come to an end
	late      atomic.Bool // it has not, in time
	broken    atomic.Bool // an end is in error
}

// linkAsked tells a link that the kernel doesn't say from one that it was not asked for.
const linkAsked = 1 << 32

// via is the link by which the client has come. The caller holds turn, or nobody else has the
// connection yet, and it has not ended.
func (c *connection) via() uint32 {
	link := c.link.Load()
	if link == 0 {
		link = linkAsked | uint64(linkOf(c.in.src, c.session.account.at.Addr().Is6()))
		c.link.Store(link)
	}
	return uint32(link)
}

// followed reports whether the connection leads where the targets say, as far as that is known
// without turn: where it hangs on a link that nobody has asked for yet, it is not.
func (c *connection) followed(targets Targets) bool {
	unknown := false
	target := targets.of(c.from, func() uint32 {
		link := c.link.Load()
		unknown = link == 0
		return uint32(link)
	})
	return !unknown && target == c.target
}

// follow ends the connection unless it leads where the targets say.
func (c *connection) follow(targets Targets) {
	c.turn.mu.Lock()
	defer c.turn.mu.Unlock()
	if !c.ended && targets.of(c.from, c.via) != c.target {
		c.end(false)
	}
}

// begin waits for the target, unless the connection has been stopped. What happens
// meanwhile is left to the caller (turn.rest).
func (c *connection) begin() error {
	c.turn.mu.Lock()
	defer c.turn.mu.Unlock()
	if c.ended {
		return nil
	}
	c.timer = time.AfterFunc(c.session.relay.cfg.DialTimeout, func() {
		c.late.Store(true)
		c.turn.run(c, &worker{})
	})
	if err := c.session.poll.add(c.out.src, c, second, &c.serverID); err != nil {
		return err
	}
	return c.session.poll.add(c.in.src, c, first, &c.clientID)
}

// readable is what tells of something to read, be it an end.
const readable = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// half is the direction from an end.
func (c *connection) half(from side) *half {
	if from == first {
		return &c.in
	}
	return &c.out
}

func (c *connection) ready(w *worker, name side, events uint32) {
	if name == second && events&unix.EPOLLOUT != 0 {
		c.reachable.Store(true)
	}
	if events&readable != 0 {
		c.half(name).ready.Store(true)
	}
	if events&unix.EPOLLERR != 0 {
		c.broken.Store(true)
	}
	c.turn.run(c, w)
}

// step copies both ways until both have said that they are done. A client whose target
// can't be reached is reset, as it would be without anyone between. If either end breaks,
// both are reset, so that neither takes a part for the whole.
func (c *connection) step(w *worker) {
	if c.ended || !c.connected && !c.connects() {
		return
	}
	in, out := c.in.pump(w, &c.session.relay.pipes), c.out.pump(w, &c.session.relay.pipes)
	switch {
	case in == broke, out == broke, c.broken.Load() && (in == done || out == done):
		c.end(true)
	case in == done && out == done:
		c.end(false)
	case in == more || out == more:
		// What waits in a pipe is for the one, what is to be read at the other.
		c.session.poll.again(c.in.src, c.clientID)
		c.session.poll.again(c.out.src, c.serverID)
	}
}

// connects tells whether the target has been reached, and ends the connection if it can't be.
func (c *connection) connects() bool {
	if !c.reachable.Load() && !c.late.Load() {
		return false
	}
	errno, err := unix.GetsockoptInt(c.out.src, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || errno != 0 || !c.reachable.Load() {
		c.session.relay.tcp.unreachable.Add(1)
		c.end(true)
		return false
	}
	c.timer.Stop()
	c.connected = true
	return true
}

// stop ends the connection, whoever is about it.
func (c *connection) stop() {
	c.turn.mu.Lock()
	defer c.turn.mu.Unlock()
	c.end(false)
}

// end closes both ends.
func (c *connection) end(broken bool) {
	if c.ended {
		return
	}
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, h := range []*half{&c.in, &c.out} {
		h.drop(&c.session.relay.pipes)
	}
	c.session.poll.forget(c.clientID)
	c.session.poll.forget(c.serverID)
	for _, fd := range []int{c.in.src, c.out.src} {
		if broken {
			reset(fd)
		} else {
			_ = unix.Close(fd)
		}
	}
	c.session.gone(c)
}

// half is one direction of a connection.
type half struct {
	src, dst int
	count    *atomic.Uint64
	rest     []byte      // what was read and waits for room at dst
	kept     bool        // rest is no worker's memory
	pipe     *pipe       // nil unless something is spliced
	piped    int         // what is in it
	ready    atomic.Bool // src may have something
	bulk     bool        // there is much to copy
	ended    bool        // src has no more
	shut     bool        // dst knows
}

// outcome is where a direction is.
type outcome int

const (
	waits outcome = iota // for one of its ends
	more                 // it could go on at once
	done
	broke
)

// pump copies until an end has to be waited for. What says that src has nothing is known
// until an event says otherwise: most events are about the other direction.
func (h *half) pump(w *worker, p *pipes) outcome {
	if h.shut {
		return done
	}
	if !h.ready.Load() && len(h.rest) == 0 && h.piped == 0 {
		return waits
	}
	for moved := 0; moved < turnSize; {
		n, err := h.flush()
		moved += n
		h.count.Add(uint64(n))
		if err == nil && h.ended {
			return h.finish(p)
		}
		if err == nil {
			h.ready.Store(false)
			if err = h.fill(w, p); err == nil {
				h.ready.Store(true)
			}
		}
		switch {
		case err == unix.EAGAIN:
			if h.piped == 0 {
				h.drop(p)
			}
			h.keep()
			return waits
		case err != nil:
			return broke
		}
	}
	h.keep()
	return more
}

// fill reads once. Nothing that was read before is left.
func (h *half) fill(w *worker, p *pipes) (err error) {
	if h.bulk && h.pipe == nil {
		h.pipe = p.get()
	}
	var n int
	if h.pipe != nil {
		n, err = splice(h.src, h.pipe.ends[1], h.pipe.size)
		h.piped = max(n, 0)
	} else {
		buffer := w.stream()
		if !h.bulk {
			buffer = buffer[:readSize]
		}
		n, err = again(func() (int, error) { return unix.Read(h.src, buffer) })
		h.rest, h.kept = buffer[:max(n, 0)], false
	}
	if err == nil {
		h.ended, h.bulk = n == 0, n >= readSize
	}
	return err
}

// keep has the rest out of the worker's memory, which is for others next.
func (h *half) keep() {
	if len(h.rest) > 0 && !h.kept {
		h.rest, h.kept = append([]byte(nil), h.rest...), true
	}
}

// flush passes on what was read before. EAGAIN: not all of it.
func (h *half) flush() (moved int, err error) {
	if len(h.rest) > 0 {
		return h.write()
	}
	for h.piped > 0 {
		n, err := splice(h.pipe.ends[0], h.dst, h.piped)
		if err != nil {
			return moved, err
		}
		h.piped -= n
		moved += n
	}
	return moved, nil
}

// write passes on the rest.
func (h *half) write() (moved int, err error) {
	for len(h.rest) > 0 {
		n, err := again(func() (int, error) { return unix.Write(h.dst, h.rest) })
		if err != nil {
			return moved, err
		}
		h.rest = h.rest[n:]
		moved += n
	}
	h.rest = nil
	return moved, nil
}

// finish passes on the end of the stream.
func (h *half) finish(p *pipes) outcome {
	if !h.shut {
		h.drop(p)
		h.shut = true
		_ = unix.Shutdown(h.dst, unix.SHUT_WR)
	}
	return done
}

// drop gives the pipe back.
func (h *half) drop(p *pipes) {
	if h.pipe != nil {
		p.put(h.pipe, h.piped == 0)
		h.pipe, h.piped = nil, 0
	}
}

// splice moves up to n bytes.
func splice(from, to, n int) (int, error) {
	return again(func() (int, error) {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		return int(moved), err
	})
}

// again makes a call until no signal interrupts it.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}
