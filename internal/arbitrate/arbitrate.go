// Package arbitrate decides which endpoint of a sandbox has which host port.
//
// Docker may ask several endpoints of one container to publish the same ports: the one
// that is its default route by IPv4, and the one by IPv6, without saying which is which.
// So host ports belong to the sandbox, and of the endpoints that want a slot (a protocol,
// an address of the host and a number) one has it: the first that asked, unless another
// one is preferred. What an endpoint does not get is kept in its record as wanted, and
// tried again when another endpoint gives ports up.
//
// Be aware: nothing here holds a port. Functions take what the endpoints of one sandbox
// have, and return what they have afterwards; reserving is left to a function that the
// caller brings.
package arbitrate

import (
	"cmp"
	"errors"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// Request asks for the ports of one endpoint, in place of those that it has.
type Request struct {
	Endpoint string // ID
	Ports    []model.PortRequest
	// V4Only says that the endpoint's network is the container's default route by IPv4, and
	// another one is that by IPv6.
	V4Only bool
}

// Reserve reserves host ports for a sandbox, for requests in any order. What the sandbox
// holds already is free for it. An error that wraps model.ErrConflict says that somebody
// else has a port.
type Reserve func([]model.PortRequest) ([]model.PortBinding, error)

// Publish returns the endpoints of a sandbox, in their order, with the Ports and Wanted
// that they have after a request. If reserve fails, its error is returned as it is.
//
// It is tried first with the numbers that other endpoints of the sandbox have for the same
// ports of the container, so that a port has one number in both families; and without, if
// somebody else has one of these.
func Publish(endpoints []model.Endpoint, r Request, reserve Reserve) ([]model.Endpoint, error) {
	var failed error
	for _, sameNumbers := range []bool{true, false} {
		d := decide(endpoints, r, sameNumbers)
		ask := d.all()
		if len(ask) == 0 {
			return d.assign(nil), nil
		}
		bindings, err := reserve(ask)
		if err == nil {
			return d.assign(bindings), nil
		}
		failed = err
		if !errors.Is(err, model.ErrConflict) || len(endpoints) == 1 {
			break
		}
	}
	return nil, failed
}

// Reassign gives the endpoints but the one named what they want and no other one has: to
// be called when an endpoint has released ports. An endpoint whose ports can't be reserved
// keeps what it has and wants; failed is told of it.
func Reassign(endpoints []model.Endpoint, except string, reserve Reserve, failed func(model.Endpoint, error)) []model.Endpoint {
	after := endpoints
	for i := range endpoints {
		e := after[i]
		if e.ID == except || e.Wanted == nil {
			continue
		}
		next, err := Publish(after, Request{Endpoint: e.ID, Ports: e.Wanted}, reserve)
		if err != nil {
			failed(e, err)
			continue
		}
		after = next
	}
	return after
}

// decision is how a request agrees with what the other endpoints have.
type decision struct {
	endpoints []model.Endpoint
	request   Request
	granted   []model.PortRequest // what the endpoint gets of it
	lost      map[slot]bool       // what other endpoints lose
	refused   bool                // other endpoints keep something of it
}

// decide agrees a request with what the other endpoints have. With sameNumbers it asks for
// the numbers that they have. A number that the endpoint has itself stays, so that asking
// twice changes nothing.
func decide(endpoints []model.Endpoint, r Request, sameNumbers bool) *decision {
	d := &decision{endpoints: endpoints, request: r, lost: map[slot]bool{}}
	others, own := newSlots(), newSlots()
	for _, e := range endpoints {
		if e.ID == r.Endpoint {
			own.add(e)
		} else {
			others.add(e)
		}
	}
	byChoice := slices.SortedStableFunc(slices.Values(r.Ports), func(a, b model.PortRequest) int { return cmp.Compare(choice(a), choice(b)) })
	for _, want := range byChoice {
		mine, has := own.find(want)
		if has {
			own.use(mine, want)
		}
		theirs, ok := mine, has && others.byKey[mine] != nil
		if !ok {
			theirs, ok = others.find(want)
		}
		if !ok {
			d.granted = append(d.granted, want)
			continue
		}
		others.use(theirs, want)
		rest := d.divide(want, others.byKey[theirs])
		if has {
			rest.First, rest.Last = mine.host, mine.host
		} else if sameNumbers {
			rest.First, rest.Last = theirs.host, theirs.host
		}
		if rest.V4.Wanted() || rest.V6.Wanted() {
			d.granted = append(d.granted, rest)
		}
	}
	return d
}

// choice is how many more than one number would do: requests that leave less come first.
func choice(r model.PortRequest) int {
	if r.First == 0 {
		return 1 << 16
	}
	return int(r.Last) - int(r.First)
}

// divide returns what is left of a request beside what other endpoints have of its number.
func (d *decision) divide(r model.PortRequest, others []slot) model.PortRequest {
	rest := r
	for _, f := range model.Families() {
		t := rest.Target(f)
		var taken []slot
		for _, s := range others {
			if !s.conflicts(*t) {
				continue
			}
			if !preferred(*t, s, d.request.V4Only) {
				*t, taken, d.refused = model.Target{}, nil, true
				break
			}
			taken = append(taken, s)
		}
		for _, s := range taken {
			d.lost[s] = true
		}
	}
	// What the process would relay to IPv4 goes to the endpoint that needs no relay.
	if r.V4.Wanted() && !rest.V4.Wanted() && rest.V6.Wanted() && !sameFamily(rest.V6) {
		rest.V6 = model.Target{}
	}
	return rest
}

// preferred reports whether a target is better than a slot that another endpoint has:
// it stays within one address family, where that one is relayed; or both do, and it is of
// the network by which answers leave.
func preferred(t model.Target, s slot, v4Only bool) bool {
	return sameFamily(t) && (!s.sameFamily() || v4Only && t.Host.Is4())
}

func sameFamily(t model.Target) bool { return t.Host.Is4() == t.Container.Addr().Is4() }

// all are the ports that the sandbox must hold: what the endpoint gets and what the others
// keep.
func (d *decision) all() []model.PortRequest {
	all := slices.Clone(d.granted)
	for _, e := range d.endpoints {
		if e.ID == d.request.Endpoint {
			continue
		}
		for s := range slotsOf(e) {
			if !d.lost[s] {
				all = append(all, s.Request())
			}
		}
	}
	return all
}

// assign returns the endpoints with the bindings that were reserved for the decision.
func (d *decision) assign(bindings []model.PortBinding) []model.Endpoint {
	losers := map[string]bool{}
	for s := range d.lost {
		losers[s.endpoint] = true
	}
	after := slices.Clone(d.endpoints)
	for i := range after {
		e := &after[i]
		switch {
		case e.ID == d.request.Endpoint:
			e.Wanted = nil
			if d.refused {
				e.Wanted = d.request.Ports
			}
		case losers[e.ID]:
			if e.Wanted == nil {
				for s := range slotsOf(*e) {
					e.Wanted = append(e.Wanted, s.Request())
				}
			}
		default:
			continue
		}
		e.Ports = nil
		for _, b := range bindings {
			if a := b.Container.Addr(); a == e.V4.Addr() || a == e.V6.Addr() {
				e.Ports = append(e.Ports, b)
			}
		}
	}
	return after
}
