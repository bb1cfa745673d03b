package relay

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// acceptAtOnce is how many connections a worker accepts before others have their turn.
const acceptAtOnce = 64

// tcpSession relays the connections of one listening socket.
type tcpSession struct {
	session
	again backoff
	retry *time.Timer // nil unless accept(2) has failed; while turn is held

	conns map[*connection]struct{} // session.mu guards it
}

// TCP accepts the connections of a listening socket and relays each to the target of its
// family, until the session is stopped. A connection that can't be made to the target, or
// breaks, is reset at its other end, too. What is accepted has the options of the listening
// socket (KeepAlive). The address of the socket is for messages.
//
// Errors: what the kernel says that can't tell of more sockets (epoll_ctl(2)).
func (r *Relay) TCP(fd int, at netip.AddrPort, targets Targets) (Session, error) {
	s := &tcpSession{
		session: session{relay: r, fd: fd, account: account{budget: r.cfg.Budget, network: "tcp", at: at}, targets: targets},
		conns:   map[*connection]struct{}{},
	}
	if err := r.begin(&s.session, s); err != nil {
		return nil, err
	}
	return s, nil
}

// keepAlive is how long a connection is silent before its end is asked whether it is still
// there, and then how long for each of nine answers (net.core's tcp_keepalive_probes): as
// the net package, and so docker-proxy, has it.
const keepAlive = 15 // seconds

// KeepAlive sets what both sockets of a relayed connection have: dead ends are noticed, and
// what is small is sent at once. Accepted sockets have it from the listening one.
func KeepAlive(fd int) error {
	for _, o := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	return nil
}

func (s *tcpSession) Serve(targets Targets) {
	s.mu.Lock()
	s.targets = targets
	var others []*connection
	for c := range s.conns {
		if !c.followed(targets) {
			others = append(others, c)
		}
	}
	s.mu.Unlock()
	for _, c := range others {
		c.follow(targets)
	}
}

func (s *tcpSession) Stop() {
	if !s.end() {
		return
	}
	s.Serve(Targets{})
	s.relay.leave(s.poll)
}

func (s *tcpSession) ready(w *worker, _ side, _ uint32) { s.turn.run(s, w) }

// step accepts what has come.
func (s *tcpSession) step(w *worker) {
	if s.stopped {
		return
	}
	for range acceptAtOnce {
		fd, from, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			s.again.reset()
			s.accepted(fd, addressOf(from), w)
		case err == unix.EAGAIN, err == unix.EINVAL: // none; it listens no longer
			return
		case err == unix.EINTR, err == unix.ECONNABORTED:
		default: // no descriptors or memory are left, which passes
			if s.retry != nil {
				s.retry.Stop()
			}
			s.retry = time.AfterFunc(s.again.longer(), func() { s.turn.run(s, &worker{}) })
			return
		}
	}
	s.poll.again(s.fd, s.id)
}

// accepted begins to connect a client with its target.
func (s *tcpSession) accepted(fd int, from netip.AddrPort, w *worker) {
	c := &connection{session: s, from: from.Addr()}
	c.in.src = fd
	s.mu.Lock()
	targets := s.targets
	s.mu.Unlock()
	target := targets.of(c.from, c.via)
	if !target.IsValid() {
		reset(fd)
		return
	}
	counts := &s.relay.tcp
	if !s.account.take(perConnection) {
		counts.refused.Add(1)
		reset(fd)
		return
	}
	counts.begun.Add(1)
	c.target, c.in.count, c.out.count = target, &counts.in, &counts.out
	server, err := dial(target)
	if err != nil {
		counts.unreachable.Add(1)
		s.gone(c)
		reset(fd)
		return
	}
	c.in.dst, c.out.src, c.out.dst = server, server, fd
	s.mu.Lock()
	served := s.targets.of(c.from, c.via) == target
	if served {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if served {
		served = c.begin() == nil
	}
	if !served {
		c.stop()
	}
	c.turn.rest(c, w)
}

// gone notes that a connection has ended, which has no descriptors any more.
func (s *tcpSession) gone(c *connection) {
	s.relay.tcp.ended.Add(1)
	s.account.give(perConnection)
	s.mu.Lock() // last: Stop waits for what is in the table
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// dial begins to connect.
func dial(to netip.AddrPort) (fd int, err error) {
	domain, sa := sockaddr(to)
	if fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, err
	}
	if err = KeepAlive(fd); err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// reset closes a connection so that its other end sees that it has broken.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// backoff is the pause before something is tried again: 5 ms, then twice as long
// each time, at most 1 s. The zero value is ready for use.
type backoff struct{ next time.Duration }

func (b *backoff) longer() time.Duration {
	b.next = min(max(2*b.next, 5*time.Millisecond), time.Second)
	return b.next
}

func (b *backoff) reset() { b.next = 0 }
