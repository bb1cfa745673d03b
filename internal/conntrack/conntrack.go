// Package conntrack deletes tracked flows that would go on leading to addresses to which
// they may no longer lead.
//
// The nat table is asked about the first packet of a flow only (iptables(8)), and a
// flow that has been answered passes the filter. UDP has no end of a flow that the
// kernel could see, so one that a client keeps busy would follow the rules of its first
// packet for ever. TCP has one, but the kernel remembers a connection whose container is
// gone for up to five days (nf_conntrack_tcp_timeout_established) and lets a new SYN
// within it pass, to the container that has the address by then. And a flow that has not
// been answered yet, because its port was reserved and not yet translated, would never be
// translated.
//
// Be aware: flows are looked for in the namespace of the calling thread, by having the kernel
// go through all of its table: once for each of a few ports or addresses, of which it lists the
// flows, or once for all, whatever their number. None of a family in which there is nothing to
// look for.
package conntrack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Set is what decides where flows may lead.
type Set struct {
	Bindings  []model.PortBinding
	Endpoints []Endpoint
	// Relayed are subnets whose containers reach each other's published ports through the
	// process, at the host's addresses, or not at all: such flows are not translated.
	Relayed []netip.Prefix
	// Subnets are those that rules guard.
	Subnets []Subnet
	Limits  []Limit
	Egress  []Egress // sorted by ID and address, as Endpoints are by ID
	// Granted and Process are what is looked at when an egress list changes; nothing is looked for
	// because they change.
	Granted []Granted
	Process Process
	// Unsure says of a set that the host was known to match that the packet filter may have
	// been without rules for a time, so that flows may have begun past them.
	Unsure bool
	// Partial says of such a set that it has the endpoints alone: what else the process before wanted
	// is not known, so that a limit of want need not be one that comes.
	Partial bool
}

// Endpoint is a container's attachment to a network, with its addresses; zero: none.
type Endpoint struct {
	ID     string
	V4, V6 netip.Addr
}

// Same reports whether nothing has to be looked for between two sets: they are deeply equal, but
// for Granted and Process.
func (s Set) Same(o Set) bool {
	return s.Unsure == o.Unsure && s.Partial == o.Partial && plan.SameList(s.Bindings, o.Bindings) && plan.SameList(s.Endpoints, o.Endpoints) &&
		plan.SameList(s.Relayed, o.Relayed) && plan.SameList(s.Subnets, o.Subnets) &&
		plan.SameList(s.Limits, o.Limits) && plan.SameList(s.Egress, o.Egress)
}

// Has reports that nothing is about a link.
func (s Set) Has(string) bool { return false }

// Subjects returns nil: flows are of no link.
func (s Set) Subjects() map[string]any { return nil }

// Only returns the whole set.
func (s Set) Only(func(subject string) bool) Set { return s }

// With returns what is in either set.
func (s Set) With(o Set) Set {
	_, bindings := plan.Differing(s.Bindings, o.Bindings, compareBindings)
	_, endpoints := plan.Differing(s.Endpoints, o.Endpoints, compareEndpoints)
	return Set{Bindings: slices.Concat(s.Bindings, bindings), Endpoints: slices.Concat(s.Endpoints, endpoints), Relayed: o.Relayed,
		Subnets: o.Subnets, Limits: o.Limits, Egress: o.Egress, Granted: o.Granted, Process: o.Process, Unsure: s.Unsure || o.Unsure, Partial: s.Partial || o.Partial}
}

// Applier deletes stale flows. While there are subnets it also keeps flows going when others
// flush all rules.
type Applier struct {
	Info func(format string, args ...any) // told, once each, why the kernel can't do that; nil: nobody is
	// Forgot is told, in words, which flows were deleted behind a plan; nil: nobody is.
	Forgot func(changes []string)
	// Looked is told of each round of looking behind plans that has ended (Looking), in whichever
	// way. It must not wait. It may be nil.
	Looked func(round uint64)
	// Failed is told why flows could not be deleted behind a plan; Wait tries it again. It must
	// not wait. It may be nil.
	Failed func(err error)

	later    later
	keeper   *keeper  // nil: there is none
	unkept   error    // why there can't be one
	released *release // the last one that was; nil: none was
}

// Apply is Plan, then Do, and then Wait.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	p, err := a.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx), a.Wait(ctx))
}

