package driver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/arbitrate"
	"github.com/mybr/mybr/internal/model"
)

// changed reports whether an operator has changed what the sandbox publishes.
func (s *shares) changed() bool {
	return slices.ContainsFunc(s.after, func(e model.Endpoint) bool { return len(e.Added)+len(e.Removed) > 0 })
}

// endpoint is that of an ID, which the sandbox has, to be changed.
func (s *shares) endpoint(id string) *model.Endpoint {
	return &s.after[slices.IndexFunc(s.after, func(e model.Endpoint) bool { return e.ID == id })]
}

// publishChanged is publish of what Docker asks for, after what an operator has changed of it. What
// was added never fails a call of Docker's: what can't be had any more is given up.
func (d *Driver) publishChanged(ctx context.Context, n model.Network, e model.Endpoint, s *shares, r arbitrate.Request) error {
	owner := e.PortOwner()
	if !s.changed() {
		return d.publish(ctx, owner, s, r)
	}
	s.after = slices.Clone(s.after)
	refused := func(r model.PortRequest) bool {
		return checkSCTP(r) != nil || d.checkRequests(n, e, []model.PortRequest{r}) != nil
	}
	if lost := s.inherit(n, e.ID, refused); len(lost) > 0 {
		d.warn("endpoint %s can't publish what was added to it, or to another one of its container: %v", short(e.ID), lost)
	}
	r.Ports = s.withoutRemoved(r.Ports)
	asked := r.Ports
	for _, b := range s.endpoint(e.ID).Added {
		if b.Host.IsValid() {
			for one := range b.Ones() {
				r.Ports = append(r.Ports, one.Request())
			}
		}
	}
	err := d.publish(ctx, owner, s, r)
	if err == nil || len(r.Ports) == len(asked) {
		return err
	}
	added := s.endpoint(e.ID).Added
	r.Ports = asked
	if again := d.publish(ctx, owner, s, r); again != nil {
		return again
	}
	s.endpoint(e.ID).Added = slices.DeleteFunc(slices.Clone(added), func(b model.PortBinding) bool { return b.Host.IsValid() })
	d.warn("endpoint %s publishes no longer what was added, %v: %v", short(e.ID), added, err)
	return nil
}

// inherit gives an endpoint what was added to others of its sandbox that publish nothing any more,
// as Docker has it publish in their place. What it has no address for is lost, and so is what is
// refused to it, of its own, too: its options may have changed since.
func (s *shares) inherit(n model.Network, id string, refused func(model.PortRequest) bool) (lost []model.PortBinding) {
	heir := s.endpoint(id)
	all := model.Ports(heir.Added...)
	for one := range all {
		if one.Host.IsValid() && refused(one.Request()) {
			delete(all, one)
			lost = append(lost, one)
		}
	}
	for i := range s.after {
		o := &s.after[i]
		if o.ID == id || o.Wanted != nil {
			continue
		}
		kept, published := model.Ports(o.Added...), model.Ports(o.Ports...)
		for one := range kept {
			if !one.Host.IsValid() || published[one] {
				continue
			}
			delete(kept, one)
			to := containerPort(model.FamilyOf(one.Host.Addr()), n, *heir, one.Container.Port())
			mine := one
			mine.Container = to
			if !to.IsValid() || refused(mine.Request()) {
				lost = append(lost, one)
				continue
			}
			all[mine] = true
		}
		o.Added = kept.Bindings()
	}
	heir.Added = all.Bindings()
	return model.Coalesce(lost)
}

