package driver

import (
	"context"

	"github.com/mybr/mybr/internal/arbitrate"
	"github.com/mybr/mybr/internal/model"
)

// AddPorts publishes more ports of an endpoint, in the words of `docker run -p`, until it leaves
// its sandbox, and returns what that gave. They are published, or opened, as they would be at the
// start of the container, and refused for the same reasons. If one can't be had, none is published.
func (d *Driver) AddPorts(ctx context.Context, networkID, id string, specs []string) (added []model.PortBinding, err error) {
	defer wrap(&err, publishing, id)
	entries, err := parsePortSpecs(specs)
	if err != nil {
		return nil, err
	}
	defer d.beginEndpoint(networkID, id)()
	n, e, unlock, err := d.lockedEndpoint(networkID, id)
	defer unlock()
	switch {
	case err != nil:
		return nil, err
	case n.Internal:
		return nil, model.Invalid("its network %s is internal and publishes nothing: name another network of the container's", short(n.ID))
	case e.Sandbox == "":
		return nil, model.Conflict("no container has joined it")
	}
	requests, open, err := d.additions(entries, n, e)
	if err != nil {
		return nil, err
	}
	if err := d.checkRequests(n, e, requests); err != nil {
		return nil, err
	}
	s, err := d.sandbox(e.PortOwner())
	if err != nil {
		return nil, err
	}
	defer s.release()
	if err := d.addPorts(ctx, e, s, requests); err != nil {
		return nil, err
	}
	after := s.endpoint(id)
	fresh := model.Ports(after.Ports...)
	for one := range model.Ports(e.Ports...) {
		delete(fresh, one)
	}
	added = fresh.Bindings()
	for f, spans := range open {
		before := *after.Open(f)
		*after.Open(f) = opened(append(entriesOf(before), entriesOf(spans)...))
		for _, span := range spans {
			for _, b := range atContainer(span, e.Address(f).Addr()) {
				fresh[b] = true
				added = append(added, b)
			}
		}
	}
	after.Added = model.Ports(append(fresh.Bindings(), after.Added...)...).Bindings()
	return added, d.commit(ctx, d.kindOf(n.ID).subject(e), s.put)
}

// addPorts reserves what is to be added. If that fails because of endpoints of other sandboxes that
// are stale, they are removed, and it is tried once more.
func (d *Driver) addPorts(ctx context.Context, e model.Endpoint, s *shares, requests []model.PortRequest) error {
	owner := e.PortOwner()
	after, err := arbitrate.Add(s.after, e.ID, requests, d.reserve(owner, s))
	if err != nil && d.removeStaleHolders(ctx, owner, requests) {
		after, err = arbitrate.Add(s.after, e.ID, requests, d.reserve(owner, s))
	}
	if err == nil {
		s.after = after
	}
	return err
}

// additions are the requests of entries, and what they open that is not open yet. Other than at the
// start of a container, an entry that does nothing is refused: somebody waits for its port.
func (d *Driver) additions(entries []portEntry, n model.Network, e model.Endpoint) (requests []model.PortRequest, open map[model.Family][]model.PortSpan, err error) {
	fresh := map[model.Family][]portEntry{}
	have := map[model.Family]map[model.PortSpan]bool{}
	for _, f := range model.Families() {
		have[f] = map[model.PortSpan]bool{}
		for _, entry := range entriesOf(*e.Open(f)) {
			have[f][entry.span()] = true
		}
	}
	for _, entry := range entries {
		r, err := parsePort(entry, d.bound(n), e, true)
		if err != nil {
			return nil, nil, err
		}
		wanted := r.V4.Wanted() || r.V6.Wanted()
		if wanted {
			requests = append(requests, r)
		}
		opens, err := openedBy([]portEntry{entry}, n, e)
		if err != nil {
			return nil, nil, err
		}
		already := false
		for f, spans := range opens {
			switch {
			case len(spans) == 0:
			case have[f][entry.span()]:
				already = true
			default:
				fresh[f], wanted = append(fresh[f], entry), true
			}
		}
		switch {
		case wanted:
		case already:
			return nil, nil, model.Conflict("port %s is open at the container's own address already", entry)
		default:
			return nil, nil, model.Invalid("port %s: nothing leads to the container from that address of the host", entry)
		}
	}
	open = map[model.Family][]model.PortSpan{}
	for f, of := range fresh {
		open[f] = opened(of)
	}
	return requests, open, nil
}

// RemovePorts takes published ports of an endpoint's sandbox away, in the words of AddPorts, and
// returns what went: whether Docker has published them or AddPorts, and at whichever endpoint. An
// address or a port of the host that is not named is any. What Docker has published comes back when
// the container is started again. If one is not there, all stay. Connections that NAT carries go on
// until they end.
func (d *Driver) RemovePorts(ctx context.Context, networkID, id string, specs []string) (gone []model.PortBinding, err error) {
	defer wrap(&err, "withdraw ports of endpoint", id)
	entries, err := parsePortSpecs(specs)
	if err != nil {
		return nil, err
	}
	defer d.beginEndpoint(networkID, id)()
	_, e, unlock, err := d.lockedEndpoint(networkID, id)
	defer unlock()
	if err != nil {
		return nil, err
	}
	s, err := d.sandbox(e.PortOwner())
	if err != nil {
		return nil, err
	}
	if gone, err = s.take(entries); err != nil {
		return nil, err
	}
	var subjects []string
	for _, o := range s.after {
		subjects = append(subjects, d.kindOf(o.NetworkID).subject(o))
	}
	return gone, d.record(ctx, subjects, s.put)
}
