package driver

import (
	"errors"
	"iter"
	"net/netip"
	"reflect"
	"slices"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/store"
)

// publication is what the endpoints of one sandbox publish.
type publication struct {
	owner string
	parts []part // sorted by endpoint
}

// part is one endpoint's share.
type part struct {
	e     model.Endpoint
	ports []model.PortBinding
	all   []model.PortRequest // Endpoint.Wanted
}

func (p *publication) clone() *publication {
	return &publication{owner: p.owner, parts: slices.Clone(p.parts)}
}

// part is the share of an endpoint, nil if it has none.
func (p *publication) part(id string) *part {
	i := slices.IndexFunc(p.parts, func(s part) bool { return s.e.ID == id })
	if i < 0 {
		return nil
	}
	return &p.parts[i]
}

// put records the shares that differ from before.
func (p *publication) put(tx *store.Tx, before *publication) error {
	for _, s := range p.parts {
		if was := before.part(s.e.ID); reflect.DeepEqual(was.ports, s.ports) && reflect.DeepEqual(was.all, s.all) {
			continue
		}
		if err := change(tx, s.e.ID, func(e *model.Endpoint) { e.Ports, e.Wanted = s.ports, s.all }); err != nil {
			return err
		}
	}
	return nil
}

// reserve reserves host ports for an endpoint beside those that the others keep, and
// makes them its share. Nothing has changed if that fails.
func (p *publication) reserve(ports Ports, id string, reqs []model.PortRequest, only4 bool) (release func(), err error) {
	for _, pin := range []bool{true, false} {
		s := p.agree(id, reqs, only4, pin)
		ask := slices.Clone(s.ask)
		for _, o := range p.parts {
			if o.e.ID != id {
				ask = append(ask, s.kept(o)...)
			}
		}
		if len(ask) == 0 {
			p.settled(id, reqs, s, nil)
			return func() {}, nil
		}
		var bindings []model.PortBinding
		bindings, release, err = ports.Reserve(p.owner, ask)
		if err == nil {
			p.settled(id, reqs, s, bindings)
			return release, nil
		}
		if !errors.Is(err, model.ErrConflict) || len(p.parts) == 1 {
			return nil, err
		}
	}
	return nil, err
}

// kept asks for what remains of another endpoint's share.
func (s *settlement) kept(o part) []model.PortRequest {
	return slices.DeleteFunc(fixed(o.ports), func(r model.PortRequest) bool {
		return slices.ContainsFunc(s.taken, func(h held) bool {
			w := r.Target(model.FamilyOf(h.Host.Addr()))
			return h.by == o.e.ID && r.Proto == h.Proto && r.First == h.Host.Port() && w.Host == h.Host.Addr() && w.Container == h.Container
		})
	})
}

// settled gives an endpoint its share, and takes from the others what they have lost.
func (p *publication) settled(id string, reqs []model.PortRequest, s settlement, bindings []model.PortBinding) {
	for i := range p.parts {
		o := &p.parts[i]
		switch {
		case o.e.ID == id:
			o.all = nil
			if s.left {
				o.all = reqs
			}
		case slices.ContainsFunc(s.taken, func(h held) bool { return h.by == o.e.ID }):
			if o.all == nil {
				o.all = fixed(o.ports)
			}
		default:
			continue
		}
		o.ports = nil
		for _, b := range bindings {
			if a := b.Container.Addr(); a == o.e.V4.Addr() || a == o.e.V6.Addr() {
				o.ports = append(o.ports, b)
			}
		}
	}
}

// fixed asks for what is published, as it is.
func fixed(ports []model.PortBinding) (reqs []model.PortRequest) {
	for _, b := range ports {
		for one := range singles(b) {
			r := model.PortRequest{Proto: b.Proto, First: one.Host.Port(), Last: one.Host.Port()}
			*r.Target(model.FamilyOf(one.Host.Addr())) = model.Target{Host: one.Host.Addr(), Container: one.Container}
			reqs = append(reqs, r)
		}
	}
	slices.SortFunc(reqs, compareRequests)
	return reqs
}

// singles yields the ports of a binding one by one.
func singles(b model.PortBinding) iter.Seq[model.PortBinding] {
	return func(yield func(model.PortBinding) bool) {
		for i := range b.Count {
			one := model.PortBinding{
				Proto: b.Proto, Count: 1,
				Host:      netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+i),
				Container: netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i),
			}
			if !yield(one) {
				return
			}
		}
	}
}