// bequeath has another endpoint of the sandbox remember which of Docker's ports were taken away from
// one that leaves: Docker may have that publish them next, and what was taken away stays away while
// the container runs, unless it was added again. It is remembered as what would have led there.
func (s *shares) bequeath(id string) {
	leaving := s.endpoint(id)
	i := slices.IndexFunc(s.after, func(e model.Endpoint) bool { return e.ID != id })
	if i < 0 || len(leaving.Removed) == 0 {
		return
	}
	heir := &s.after[i]
	removed, back := model.Ports(heir.Removed...), model.Ports(leaving.Added...)
	for one := range model.Ports(leaving.Removed...) {
		if back[one] || !one.Host.IsValid() {
			continue // the latter: open at the address of the one that leaves, which nobody has then
		}
		f := model.FamilyOf(one.Container.Addr())
		if !heir.Address(f).IsValid() {
			f = f.Other()
		}
		one.Container = netip.AddrPortFrom(heir.Address(f).Addr(), one.Container.Port())
		removed[one] = true
	}
	heir.Removed = removed.Bindings()
}

// withoutRemoved is requests of Docker's without what was taken away from the sandbox. Each port
// that was taken away is missing once: of two that would do for it, the other one stays.
func (s *shares) withoutRemoved(requests []model.PortRequest) (left []model.PortRequest) {
	type place struct {
		proto     model.Proto
		host      netip.Addr
		container uint16
	}
	gone := map[place][]uint16{}
	for _, e := range s.after {
		for one := range model.Ports(e.Removed...) {
			at := place{one.Proto, one.Host.Addr(), one.Container.Port()}
			gone[at] = append(gone[at], one.Host.Port())
		}
	}
	for _, r := range requests {
		for _, f := range model.Families() {
			t := r.Target(f)
			at := place{r.Proto, t.Host, t.Container.Port()}
			i := slices.IndexFunc(gone[at], func(port uint16) bool { return r.First == 0 || r.First <= port && port <= r.Last })
			if t.Wanted() && i >= 0 {
				gone[at] = slices.Delete(gone[at], i, i+1)
				*t = model.Target{}
			}
		}
		if r.V4.Wanted() || r.V6.Wanted() {
			left = append(left, r)
		}
	}
	return left
}

// containers is a port of a container, whatever address it has.
type containers struct {
	proto model.Proto
	port  uint16
}

// taker finds what is to be taken away.
type taker struct {
	at    map[containers][]found
	slots map[containers]int // how many of them are ports of the host
}

// found is a port that an endpoint has, as of model.Endpoint.Added.
type found struct {
	endpoint int
	one      model.PortBinding
}

// take takes away what entries name, and returns it.
func (s *shares) take(entries []portEntry) ([]model.PortBinding, error) {
	t := taker{map[containers][]found{}, map[containers]int{}}
	for i, e := range s.after {
		for one := range model.Ports(append(openBindings(e), append(slices.Clone(e.Ports), e.Added...)...)...) {
			at := containers{one.Proto, one.Container.Port()}
			t.at[at] = append(t.at[at], found{i, one})
			if one.Host.IsValid() {
				t.slots[at]++
			}
		}
	}
	gone, all := map[int]model.PortSet{}, model.PortSet{}
	for _, entry := range entries {
		hits, err := t.find(entry)
		if err != nil {
			return nil, err
		}
		for _, hit := range hits {
			if gone[hit.endpoint] == nil {
				gone[hit.endpoint] = model.PortSet{}
			}
			gone[hit.endpoint][hit.one] = true
		}
	}
	s.after = slices.Clone(s.after)
	for i, of := range gone {
		for one := range without(&s.after[i], of) {
			all[one] = true
		}
	}
	for i := range s.after {
		s.removeTwins(i, all)
	}
	for i := range s.after {
		s.after[i].Wanted = withoutWanted(s.after[i].Wanted, all)
	}
	return all.Bindings(), nil
}

