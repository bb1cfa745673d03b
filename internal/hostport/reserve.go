package hostport

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/relay"
)

// reservation is what one call of Reserve has claimed and no Apply has adopted yet.
type reservation struct {
	m       *Manager
	owner   string
	hasIPv6 bool
	ports   *span // for ephemeral requests; nil if there is none

	claimed map[*socket]netip.AddrPort // with the container's port each is for
	mine    map[destination][]uint16   // the numbers that the owner held before
	chosen  []model.PortBinding        // one port each
}

// destination is what a chosen number is remembered by.
type destination struct {
	proto     model.Proto
	host      netip.Addr
	container netip.AddrPort
}

// Reserve chooses a host port for every request and binds it, dropping what arrives
// until Apply adopts it. The requests may come in any order and the result does not
// depend on it: the fewest bindings, sorted by protocol and host address. What owner
// holds already is free for it, and a request whose number was left open keeps the
// number that owner holds for it, so that a repeated call gives the same answer.
//
// No Apply closes what is reserved, until release or adoption ends that: an Apply
// that wants a port for the same owner and container port ends every reservation of
// it. release gives back what no Apply has adopted; it may be called always and more
// than once.
//
// Errors: nothing stays bound that this call has bound, and release does nothing.
// model.ErrInvalid; *ConflictError and *RangeError; *BindError with the kernel's reason, or
// with a *relay.LimitError.
func (m *Manager) Reserve(owner string, reqs []model.PortRequest) ([]model.PortBinding, func(), error) {
	nothing := func() {}
	ordered := slices.Clone(reqs)
	for i := range ordered {
		if err := check(ordered[i]); err != nil {
			return nil, nothing, err
		}
		ordered[i] = unmapped(ordered[i])
	}
	slices.SortFunc(ordered, byDeadline)

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nothing, net.ErrClosed
	}
	r, err := m.newReservation(owner, ordered)
	if err != nil {
		return nil, nothing, err
	}
	for _, req := range ordered {
		if err := r.take(req); err != nil {
			r.giveBack()
			return nil, nothing, err
		}
	}
	fault.Passed("hostport: after a reservation")
	return model.Coalesce(r.chosen), r.release, nil
}

// newReservation prepares what the requests need. The caller holds m.mu.
func (m *Manager) newReservation(owner string, reqs []model.PortRequest) (_ *reservation, err error) {
	sockets := 0
	for _, req := range reqs {
		sockets += wanted(req)
	}
	r := &reservation{m: m, owner: owner, mine: map[destination][]uint16{},
		claimed: make(map[*socket]netip.AddrPort, sockets), chosen: make([]model.PortBinding, 0, sockets)}
	if slices.ContainsFunc(reqs, func(req model.PortRequest) bool { return bothEverywhere(req) }) {
		if r.hasIPv6, err = hasIPv6(); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(reqs, func(req model.PortRequest) bool { return req.First == 0 }) {
		if r.ports, err = ephemeral(m.cfg.Root); err != nil {
			return nil, fmt.Errorf("choose a host port: %w", err)
		}
	}
	for s := range m.owned(owner) {
		for _, container := range s.containers() {
			d := destination{proto: s.proto, host: s.host.Addr(), container: container}
			r.mine[d] = append(r.mine[d], s.host.Port())
		}
	}
	return r, nil
}

// take finds the first number that is free on every address of the request.
func (r *reservation) take(req model.PortRequest) error {
	targets := r.targets(req)
	for port := range r.numbers(req, targets) {
		err := r.takeNumber(req, targets, port)
		if err == nil {
			return nil
		}
		var limit *relay.LimitError
		if !errors.Is(err, model.ErrConflict) || fixed(req) || errors.As(err, &limit) {
			return err
		}
	}
	full := &RangeError{Addr: netip.AddrPortFrom(targets[0].Host, req.First), Last: req.Last, Proto: req.Proto}
	if req.First == 0 {
		full.Addr, full.Last = netip.AddrPortFrom(targets[0].Host, r.ports.first), r.ports.last
	}
	return full
}

// targets are those that get the same number.
func (r *reservation) targets(req model.PortRequest) []model.Target {
	if bothEverywhere(req) && !r.hasIPv6 {
		return []model.Target{req.V4}
	}
	return targets(req)
}

// numbers yields the host ports that would do, best first: what the owner holds for
// the same container port, then the range upwards, or for an ephemeral request the
// host's range as choices has it.
func (r *reservation) numbers(req model.PortRequest, targets []model.Target) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for _, port := range r.before(req, targets) {
			if !yield(port) {
				return
			}
		}
		if req.First == 0 {
			for port := range r.ports.choices(r.m.last[req.Proto]) {
				r.m.last[req.Proto] = port
				if !yield(port) {
					return
				}
			}
			return
		}
		for port := int(req.First); port <= int(req.Last); port++ {
			if !yield(uint16(port)) {
				return
			}
		}
	}
}

