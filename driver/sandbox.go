package driver

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/mybr/mybr/internal/arbitrate"
	"github.com/mybr/mybr/internal/model"
)

// shares are what the endpoints of one sandbox publish, before and after a change. The
// lock of the sandbox is held from the first to the last use.
type shares struct {
	before, after []model.Endpoint
	reserved      []func()
}

// sandbox reads what the endpoints of a sandbox publish; owner is as in
// model.Endpoint.PortOwner.
func (d *Driver) sandbox(owner string) (*shares, error) {
	var all []model.Endpoint
	err := d.store.View(func(tx Tx) error {
		for _, e := range tx.EndpointsOf(owner) {
			all = append(all, *e)
		}
		return nil
	})
	return &shares{before: all, after: all}, err
}

// put records the shares that have changed.
func (s *shares) put(tx Tx) error {
	var errs []error
	for i, e := range s.after {
		e.Ports = apart(e)
		if was := s.before[i]; reflect.DeepEqual(portsOf(was), portsOf(e)) {
			continue
		}
		errs = append(errs, changeEndpoint(tx, e.ID, func(have *model.Endpoint) {
			have.Ports, have.Wanted, have.OpenV4, have.OpenV6, have.Added, have.Removed = e.Ports, e.Wanted, e.OpenV4, e.OpenV6, e.Added, e.Removed
		}))
	}
	return errors.Join(errs...)
}

// apart are an endpoint's ports, with no binding of those that were added and others: what is changed
// of the ones leaves the rules of the others as they are, and what these have counted.
func apart(e model.Endpoint) []model.PortBinding {
	if len(e.Added) == 0 {
		return e.Ports
	}
	others, added := model.Ports(e.Ports...), model.PortSet{}
	for one := range model.Ports(e.Added...) {
		if others[one] {
			delete(others, one)
			added[one] = true
		}
	}
	all := append(others.Bindings(), added.Bindings()...)
	slices.SortFunc(all, model.PortBinding.Compare)
	return all
}

// portsOf is an endpoint's record without all that is not about ports.
func portsOf(e model.Endpoint) model.Endpoint {
	return model.Endpoint{Ports: e.Ports, Wanted: e.Wanted, OpenV4: e.OpenV4, OpenV6: e.OpenV6, Added: e.Added, Removed: e.Removed}
}

// published reports whether the ports of an endpoint have changed.
func (s *shares) published() bool {
	return !slices.EqualFunc(s.before, s.after, func(a, b model.Endpoint) bool { return reflect.DeepEqual(a.Ports, b.Ports) })
}

// release gives back what was reserved and not recorded. It is called even if all went
// well: what a pass has adopted stays, but where nothing had changed it adopted nothing.
func (s *shares) release() {
	for _, release := range s.reserved {
		release()
	}
}

// reserve is arbitrate.Reserve for a sandbox.
func (d *Driver) reserve(owner string, s *shares) arbitrate.Reserve {
	return func(reqs []model.PortRequest) ([]model.PortBinding, error) {
		bindings, release, err := d.ports.Reserve(owner, reqs)
		if err == nil {
			s.reserved = append(s.reserved, release)
		}
		return bindings, err
	}
}

// publish makes a request's ports the only ones of its endpoint. If that fails because of
// endpoints of other sandboxes that are stale, they are removed, and it is tried once more.
func (d *Driver) publish(ctx context.Context, owner string, s *shares, r arbitrate.Request) error {
	after, err := arbitrate.Publish(s.after, r, d.reserve(owner, s))
	if err != nil && d.removeStaleHolders(ctx, owner, r.Ports) {
		after, err = arbitrate.Publish(s.after, r, d.reserve(owner, s))
	}
	if err == nil {
		s.after = after
	}
	return err
}

// reassign gives the other endpoints of a sandbox what they want and nobody has any more.
// What they can't have they go on wanting.
func (d *Driver) reassign(owner string, s *shares, except string) {
	s.after = arbitrate.Reassign(s.after, except, d.reserve(owner, s), func(e model.Endpoint, err error) {
		d.warn("publish the other ports of endpoint %s: %v", short(e.ID), err)
	})
}

// reshare changes what an endpoint of a sandbox has, and gives what it has no more to
// others that want it. change may change its addresses too, which put does not record.
func (d *Driver) reshare(owner, id string, change func(*model.Endpoint)) (*shares, error) {
	return d.reshareAll(owner, func(e *model.Endpoint) bool { return e.ID == id }, change)
}

func (d *Driver) reshareAll(owner string, which func(*model.Endpoint) bool, change func(*model.Endpoint)) (*shares, error) {
	s, err := d.sandbox(owner)
	if err != nil {
		return nil, err
	}
	s.after = slices.Clone(s.before)
	for i := range s.after {
		if which(&s.after[i]) {
			change(&s.after[i])
		}
	}
	d.reassign(owner, s, "")
	return s, nil
}

// withoutPorts is a change for reshare: what an operator has changed of the ports stays on record
// for when Docker has some endpoint of the sandbox publish them again.
func withoutPorts(e *model.Endpoint) { e.Ports, e.Wanted = nil, nil }

// left is withoutPorts for an endpoint that leaves its sandbox.
func left(e *model.Endpoint) {
	withoutPorts(e)
	e.OpenV4, e.OpenV6, e.Added, e.Removed = nil, nil, nil, nil
}

// reassignSandbox gives the endpoints of a sandbox what they want and nobody has.
func (d *Driver) reassignSandbox(ctx context.Context, owner string) error {
	defer d.sandboxes.lock(owner)()
	s, err := d.sandbox(owner)
	if err != nil {
		return err
	}
	d.reassign(owner, s, "")
	defer s.release()
	if !s.published() {
		return nil
	}
	e := s.after[0]
	return d.commit(ctx, d.kindOf(e.NetworkID).subject(e), s.put)
}

// removeStaleHolders removes the stale endpoints of other sandboxes that have published a
// port that reqs may need, and reports whether there were any.
func (d *Driver) removeStaleHolders(ctx context.Context, owner string, reqs []model.PortRequest) (removed bool) {
	holders, err := d.endpointsThat(func(e *model.Endpoint) bool {
		return e.PortOwner() != owner && slices.ContainsFunc(e.Ports, func(b model.PortBinding) bool { return needed(b, reqs) })
	})
	if err != nil {
		d.warn("look for endpoints that have the ports: %v", err)
	}
	for _, e := range holders {
		removed = d.removeIfStale(ctx, e.ID) || removed
	}
	return removed
}

// needed reports whether a request may need a host port of b.
func needed(b model.PortBinding, reqs []model.PortRequest) bool {
	return slices.ContainsFunc(reqs, func(r model.PortRequest) bool {
		return r.Proto == b.Proto && r.First <= b.Last() && b.Host.Port() <= r.Last
	})
}

// removeStaleSiblings removes the endpoints that are stale and have ports, of the sandbox
// that an endpoint is in.
func (d *Driver) removeStaleSiblings(ctx context.Context, id string) {
	var holders []string
	err := d.store.View(func(tx Tx) error {
		e, err := tx.Endpoint(id)
		if errors.Is(err, model.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		for _, o := range tx.EndpointsOf(e.PortOwner()) {
			if o.ID != id && len(o.Ports) > 0 {
				holders = append(holders, o.ID)
			}
		}
		return nil
	})
	if err != nil {
		d.warn("look for other endpoints of the sandbox: %v", err)
	}
	for _, id := range holders {
		d.removeIfStale(ctx, id)
	}
}
