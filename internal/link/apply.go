package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Applier makes links match a Set, in the network namespace of the calling thread.
type Applier struct {
	// Settings reads and writes the settings of links. With nil they are left alone.
	Settings Settings
	// Info is told about leftovers that were deleted. It may be nil.
	Info func(format string, args ...any)
	// Warn is told about addresses that could not be announced, and, once for each link,
	// about settings that could not be written and are not needed. It may be nil.
	Warn func(format string, args ...any)
	// Left is told of links that have been removed, but that the kernel refuses to destroy: a
	// plan from nothing finds them. It must not wait. It may be nil.
	Left func(err error)

	leaving leaving

	asked  func(req *nl.NetlinkRequest) // sees every request to the kernel; nil but in tests
	frames frameSocket

	mu        sync.Mutex
	tolerated map[string]bool // what Warn was told of: settings that could not be written, by path, and lost pairs
}

// Apply is Plan, then Do, and then Wait.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	p, err := a.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx), a.Wait(ctx))
}

// Plan says what makes the links match want. With have, which they are known to match,
// only the differences are looked at, and the number of requests to the kernel does not
// depend on how many other links there are; with nil every link is read, and what mybr
// made and is not wanted is deleted.
//
// A difference costs more in one case: the ports of a bridge that turns out to be gone.
// An owned one is made anew with its ports; the ports of one that was there before
// fail with it, be they in have or not, so that they are planned again when it is back.
//
// A pair that have does not know is made without asking for it first. Should it be there,
// then the step changes what must be changed.
//
// Pairs are deleted first, so that no two containers with the same address are on a bridge
// when the later one is announced; bridges are deleted last, when no pair needs them. What
// have knows is out of service then, and the kernel destroys it behind that (Wait): no plan
// sees it any more, and a look at everything, and what is to have its name, waits for that.
// Every error is a *plan.Error.
func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	p := a.planner()
	p.late = a.leaving.await(ctx, func(name string) bool { return have == nil || want.Has(name) })
	err := context.Cause(ctx)
	if err == nil && have == nil {
		err = p.readAll()
		have = &Set{}
	}
	if err != nil {
		return nil, &plan.Error{Err: err}
	}
	err = p.plan(have, want)
	return p.steps, err
}

func (a *Applier) planner() *planner {
	return &planner{
		Applier: a, kernel: a.kernel(),
		indexes: map[string]int{}, renewed: map[string]bool{}, broken: map[string]error{}, missing: map[string]bool{},
	}
}

// plan makes the steps that turn one set into the other.
func (p *planner) plan(have *Set, want Set) error {
	p.findRenamed(want)
	p.bridges, p.hadBridges = byName(want.Bridges, Bridge.key), byName(have.Bridges, Bridge.key)
	goes, comes := plan.DifferingShared(have.Veths, want.Veths, compareVeths)
	gone, came := values(goes), values(comes)
	hadVeths, wantVeths := byName(gone, Veth.key), byName(came, Veth.key)
	for _, v := range gone {
		_, bridge := p.bridges[v.Host]
		if _, wanted := wantVeths[v.Host]; !wanted && !bridge {
			p.dropVeth(v)
		}
	}
	p.dropLeftovers(kindVeth, want)
	for _, b := range want.Bridges {
		if p.hadBridges[b.Name] != b {
			p.bridge(b)
		}
	}
	for _, v := range came {
		if v.differs(hadVeths[v.Host]) {
			p.findBridge(v)
		}
	}
	p.veths(have, want, came, hadVeths)
	for _, b := range have.Bridges {
		_, veth := wantVeths[b.Name]
		if _, wanted := p.bridges[b.Name]; !wanted && !veth {
			p.dropBridge(b)
		}
	}
	p.dropLeftovers(kindBridge, want)
	return errors.Join(p.errs...)
}

// veths plans the pairs that differ from those that are there, given those that may, and all
// that are in bridges of which something is new to them.
func (p *planner) veths(have *Set, want Set, came []Veth, had map[string]Veth) {
	look := came
	if len(p.renewed)+len(p.broken) > 0 {
		look, had = values(want.Veths), byName(values(have.Veths), Veth.key)
	}
	for _, v := range look {
		if had := had[v.Host]; v.differs(had) || p.renewed[v.Bridge] || p.broken[v.Bridge] != nil {
			p.veth(v, had)
		}
	}
}

// names returns the names of all links of the set.
func (s Set) names() map[string]bool {
	m := make(map[string]bool, len(s.Bridges)+len(s.Veths))
	for _, b := range s.Bridges {
		m[b.Name] = true
	}
	for _, v := range s.Veths {
		m[v.Host] = true
	}
	return m
}

func compareVeths(a, b *Veth) int { return cmp.Compare(a.Host, b.Host) }

