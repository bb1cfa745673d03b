package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// Way is an address that DNS has given for a host name of an endpoint's list: what the entry has
// beside what is carried is reached there.
type Way struct {
	Entry egress.Entry
	To    netip.Addr
}

// How many grants an endpoint has at once: when there are more, the way that was opened or renewed
// longest ago is closed. As many that are closed are remembered, so that what began by them goes on
// when the endpoint's list changes and still has their names. A packet that begins a flow meets a
// rule for each grant of its container, with the backend iptables.
const mostGrants, mostClosed = 64, 64

// leastExpiry is how long passes are apart that close ways which have expired.
const leastExpiry = time.Second

// opened is the ways of all endpoints. It is in memory alone: a process that starts knows of none,
// and opens them as DNS gives addresses again.
type opened struct {
	mu     sync.Mutex
	of     map[string][]*open // by endpoint, the one that was opened or renewed longest ago first
	timer  *time.Timer        // for the next that expires; nil: there is none
	ended  bool
	grants []firewall.Grant // as they were rendered last
	flows  []conntrack.Granted
}

type open struct {
	Way
	until    time.Time // what closes it then is the pass behind that
	rendered bool      // there are rules for it, or will be by the pass that has rendered it
	stands   bool      // a pass has ended well that had it rendered
	gone     bool      // the endpoint's list does not have the entry
}

// Open has the rules let an endpoint's container begin flows to addresses that DNS has given, for
// so long, and returns when they do. What is open already stays open for as long, and costs no
// pass. Flows that have begun by then outlive that time; they end with the endpoint, and when its
// list does not have the entry any more.
//
// An error of model.ErrNotFound says that the endpoint is not there, or that its list does not have
// an entry.
func (r *Reconciler) Open(ctx context.Context, endpoint string, ways []Way, lasting time.Duration) error {
	all, needed := r.opened.add(endpoint, ways, time.Now().Add(lasting))
	if !needed {
		return nil
	}
	if err := r.Sync(ctx, model.Endpoint{ID: endpoint}.HostIface()); err != nil {
		return fmt.Errorf("open ways of endpoint %s: %w", endpoint, err)
	}
	if gone := r.opened.stand(all); gone != nil {
		return model.NotFound("open ways of endpoint %s: it is not there, or its list does not have %s", endpoint, gone.Entry)
	}
	return nil
}

// add adds or renews ways, and reports whether there is one of which it is not known that it stands.
// Those behind the first that an endpoint can have are left out: whoever answers for a name says how
// many there are, and passes wait for this.
func (o *opened) add(endpoint string, ways []Way, until time.Time) (all []*open, needed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = map[string][]*open{}
	}
	have := o.of[endpoint]
	ways = slices.DeleteFunc(slices.Clone(ways), func(w Way) bool { return len(w.Entry.Granted()) == 0 })
	ways = ways[:min(len(ways), mostGrants)]
	for _, w := range slices.Backward(ways) { // those that are named first are closed last
		i := slices.IndexFunc(have, func(x *open) bool { return x.Way == w })
		x := &open{Way: w}
		if i >= 0 {
			x = have[i]
			have = slices.Delete(have, i, i+1)
		}
		if x.until.Before(until) {
			x.until = until
		}
		have, all, needed = append(have, x), append(all, x), needed || !x.stands
	}
	if len(all) > 0 {
		o.of[endpoint] = have
	}
	return all, needed
}

// stand notes that ways stand which a pass has rendered, and returns one of which there is no entry.
func (o *opened) stand(all []*open) (gone *open) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range all {
		if x.stands = x.rendered; x.gone {
			gone = x
		}
	}
	return gone
}

