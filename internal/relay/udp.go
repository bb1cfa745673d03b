package relay

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFlows is how many clients one socket remembers at a time. One more takes the place
	// of the client that has been silent longest, so that forged source addresses can't use
	// up the process's descriptors (a flow holds one).
	maxFlows = 1024
	// batchesAtOnce are received from a socket before others have their turn.
	batchesAtOnce = 8
)

// udpSession relays the datagrams of one socket, and the answers back to the client from
// the address that the client had sent to.
type udpSession struct {
	session
	flows map[flowKey]*flow // session.mu guards it
}

// flowKey is what one client and the address it talks to are known by.
type flowKey struct {
	client netip.AddrPort
	zone   uint32
	local  local
}

// address is the client's, with the name of the link for one that needs it.
func (k flowKey) address() netip.Addr {
	if k.zone == 0 {
		return k.client.Addr()
	}
	return zoned(k.client.Addr(), k.zone)
}

// known is a link that a datagram tells.
func known(link uint32) func() uint32 { return func() uint32 { return link } }

// zoned is an address with the name of a link; without, if there is none of that number.
func zoned(a netip.Addr, link uint32) netip.Addr {
	if l, err := net.InterfaceByIndex(int(link)); err == nil {
		return a.WithZone(l.Name)
	}
	return a
}

// UDP relays datagrams to the target of their family, each client from a socket of its own,
// until the session is stopped. The socket tells the address that a datagram was sent to, if
// it has IP_PKTINFO (ip(7)) or IPV6_RECVPKTINFO (RFC 3542) set; answers come from there. The
// address of the socket is for messages.
//
// Errors: what the kernel says that can't tell of more sockets (epoll_ctl(2)).
func (r *Relay) UDP(fd int, at netip.AddrPort, targets Targets) (Session, error) {
	s := &udpSession{session: session{relay: r, fd: fd, account: account{budget: r.cfg.Budget, network: "udp", at: at}, targets: targets}}
	if err := r.begin(&s.session, s); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *udpSession) Serve(targets Targets) {
	s.mu.Lock()
	s.targets = targets
	var others []*flow
	for _, f := range s.flows {
		if f.target != targets.of(f.key.address(), known(f.link)) {
			s.remove(f)
			others = append(others, f)
		}
	}
	s.mu.Unlock()
	for _, f := range others {
		f.stop()
	}
}

func (s *udpSession) Stop() {
	if !s.end() {
		return
	}
	s.Serve(Targets{})
	s.relay.leave(s.poll)
}

func (s *udpSession) ready(w *worker, _ side, _ uint32) { s.turn.run(s, w) }

// step takes datagrams to the target. Nothing that happens to one of them ends it.
func (s *udpSession) step(w *worker) {
	if s.stopped {
		return
	}
	b := w.datagrams()
	for range batchesAtOnce {
		n, err := b.receive(s.fd)
		if err != nil {
			return // EAGAIN; a socket that isn't connected has no other
		}
		s.forward(b, n)
		if n < batchSize {
			return
		}
	}
	s.poll.again(s.fd, s.id)
}

// forward sends the datagrams of a batch, those of one client that follow each other at once.
func (s *udpSession) forward(b *batch, n int) {
	for first := 0; first < n; {
		k, ok := b.key(first)
		last, bytes := first+1, b.size(first)
		for ; last < n; last++ {
			if next, _ := b.key(last); next != k || b.link(last) != b.link(first) {
				break
			}
			bytes += b.size(last)
		}
		if ok {
			if f := s.flow(k, b.link(first), &b.from[first], b.in[first].Namelen); f != nil {
				f.forward(b, first, last)
				s.relay.udp.in.Add(uint64(bytes))
			}
		}
		first = last
	}
}

// flow finds or makes the client's flow and notes that it is alive. Nil: it can't
// be made now, or the client is not served that comes by this link, and the datagram is lost.
func (s *udpSession) flow(k flowKey, link uint32, from *unix.RawSockaddrInet6, length uint32) *flow {
	s.mu.Lock()
	f, silent := s.flows[k], (*flow)(nil)
	switch {
	case f == nil:
		f, silent = s.newFlow(k, link, from, length)
	case f.link == link:
	case s.targets.of(k.address(), known(link)) == f.target: // it has moved
		f.link = link
	default:
		f = nil
	}
	if f != nil {
		f.touch() // before it can expire
	}
	s.mu.Unlock()
	if silent != nil {
		silent.stop()
	}
	return f
}

// newFlow makes a flow, and where there is no room removes the one that is to be stopped for
// it. The caller holds s.mu.
func (s *udpSession) newFlow(k flowKey, link uint32, from *unix.RawSockaddrInet6, length uint32) (f, silent *flow) {
	target := s.targets.of(k.address(), known(link))
	if !target.IsValid() {
		return nil, nil
	}
	if len(s.flows) >= maxFlows || !s.account.take(perFlow) {
		silent = s.evict()
		if !s.account.take(perFlow) {
			s.relay.udp.refused.Add(1)
			return nil, silent
		}
	}
	f = &flow{session: s, key: k, link: link, target: target, client: peer{addr: *from, length: length, control: k.local.oob()}, begun: time.Now()}
	if err := f.open(); err != nil {
		s.account.give(perFlow)
		return nil, silent
	}
	if s.flows == nil {
		s.flows = map[flowKey]*flow{}
	}
	s.flows[k] = f
	f.timer = time.AfterFunc(s.relay.cfg.UDPTimeout, f.expire)
	s.relay.udp.begun.Add(1)
	return f, silent
}

// remove takes a flow out of the table. The caller holds s.mu, and then stops the flow.
func (s *udpSession) remove(f *flow) {
	delete(s.flows, f.key)
	f.timer.Stop()
	s.relay.udp.ended.Add(1)
	s.account.give(perFlow)
}

// evict removes the client that has been silent longest, if there is one. The caller
// holds s.mu, and stops it then.
func (s *udpSession) evict() *flow {
	var longest *flow
	for _, f := range s.flows {
		if longest == nil || f.lastActive().Before(longest.lastActive()) {
			longest = f
		}
	}
	if longest != nil {
		s.remove(longest)
	}
	return longest
}