// values are copies of pairs that sets share.
func values(shared []*Veth) []Veth {
	all := make([]Veth, 0, len(shared))
	for _, v := range shared {
		all = append(all, *v)
	}
	return all
}

func (b Bridge) key() string { return b.Name }
func (v Veth) key() string   { return v.Host }

// differs reports whether a pair must be looked at, given what it is known to be. That
// Docker takes the peer changes nothing here, and neither does what only a new pair needs.
func (v Veth) differs(had Veth) bool {
	had.Joined = had.Joined || v.Joined && had.Host != ""
	had.Announce = v.Announce
	return had != v
}

func byName[T any](list []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, e := range list {
		m[name(e)] = e
	}
	return m
}

// planner is what one plan has read, and what its steps share.
type planner struct {
	*Applier
	kernel

	links      map[string]found  // every link by name; nil: only differences are looked at
	byIndex    map[int]found     // the same by index
	renamed    map[string]found  // links that others have renamed, by the name that is wanted
	addrs      map[int][]address // every address by link index; nil: only differences are looked at
	bridges    map[string]Bridge // what is wanted
	hadBridges map[string]Bridge // what was known

	indexes map[string]int   // of bridges that are there, or that a step has made
	renewed map[string]bool  // bridges that a step makes
	broken  map[string]error // why bridges can't be made to match
	missing map[string]bool  // links that were looked for and are not there
	late    map[string]bool  // names that are wanted, of links that the kernel has not destroyed yet

	steps plan.Plan
	errs  []error
}

// readAll reads all links and addresses of the namespace.
func (p *planner) readAll() error {
	leaving := p.leaving.there() // first: what goes meanwhile is not read then
	links, err := p.dumpLinks()
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(l found) bool { return leaving[l.index] != "" })
	p.links = byName(links, func(l found) string { return l.name })
	p.byIndex = make(map[int]found, len(links))
	for _, l := range links {
		p.byIndex[l.index] = l
	}
	p.addrs, err = p.dumpAddresses(0)
	return err
}

// find reads one link.
func (p *planner) find(name string) (l found, there bool, err error) {
	if p.late[name] {
		return found{}, false, errLeaving
	}
	if p.links != nil {
		l, there = p.links[name]
		return l, there, nil
	}
	l, err = p.getLink(name, 0)
	if errors.Is(err, model.ErrNotFound) || err == nil && p.leaving.there()[l.index] != "" {
		p.missing[name] = true
		return found{}, false, nil
	}
	return l, err == nil, err
}

// addresses returns those of the link with an index.
func (p *planner) addresses(index int) ([]address, error) {
	if p.addrs != nil {
		return p.addrs[index], nil
	}
	of, err := p.dumpAddresses(index)
	return of[index], err
}

// work is what is to be done to one link, in order.
type work struct {
	subject string
	renews  bool
	changes []string
	acts    []func() error
}

// do adds an act, and in words what it changes of the link.
func (w *work) do(act func() error, changes ...string) {
	for _, c := range changes {
		w.changes = append(w.changes, "link "+w.subject+": "+c)
	}
	w.acts = append(w.acts, act)
}

// run does the work, up to the first error.
func (w *work) run() error {
	for _, act := range w.acts {
		if err := act(); err != nil {
			return err
		}
	}
	return nil
}

// add makes a step of the work on a link of a kind, or notes the error that working it out
// ended with.
func (p *planner) add(kind string, w work, err error, needs ...string) {
	link := kind + " " + w.subject
	if err != nil {
		p.errs = append(p.errs, &plan.Error{Subject: w.subject, Err: fmt.Errorf("%s: %w", link, err)})
		return
	}
	if len(w.acts) == 0 {
		return
	}
	p.steps = append(p.steps, plan.Step{Kind: kind, Subject: w.subject, Needs: needs, Changes: w.changes, Renews: w.renews,
		Do: func(context.Context) error {
			if err := w.run(); err != nil {
				return fmt.Errorf("%s: %w", link, err)
			}
			return nil
		}})
}

// dropLeftovers plans to delete the links of a kind that mybr made and that are not
// wanted. Only names count: a link that bears a wanted one has been planned, or will be.
func (p *planner) dropLeftovers(kind string, want Set) {
	if len(p.links) == 0 {
		return // nobody has looked
	}
	wanted := want.names()
	for _, name := range slices.Sorted(maps.Keys(p.links)) {
		l := p.links[name]
		if l.kind != kind || wanted[name] || !l.ours() || p.isRenamed(l) {
			continue
		}
		w := work{subject: name}
		w.do(func() error {
			if err := p.deleteLink(l.index); err != nil {
				return fmt.Errorf("delete leftover: %w", err)
			}
			if p.Info != nil {
				p.Info("deleted leftover %s %s (%s)", kind, name, l.alias)
			}
			return nil
		}, fmt.Sprintf("delete leftover (alias %q)", l.alias))
		p.add(kind, w, nil)
	}
}