// Plan says which flows the way from have to want has made stale, one step for each
// family that has any. They are
//
//   - those to a binding that came which lead elsewhere than it does (of TCP only
//     connections to the host itself that are not answered yet, of SCTP those to the host
//     itself). With have nil or unsure, every wanted binding counts as one that came;
//   - of UDP, those to a binding that went, or translated to the container's side of it;
//   - those of every protocol with an address at either end that an endpoint of have had
//     and has no longer, whichever endpoint has it now;
//   - those with a port that has a limit which came, and somebody who is none of its clients. With
//     have nil or unsure, every limit counts as one that came;
//   - those that a container has begun through the host and may not begin by an egress list that
//     came, of an endpoint that was there. With have nil or unsure, every list counts as one that
//     came;
//   - of UDP, those that were led to the process for the host names of a list that went, of an endpoint
//     that has none now;
//   - those that were translated between two containers of a subnet of Relayed that came. With have
//     nil or unsure, every one counts as one that came;
//   - those between two containers of a subnet that they don't reach each other in any more, through
//     the host;
//   - with have unsure, those that the rules of a subnet would not have let begin as they
//     did (see Subnet).
//
// Only bindings with two addresses of one family count, since no others are translated.
// Flows through the host to the same port of another host stay. What went, and what began before
// a port came, is looked for behind the plan (Wait), unless rules may have been missing, there is
// a limit, or that is in the way of what comes. To be called when the rules lead to the ports that
// came, and before their sockets answer; until Looked, these must not answer to who came before
// (Looking). Each error is a *plan.Error of everybody's, for one family.
func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	c := difference(have, want)
	a.later.drop(c.ended)
	steps := a.planKeeper(len(want.Subnets) > 0, have != nil && have.Unsure)
	var errs []error
	later := c.canWait(have, want)
	if err := a.later.await(ctx, a, func(now, next change) bool {
		// What is looked for later, too, is looked for together with what is next.
		return c.inTheWay(now.and(next), have, want) || c.sharesPort(now) || !later && c.sharesPort(next)
	}); err != nil {
		errs = append(errs, &plan.Error{Err: fmt.Errorf("flows of what went or came before: %w", err)})
	}
	if later {
		return append(steps, a.planLater(c)), errors.Join(errs...)
	}
	for _, f := range model.Families() {
		stale, err := staleFlows(ctx, f, c)
		if err != nil {
			errs = append(errs, &plan.Error{Err: fmt.Errorf("conntrack: %s: %w", f, err)})
		}
		if len(stale) > 0 {
			steps = append(steps, plan.Step{Kind: "flows", Changes: words(stale), Do: func(ctx context.Context) error {
				if err := forget(ctx, nil, f, stale); err != nil {
					return fmt.Errorf("conntrack: %s: forget flows: %w", f, err)
				}
				return nil
			}})
		}
	}
	return steps, errors.Join(errs...)
}

// change is what has happened to published ports and to containers' addresses.
type change struct {
	gone, came []model.PortBinding // of those that went, UDP's
	ended      []model.PortBinding // all that went
	left       []netip.Addr
	relayed    []netip.Prefix
	apart      []netip.Prefix // subnets whose containers had flows with each other that were translated
	subnets    []Subnet       // whose flows may have begun past the rules
	limits     []Limit        // that flows may have begun before
	egress     []Egress       // likewise
	unled      []Egress       // of which nothing is led to the process any more
	granted    []Granted
	process    Process
	before     Process // where it was when there were other lists
}

// difference says what must be looked for.
func difference(have *Set, want Set) (c change) {
	if have == nil {
		return change{came: want.Bindings, relayed: want.Relayed, apart: want.Relayed, limits: want.Limits, egress: begun(nil, want), granted: want.Granted, process: want.Process}
	}
	c.granted, c.process, c.before = want.Granted, want.Process, have.Process
	before := make(map[Limit]bool, len(have.Limits))
	for _, l := range have.Limits {
		before[l] = true
	}
	for _, l := range want.Limits {
		if have.Unsure || !before[l] {
			l.Asks = l.Asks && (have.Partial || before[l])
			c.limits = append(c.limits, l)
		}
	}
	gone, came := plan.Differing(have.Bindings, want.Bindings, compareBindings)
	c.ended = gone
	if c.came = came; have.Unsure {
		c.came, c.subnets = want.Bindings, want.Subnets
	}
	for _, b := range gone {
		if b.Proto == model.UDP {
			c.gone = append(c.gone, b)
		}
	}
	c.relayed, c.egress, c.unled = want.Relayed, begun(have, want), unled(*have, want)
	for _, p := range want.Relayed {
		was := slices.ContainsFunc(have.Subnets, func(s Subnet) bool { return s.Prefix == p }) // else it had no flows
		if have.Unsure || was && !slices.Contains(have.Relayed, p) {
			c.apart = append(c.apart, p)
		}
	}
	for _, s := range want.Subnets {
		was := func(o Subnet) bool { return o.Prefix == s.Prefix && !o.Apart }
		if s.Apart && !have.Unsure && slices.ContainsFunc(have.Subnets, was) {
			c.subnets = append(c.subnets, Subnet{Prefix: s.Prefix, Apart: true})
		}
	}
	c.left = left(have.Endpoints, want.Endpoints)
	return c
}

