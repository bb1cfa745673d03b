package driver

import (
	"context"
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// sandbox reads what the endpoints of e's sandbox publish; e is one of them.
func (d *Driver) sandbox(e model.Endpoint) (*publication, error) {
	p := &publication{owner: e.PortOwner()}
	err := d.store.View(func(tx *store.Tx) error {
		for _, o := range tx.Endpoints() {
			if o.PortOwner() == p.owner {
				p.parts = append(p.parts, part{e: o, ports: o.Ports, all: o.Wanted})
			}
		}
		return nil
	})
	return p, err
}

// reserve is that of the publication. If it fails because of endpoints that are dead, they
// are removed, and it is tried once more.
func (d *Driver) reserve(ctx context.Context, p *publication, id string, reqs []model.PortRequest, only4 bool) (release func(), err error) {
	release, err = p.reserve(d.ports, id, reqs, only4)
	if err == nil {
		return release, nil
	}
	buried := false
	for _, id := range d.rivals(p.owner, reqs) {
		buried = d.bury(ctx, id, d.leftForGood) || buried
	}
	if !buried {
		return nil, err
	}
	return p.reserve(d.ports, id, reqs, only4)
}

// rivals returns the endpoints of other sandboxes that have published a port that reqs
// may need.
func (d *Driver) rivals(owner string, reqs []model.PortRequest) (ids []string) {
	err := d.store.View(func(tx *store.Tx) error {
		for _, e := range tx.Endpoints() {
			if e.PortOwner() != owner && slices.ContainsFunc(e.Ports, func(b model.PortBinding) bool { return wanted(b, reqs) }) {
				ids = append(ids, e.ID)
			}
		}
		return nil
	})
	if err != nil {
		d.warn("look for endpoints that have the ports: %v", err)
	}
	return ids
}

// wanted reports whether a request may need a host port of b.
func wanted(b model.PortBinding, reqs []model.PortRequest) bool {
	return slices.ContainsFunc(reqs, func(r model.PortRequest) bool {
		return r.Proto == b.Proto && r.First <= b.Last() && b.Host.Port() <= r.Last
	})
}

// buryDeadSiblings forgets the endpoints of e's sandbox that are dead and have ports.
func (d *Driver) buryDeadSiblings(ctx context.Context, e model.Endpoint) {
	var ids []string
	err := d.store.View(func(tx *store.Tx) error {
		for _, o := range tx.Endpoints() {
			if o.ID != e.ID && o.PortOwner() == e.PortOwner() && len(o.Ports) > 0 {
				ids = append(ids, o.ID)
			}
		}
		return nil
	})
	if err != nil {
		d.warn("look for other endpoints of the sandbox: %v", err)
	}
	for _, id := range ids {
		d.bury(ctx, id, d.leftForGood)
	}
}

// withdraw records change, by which endpoint e has no ports any more, and gives them to
// others that want them. The caller holds the lock of its sandbox.
func (d *Driver) withdraw(ctx context.Context, e model.Endpoint, change func(*store.Tx) error) error {
	p, err := d.sandbox(e)
	if err != nil {
		return err
	}
	before := p.clone()
	if own := p.part(e.ID); own != nil {
		own.ports, own.all = nil, nil
	}
	defer d.bequeath(p, e.ID)()
	return d.remove(ctx, e.HostIface(), func(tx *store.Tx) error {
		return errors.Join(p.put(tx, before), change(tx))
	})
}

// bequeath gives all but one endpoint what they want and that one does not have. What they
// can't have they go on wanting.
func (d *Driver) bequeath(p *publication, id string) (release func()) {
	var all []func()
	for _, o := range p.parts {
		if o.e.ID == id || o.all == nil {
			continue
		}
		release, err := p.reserve(d.ports, o.e.ID, o.all, false)
		if err != nil {
			d.warn("publish the other ports of endpoint %s: %v", short(o.e.ID), err)
			continue
		}
		all = append(all, release)
	}
	return func() {
		for _, release := range all {
			release()
		}
	}
}

// inherit gives the endpoints of a sandbox what they want and nobody has.
func (d *Driver) inherit(ctx context.Context, sandbox string) {
	defer d.sandboxes.lock(sandbox)()
	p, err := d.sandbox(model.Endpoint{Sandbox: sandbox})
	if err != nil || len(p.parts) == 0 {
		return
	}
	before := p.clone()
	defer d.bequeath(p, "")()
	if err := d.commit(ctx, p.parts[0].e.HostIface(), func(tx *store.Tx) error { return p.put(tx, before) }); err != nil {
		d.warn("publish ports that another endpoint had: %v", err)
	}
}