// render adds the ways to what the host must be like, and with decide first closes those that have
// expired, or are too many, and forgets those of which an endpoint's list has no entry any more.
// again is called when the next has expired.
func (o *opened) render(h *Host, s model.Snapshot, r *renderer, decide bool, again func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.of) == 0 && o.grants == nil && o.flows == nil {
		return
	}
	var grants []firewall.Grant
	var flows []conntrack.Granted
	var next time.Time
	now, entries := time.Now(), map[egress.Named]map[egress.Entry]bool{}
	for id, ways := range o.of {
		n, e, names := r.named(s, id)
		has, known := entries[names]
		if !known {
			has = map[egress.Entry]bool{}
			for _, entry := range names.Entries() {
				has[entry] = true
			}
			entries[names] = has
		}
		left := ways
		if decide {
			left = slices.DeleteFunc(slices.Clone(ways), func(x *open) bool {
				x.gone = !has[x.Entry]
				x.rendered, x.stands = x.rendered && !x.gone, x.stands && !x.gone
				return x.gone
			})
			if len(left) == 0 {
				delete(o.of, id)
				continue
			}
			left = limit(left, now)
			o.of[id] = left
		}
		var of []firewall.Grant
		for _, x := range left {
			if !has[x.Entry] {
				continue
			}
			addr := e.Address(model.FamilyOf(x.To)).Addr()
			if p := n.Subnet(model.FamilyOf(x.To)).Prefix; !addr.IsValid() || !p.IsValid() || !p.Contains(addr) {
				continue
			}
			for _, g := range x.Entry.Granted() {
				if x.rendered {
					of = append(of, firewall.Grant{Bridge: n.Bridge, Link: e.HostIface(), Addr: addr, To: x.To, Proto: g.Proto, First: g.First, Last: g.Last})
				}
				flows = append(flows, conntrack.Granted{Addr: addr, To: x.To, Proto: g.Proto, First: g.First, Last: g.Last})
			}
			if x.rendered && (next.IsZero() || x.until.Before(next)) {
				next = x.until
			}
		}
		grants = append(grants, merged(of)...)
	}
	sortBy(grants, firewall.CompareGrants)
	if !slices.Equal(grants, o.grants) { // else it stays the same memory
		o.grants = grants
	}
	o.flows = flows
	h.Firewall.Grants, h.Flows.Granted = o.grants, o.flows
	if decide {
		o.wake(next, now, again)
	}
}

// limit closes what has expired and what is too much, given in the order in which it is closed, and
// forgets what has been closed for longest.
func limit(ways []*open, now time.Time) []*open {
	grants, closed := 0, 0
	keep := make([]*open, 0, len(ways))
	for _, x := range slices.Backward(ways) {
		number := len(x.Entry.Granted())
		if x.rendered = now.Before(x.until) && grants+number <= mostGrants; x.rendered {
			grants += number
		} else {
			x.stands, x.until = false, time.Time{}
			if closed++; closed > mostClosed {
				continue
			}
		}
		keep = append(keep, x)
	}
	slices.Reverse(keep)
	return keep
}

// merged is grants of one endpoint of which no two have a port in common.
func merged(all []firewall.Grant) []firewall.Grant {
	sortBy(all, firewall.CompareGrants)
	out := all[:0]
	for _, g := range all {
		if i := len(out) - 1; i >= 0 {
			last := &out[i]
			if last.Addr == g.Addr && last.To == g.To && last.Proto == g.Proto && (last.First == 0 || int(g.First) <= int(last.Last)+1) {
				last.Last = max(last.Last, g.Last)
				if last.First == 0 {
					last.Last = 0
				}
				continue
			}
		}
		out = append(out, g)
	}
	return out
}

// wake has a pass made when the next way expires; zero: none does.
func (o *opened) wake(next, now time.Time, again func()) {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if !next.IsZero() && !o.ended {
		o.timer = time.AfterFunc(max(next.Sub(now), leastExpiry), again)
	}
}

// end ends the timer for good.
func (o *opened) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.wake(time.Time{}, time.Time{}, nil)
}

// named is an endpoint of a snapshot with its network, as the host has them, and the host names of
// the list that counts for it: none if it is not there.
func (r *renderer) named(s model.Snapshot, id string) (n model.Network, e model.Endpoint, names egress.Named) {
	i, there := slices.BinarySearchFunc(s.Endpoints, id, func(e *model.Endpoint, id string) int { return cmp.Compare(e.ID, id) })
	if !there {
		return n, e, ""
	}
	e = r.options.endpoint(*s.Endpoints[i])
	of, there := r.networks[e.NetworkID]
	if !there {
		return n, e, ""
	}
	return *of, e, r.policies.of(*of, e).names
}