// removeTwins has what was taken away of IPv4 stay away of IPv6, where that was published for
// neither: on a host without IPv6, what names no address is published for IPv4 alone, and would be
// for IPv6 when Docker asks again.
func (s *shares) removeTwins(i int, gone model.PortSet) {
	type number struct {
		containers
		host uint16
	}
	six := map[number]bool{}
	for _, e := range s.before {
		for one := range model.Ports(e.Ports...) {
			if one.Host.Addr() == netip.IPv6Unspecified() {
				six[number{containers{one.Proto, one.Container.Port()}, one.Host.Port()}] = true
			}
		}
	}
	removed := model.Ports(s.after[i].Removed...)
	for one := range removed {
		if gone[one] && one.Host.Addr() == netip.IPv4Unspecified() && !six[number{containers{one.Proto, one.Container.Port()}, one.Host.Port()}] {
			one.Host = netip.AddrPortFrom(netip.IPv6Unspecified(), one.Host.Port())
			removed[one] = true
		}
	}
	s.after[i].Removed = removed.Bindings()
}

// find returns what an entry names. Where there are ports of the host for a port of the container,
// one that is named must be among them; what is reached without them goes with the last.
func (t taker) find(entry portEntry) (hits []found, err error) {
	host, err := entry.host()
	if err != nil {
		return nil, err
	}
	at := containers{model.Proto(entry.Proto), entry.Port}
	named := false
	for _, f := range t.at[at] {
		switch own := f.one.Host; {
		case !own.IsValid():
			if host.IsValid() && model.FamilyOf(host) != model.FamilyOf(f.one.Container.Addr()) {
				continue
			}
		case host.IsValid() && own.Addr() != host, entry.HostPort != 0 && (own.Port() < entry.HostPort || own.Port() > entry.HostPortEnd):
			continue
		default:
			named = true
		}
		hits = append(hits, f)
	}
	if len(hits) == 0 || entry.HostPort != 0 && !named && t.slots[at] > 0 {
		return nil, model.NotFound("port %s of the container is not published", entry)
	}
	return hits, nil
}

// String is the entry in the words of parsePortSpec.
func (p portEntry) String() string {
	text := fmt.Sprintf("%d/%s", p.Port, model.Proto(p.Proto))
	host := ""
	switch {
	case p.HostPort == 0:
	case p.HostPortEnd > p.HostPort:
		host = fmt.Sprintf("%d-%d", p.HostPort, p.HostPortEnd)
	default:
		host = fmt.Sprint(p.HostPort)
	}
	if a, err := p.host(); err == nil && a.IsValid() {
		if a.Is6() {
			return fmt.Sprintf("[%s]:%s:%s", a, host, text)
		}
		return fmt.Sprintf("%s:%s:%s", a, host, text)
	}
	if host != "" {
		return host + ":" + text
	}
	return text
}

// without takes ports away from an endpoint and returns those that went: what is open in a routed
// family stays as long as a port of the host leads to the same port of the container.
func without(e *model.Endpoint, gone model.PortSet) model.PortSet {
	ports, added, removed := model.Ports(e.Ports...), model.Ports(e.Added...), model.Ports(e.Removed...)
	led := map[containers]bool{}
	for one := range ports {
		if !gone[one] {
			led[containers{one.Proto, one.Container.Port()}] = true
		}
	}
	closed := map[model.Family]map[containers]bool{model.IPv4: {}, model.IPv6: {}}
	for one := range gone {
		if at := (containers{one.Proto, one.Container.Port()}); !one.Host.IsValid() {
			if led[at] {
				delete(gone, one)
				continue
			}
			closed[model.FamilyOf(one.Container.Addr())][at] = true
		}
		delete(ports, one)
		if added[one] {
			delete(added, one)
		} else {
			removed[one] = true
		}
	}
	e.Ports, e.Added, e.Removed = ports.Bindings(), added.Bindings(), removed.Bindings()
	for f, of := range closed {
		*e.Open(f) = opened(slices.DeleteFunc(entriesOf(*e.Open(f)), func(p portEntry) bool { return of[containers{model.Proto(p.Proto), p.Port}] }))
	}
	return gone
}

// withoutWanted is what an endpoint wants beside what was taken away.
func withoutWanted(wanted []model.PortRequest, gone model.PortSet) (left []model.PortRequest) {
	s := shares{after: []model.Endpoint{{Removed: gone.Bindings()}}}
	return s.withoutRemoved(wanted)
}