// left lists the addresses that endpoints have had and have no longer, whoever has them now. want is
// sorted by ID.
func left(have, want []Endpoint) (addresses []netip.Addr) {
	gone, _ := plan.Differing(have, want, compareEndpoints)
	if len(gone) == 0 {
		return nil
	}
	type holder struct {
		id      string
		address netip.Addr
	}
	holders := map[holder]bool{}
	for _, e := range gone { // it may have another address now, or have been there twice
		i, _ := slices.BinarySearchFunc(want, e.ID, func(o Endpoint, id string) int { return cmp.Compare(o.ID, id) })
		for ; i < len(want) && want[i].ID == e.ID; i++ {
			holders[holder{e.ID, want[i].V4}], holders[holder{e.ID, want[i].V6}] = true, true
		}
	}
	for _, e := range gone {
		for _, a := range []netip.Addr{e.V4, e.V6} {
			if a.IsValid() && !holders[holder{e.ID, a}] {
				addresses = append(addresses, a)
			}
		}
	}
	return addresses
}

// compareBindings and compareEndpoints have the order in which sets are rendered.
func compareBindings(a, b *model.PortBinding) int { return a.Compare(*b) }

func compareEndpoints(a, b *Endpoint) int { return cmp.Compare(a.ID, b.ID) }

// told is how many flows a plan lists; of the rest it gives the number.
const told = 20

// words lists flows for an operator.
func words(stale []flow) (all []string) {
	for i, f := range stale {
		if i == told {
			return append(all, fmt.Sprintf("conntrack: forget %d more flows", len(stale)-told))
		}
		all = append(all, "conntrack: forget "+f.String())
	}
	return all
}

// staleFlows reads which flows of a family a change has made stale: none where it has
// nothing to look for.
func staleFlows(ctx context.Context, f model.Family, c change) ([]flow, error) {
	match := c.filter(f)
	if match.empty() {
		return nil, nil
	}
	var err error
	if match.local, err = localAddresses(ctx, &netlink.Handle{}, f); err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	number, err := tracked(nil)
	if err != nil {
		return nil, fmt.Errorf("count flows: %w", err)
	}
	stale, err := listAll(ctx, nil, f, match.queries(number), match.stale)
	if err != nil {
		err = fmt.Errorf("list flows: %w", err)
	}
	return stale, err
}

// filter finds what a change has made stale of a family's flows, but for the addresses of the
// host.
func (c change) filter(f model.Family) filter {
	match := filter{
		gone: relevant(f, c.gone, model.UDP),
		came: relevant(f, c.came, protos...),
		left: map[netip.Addr]bool{}, relayed: c.relayed, apart: c.apart, subnets: subnetsOf(f, c.subnets), limits: limitsOf(f, c.limits), leaving: leavingOf(f, c.egress, c.unled),
		granted: map[netip.Addr][]Granted{}, process: c.process, before: c.before,
	}
	if len(match.leaving) > 0 {
		for _, g := range c.granted {
			match.granted[g.Addr] = append(match.granted[g.Addr], g)
		}
	}
	for _, a := range c.left {
		if f.Has(a) {
			match.left[a] = true
		}
	}
	return match
}

// empty reports whether there is nothing to look for.
func (f *filter) empty() bool {
	return len(f.gone)+len(f.came)+len(f.left)+len(f.subnets)+len(f.limits)+len(f.leaving)+len(f.apart) == 0
}

// protos are those of published ports.
var protos = []model.Proto{model.TCP, model.UDP, model.SCTP}

// relevant returns the bindings of some protocols that can have translated flows of the
// family.
func relevant(f model.Family, all []model.PortBinding, protos ...model.Proto) (out []model.PortBinding) {
	for _, b := range all {
		if slices.Contains(protos, b.Proto) && f.Has(b.Host.Addr()) && f.Has(b.Container.Addr()) && b.Count > 0 {
			out = append(out, b)
		}
	}
	return out
}