// before lists the numbers that the owner holds for the request on one of the
// addresses: those it holds on all of them first, then the lower first.
func (r *reservation) before(req model.PortRequest, targets []model.Target) []uint16 {
	count := map[uint16]int{}
	for _, t := range targets {
		for _, port := range r.mine[destination{proto: req.Proto, host: t.Host, container: t.Container}] {
			if req.First == 0 || req.First <= port && port <= req.Last {
				count[port]++
			}
		}
	}
	return slices.SortedFunc(maps.Keys(count), func(a, b uint16) int {
		return cmp.Or(-cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	})
}

// takeNumber claims one number on all the addresses, or on none.
func (r *reservation) takeNumber(req model.PortRequest, targets []model.Target, port uint16) error {
	var fresh []*socket
	if bothEverywhere(req) && len(targets) == 2 {
		r.m.openBoth(key{proto: req.Proto, host: netip.AddrPortFrom(targets[0].Host, port)}, r.owner)
	}
	for _, t := range targets {
		s, err := r.claimable(key{proto: req.Proto, host: netip.AddrPortFrom(t.Host, port)}, req, t)
		if err != nil {
			for _, s := range fresh {
				r.unclaim(s)
			}
			r.m.settle()
			return err
		}
		if _, again := r.claimed[s]; !again {
			fresh = append(fresh, s)
			r.claimed[s] = t.Container
			s.pending = append(s.pending, r)
			r.m.touch(r.owner)
		}
	}
	for _, t := range targets {
		r.chosen = append(r.chosen, model.PortBinding{
			Proto: req.Proto, Host: netip.AddrPortFrom(t.Host, port), Container: t.Container, Count: 1,
		})
	}
	return nil
}

// claimable returns the socket for k: the owner's, if this call has not given it to
// another request, or a new one. A request for one number that was made twice is
// one request.
func (r *reservation) claimable(k key, req model.PortRequest, t model.Target) (*socket, error) {
	s := r.m.find(k)
	if s != nil && s.destroyed() {
		r.m.drop(s)
		s = nil
	}
	if s == nil {
		return r.m.open(k, r.owner, t.Container)
	}
	container, again := r.claimed[s]
	if s.owner == r.owner && (!again || fixed(req) && container == t.Container) {
		return s, nil
	}
	return nil, &ConflictError{Addr: k.host}
}

// unclaim takes the claim back, and closes the socket if it has no other claim and is not
// adopted.
func (r *reservation) unclaim(s *socket) {
	delete(r.claimed, s)
	s.unclaimed(r)
	if len(s.pending) == 0 && !s.adopted {
		r.m.drop(s)
	}
}

// unclaimed removes a claim.
func (s *socket) unclaimed(r *reservation) {
	if s.pending = slices.DeleteFunc(s.pending, func(other *reservation) bool { return other == r }); len(s.pending) == 0 {
		s.pending = nil
	}
}

// giveBack takes back every claim that no Apply has adopted. The caller holds m.mu.
func (r *reservation) giveBack() {
	for s := range r.claimed {
		if slices.Contains(s.pending, r) {
			r.unclaim(s)
		}
	}
	clear(r.claimed)
	r.m.settle()
}

// release is giveBack for the caller of Reserve.
func (r *reservation) release() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if !r.m.closed { // Close has given everything back
		r.giveBack()
	}
}
