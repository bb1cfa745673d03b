package relay

import (
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// flow is one client: a socket connected to the target.
type flow struct {
	session *udpSession
	key     flowKey
	link    uint32 // by which the client came last; session.mu guards it
	target  netip.AddrPort
	client  peer
	fd      int
	id      uint64
	turn    turn
	ended   bool        // while turn is held
	sending sync.Mutex  // held while the client's datagrams are sent, and to close fd; nothing is locked in it
	closed  bool        // sending guards it: fd may be another's
	timer   *time.Timer // session.mu guards it
	begun   time.Time
	active  atomic.Int64 // the last datagram either way, in nanoseconds since begun
}

// open makes the socket that is connected to the target.
func (f *flow) open() (err error) {
	domain, sa := sockaddr(f.target)
	if f.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err = unix.Connect(f.fd, sa); err == nil {
		err = f.session.poll.add(f.fd, f, first, &f.id)
	}
	if err != nil {
		_ = unix.Close(f.fd)
	}
	return err
}

// stop closes a flow that was removed. No worker is about it when it returns.
func (f *flow) stop() {
	f.turn.mu.Lock()
	defer f.turn.mu.Unlock()
	f.close()
}

// close ends the flow. The caller holds f.turn.
func (f *flow) close() {
	if !f.ended {
		f.ended = true
		f.session.poll.forget(f.id)
		f.sending.Lock()
		defer f.sending.Unlock()
		f.closed = true
		_ = unix.Close(f.fd)
	}
}

// forward sends some of a batch to the target, unless the flow has ended since it was found.
func (f *flow) forward(b *batch, first, last int) {
	f.sending.Lock()
	defer f.sending.Unlock()
	if !f.closed {
		b.send(f.fd, first, last, nil)
	}
}

// step takes the target's answers to the client.
func (f *flow) step(w *worker) {
	if f.ended {
		return
	}
	b := w.datagrams()
	for range batchesAtOnce {
		n, err := b.receive(f.fd)
		if err != nil {
			switch {
			case refused(err):
				continue
			case err != unix.EAGAIN:
				f.drop() // somebody has destroyed the socket (ss -K): the client gets another one
			}
			return
		}
		f.touch()
		bytes := 0
		for i := range n {
			bytes += b.size(i)
		}
		b.send(f.session.fd, 0, n, &f.client)
		f.session.relay.udp.out.Add(uint64(bytes))
		if n < batchSize {
			return
		}
	}
	f.session.poll.again(f.fd, f.id)
}

// expire ends the flow, save where a datagram has come meanwhile. While it is in the table
// no worker is about it: Stop returns when the table is empty, and then the socket that is
// answered at may be closed.
func (f *flow) expire() {
	f.turn.mu.Lock()
	f.expireIfSilent()
	f.turn.mu.Unlock()
	f.turn.rest(f, &worker{})
}

func (f *flow) expireIfSilent() {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[f.key] != f {
		return
	}
	if left := s.relay.cfg.UDPTimeout - time.Since(f.lastActive()); left > 0 {
		f.timer.Reset(left)
		return
	}
	s.remove(f)
	f.close()
}

// drop ends a flow whose socket is of no use any more. The caller holds f.turn.
func (f *flow) drop() {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[f.key] == f {
		s.remove(f)
		f.close()
	}
}

// lastActive has a monotonic clock reading, so that a flow neither ends early nor stays when
// the clock is set.
func (f *flow) lastActive() time.Time { return f.begun.Add(time.Duration(f.active.Load())) }

func (f *flow) ready(w *worker, _ side, _ uint32) { f.turn.run(f, w) }

func (f *flow) touch() { f.active.Store(int64(time.Since(f.begun))) }
