package arbitrate

import (
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// Add returns the endpoints of a sandbox, in their order, where one of them has the ports of
// some requests beside its own. Nobody gives anything up for them: a port that some endpoint of
// the sandbox has is refused, as one of another sandbox is, in the words that users know from
// Docker. If reserve fails, its error is returned as it is.
func Add(endpoints []model.Endpoint, id string, requests []model.PortRequest, reserve Reserve) ([]model.Endpoint, error) {
	if len(requests) == 0 {
		return slices.Clone(endpoints), nil
	}
	type number struct {
		proto model.Proto
		host  uint16
	}
	fixed := map[number][]model.PortRequest{}
	for _, r := range requests {
		if choice(r) == 0 {
			at := number{r.Proto, r.First}
			fixed[at] = append(fixed[at], r)
		}
	}
	ask := slices.Clone(requests)
	for _, e := range endpoints {
		for s := range slotsOf(e) {
			for _, r := range fixed[number{s.Proto, s.Host.Port()}] {
				if err := s.refuses(r); err != nil {
					return nil, err
				}
			}
			ask = append(ask, s.Request())
		}
	}
	bindings, err := reserve(ask)
	if err != nil {
		return nil, err
	}
	after := slices.Clone(endpoints)
	for i := range after {
		e := &after[i]
		if e.ID != id {
			continue
		}
		e.Ports = nil
		for _, b := range bindings {
			if a := b.Container.Addr(); a == e.V4.Addr() || a == e.V6.Addr() {
				e.Ports = append(e.Ports, b)
			}
		}
		if e.Wanted != nil {
			e.Wanted = append(slices.Clone(e.Wanted), requests...)
		}
	}
	return after, nil
}

// refuses is the error of a request for the slot's number. Reserving alone would not tell: what is
// asked for twice for the same port of a container counts once.
func (s slot) refuses(r model.PortRequest) error {
	for _, t := range []model.Target{r.V4, r.V6} {
		if s.conflicts(t) {
			return model.Conflict("Bind for %s:%d failed: port is already allocated", t.Host, r.First)
		}
	}
	return nil
}
