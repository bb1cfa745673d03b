// Package firewalld keeps bridges in the zone of firewalld (https://firewalld.org) in
// which Docker's own bridges are, and tells when firewalld may have undone firewall
// rules of others.
//
// firewalld rejects what is forwarded between two interfaces unless their zones allow
// it, whatever iptables accepts: a verdict to accept holds for one table only
// (nft(8)). So the bridges are in a zone that accepts everything, and leave it to the
// rules of others what passes. The zone "docker" and the policy "docker-forwarding",
// which lets connections into the zone that are not translated, are those that Docker
// makes; whichever of the two is first makes them.
//
// Where there is no system bus, or no firewalld on it, nothing is wanted of it and
// nothing fails. firewalld is never started by a call.
//
// Be aware: interfaces are added for as long as firewalld runs, as Docker does it; only
// the zone and the policy are made to stay. They take effect with a reload of
// firewalld, which ends runtime changes of others and every iptables rule.
//
// Be aware: an interface that is in another zone was put there on purpose, and stays.
// What was in the zone before stays there too as long as have does not name it: whose
// it is can't be told.
package firewalld

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mybr/mybr/internal/plan"
)

// zone is the zone of Docker's bridges, policy what lets connections into it.
const (
	zone   = "docker"
	policy = "docker-forwarding"
)

// Set is what firewalld has to let through.
type Set struct {
	Interfaces []string // sorted; may be of links that are not there yet
	Forward    bool     // some of them take connections from elsewhere that are not translated
}

// Same reports whether two sets are deeply equal.
func (s Set) Same(o Set) bool {
	return s.Forward == o.Forward && plan.SameList(s.Interfaces, o.Interfaces)
}

// Has reports whether an interface is in the set.
func (s Set) Has(subject string) bool { return slices.Contains(s.Interfaces, subject) }

// Subjects returns the interfaces, each of which is a subject of its own. What Forward asks
// for is a matter of the interfaces that come.
func (s Set) Subjects() map[string]any {
	all := make(map[string]any, len(s.Interfaces))
	for _, name := range s.Interfaces {
		all[name] = struct{}{}
	}
	return all
}

// Only returns the set with the interfaces that keep reports true for.
func (s Set) Only(keep func(subject string) bool) Set {
	s.Interfaces = slices.DeleteFunc(slices.Clone(s.Interfaces), func(name string) bool { return !keep(name) })
	return s
}

// With returns the union of two sets that have no interface in common.
func (s Set) With(o Set) Set {
	return Set{Interfaces: slices.Concat(s.Interfaces, o.Interfaces), Forward: s.Forward || o.Forward}
}

// Applier puts interfaces into the zone.
type Applier struct {
	// Address is that of the system bus, as in the D-Bus specification; "" is the usual.
	Address string
	// Info gets what was made in firewalld's configuration, and which interface is left in
	// another zone. It may be nil.
	Info func(format string, args ...any)

	mu   sync.Mutex
	told map[string]string // by interface: the zone that it was last found in
}

// Plan puts the interfaces of want into the zone and takes those that only have names out
// of it. With have unknown, all of want is looked at and nothing is taken out. firewalld is
// asked nothing about interfaces that are in both. The zone is made if there is none and
// something is to be in it; that, and the making of the policy, reloads firewalld, which
// flushes everybody's rules, so the step renews everything.
//
// An error is that of the interfaces that are to be put into the zone, each an *plan.Error:
// those that are in it don't depend on firewalld's answer. Where there are
// none it concerns all. Without firewalld there is nothing to do.
func (a *Applier) Plan(ctx context.Context, have *Set, want Set) (plan.Plan, error) {
	var had Set
	if have != nil {
		had = *have
	}
	add, gone := without(want.Interfaces, had.Interfaces), without(had.Interfaces, want.Interfaces)
	var steps plan.Plan
	var err error
	if len(add) > 0 || len(want.Interfaces) > 0 && want.Forward && !had.Forward {
		steps, err = a.planAdded(ctx, add, want.Forward)
	}
	for _, name := range gone {
		steps = append(steps, plan.Step{
			Kind: "zone", Subject: name, Changes: []string{fmt.Sprintf("firewalld: take %s out of the zone %s, if it is there", name, zone)},
			Do: func(ctx context.Context) error {
				return a.with(ctx, func(d *daemon) error { return leave(ctx, d, name) })
			},
		})
	}
	return steps, err
}

// Apply is Plan, and what the plan says.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	p, err := a.Plan(ctx, have, want)
	return errors.Join(err, p.Do(ctx))
}

// without lists the names of one list that are not in another.
func without(names, not []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(not, name) })
}

// with calls do with firewalld, if there is one. An error of do that says that firewalld
// has gone is none.
func (a *Applier) with(ctx context.Context, do func(d *daemon) error) error {
	d, err := a.connect(ctx)
	if err == nil && d != nil {
		defer d.conn.Close()
		err = do(d)
	}
	switch {
	case err == nil || absent(err):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("firewalld: %w", context.Cause(ctx))
	}
	return fmt.Errorf("firewalld: %w", err)
}

// planAdded plans what puts interfaces into the zone.
func (a *Applier) planAdded(ctx context.Context, names []string, forward bool) (steps plan.Plan, err error) {
	var errs []error
	all := a.with(ctx, func(d *daemon) error {
		missing, err := d.missing(ctx, forward)
		if err != nil {
			return err
		}
		var failed error // what the zone or the policy could not be made for
		if len(missing) > 0 {
			steps = append(steps, a.provide(missing, func(err error) error {
				if failed = err; len(names) > 0 {
					return nil // it is the interfaces' error
				}
				return err
			}))
		}
		for _, name := range names {
			in, err := d.zoneOf(ctx, name)
			switch {
			case absent(err) || ctx.Err() != nil:
				return err
			case err != nil:
				errs = append(errs, &plan.Error{Subject: name, Err: fmt.Errorf("firewalld: %w", putError(name, err))})
			case in == "":
				steps = append(steps, plan.Step{Kind: "zone", Subject: name, Changes: []string{fmt.Sprintf("firewalld: put %s into the zone %s", name, zone)},
					Do: func(ctx context.Context) error {
						if failed != nil {
							return failed
						}
						return a.with(ctx, func(d *daemon) error { return a.enter(ctx, d, name) })
					}})
			default:
				a.left(name, in)
				if len(missing) > 0 {
					steps = append(steps, plan.Step{Kind: "zone", Subject: name, Do: func(context.Context) error { return failed }})
				}
			}
		}
		return nil
	})
	switch {
	case len(names) == 0 && all != nil:
		return nil, all
	case all != nil:
		return nil, errorOf(names, all)
	case len(names) > 0 && len(errs) == len(names):
		return nil, errors.Join(errs...) // nothing is left that a reload is for
	}
	return steps, errors.Join(errs...)
}

// errorOf is one error of each of the interfaces.
func errorOf(names []string, err error) error {
	var all []error
	for _, name := range names {
		all = append(all, &plan.Error{Subject: name, Err: err})
	}
	return errors.Join(all...)
}

// provide is the step that makes what is missing and reloads firewalld. done gets what
// that failed with, nil too, and returns the step's error.
func (a *Applier) provide(missing []object, done func(error) error) plan.Step {
	var changes []string
	for _, o := range missing {
		changes = append(changes, "firewalld: make the "+o.kind+" "+o.name)
	}
	return plan.Step{Kind: "reload", Renews: true, Changes: append(changes, "firewalld: reload"), Do: func(ctx context.Context) error {
		return done(a.with(ctx, func(d *daemon) error {
			for _, o := range missing {
				if err := d.add(ctx, o); err != nil {
					return err
				}
			}
			a.info("firewalld: it has a new zone or policy of the name %q or %q, and reloads", zone, policy)
			if err := d.call(ctx, daemonPath, daemonName+".reload").Err; err != nil {
				return fmt.Errorf("reload: %w", err)
			}
			return nil
		}))
	}}
}

// enter puts an interface into the zone that was in none.
func (a *Applier) enter(ctx context.Context, d *daemon, name string) error {
	err := d.call(ctx, daemonPath, zoneInterface+".addInterface", zone, name).Err
	switch {
	case failedWith(err, "ZONE_ALREADY_SET", "ALREADY_ENABLED"):
		return nil
	case failedWith(err, "ZONE_CONFLICT"): // another program was faster
		in, err := d.zoneOf(ctx, name)
		if err != nil {
			return putError(name, err)
		}
		a.left(name, in)
		return nil
	case err != nil:
		return putError(name, err)
	}
	return nil
}

func putError(name string, err error) error {
	return fmt.Errorf("put %s into the zone %s: %w", name, zone, err)
}

// left tells that an interface is in another zone, if it is, once.
func (a *Applier) left(name, in string) {
	a.mu.Lock()
	told := a.told[name] == in
	if a.told == nil {
		a.told = map[string]string{}
	}
	a.told[name] = in
	a.mu.Unlock()
	if in == zone || told {
		return
	}
	a.info("firewalld: %s stays in the zone %s, in which it was before: that zone must let through what its containers are to send and receive", name, in)
}

// leave takes an interface out of the zone, if it is in that one.
func leave(ctx context.Context, d *daemon, name string) error {
	in, err := d.zoneOf(ctx, name)
	if err == nil && in == zone {
		err = d.call(ctx, daemonPath, zoneInterface+".removeInterface", zone, name).Err
		if failedWith(err, "UNKNOWN_INTERFACE", "NOT_ENABLED") {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("take %s out of the zone %s: %w", name, zone, err)
	}
	return nil
}

func (a *Applier) info(format string, args ...any) {
	if a.Info != nil {
		a.Info(format, args...)
	}
}

// Zones asks in which zone each of some interfaces is; "" stands for none, and then the default
// zone's rules are for it. running is false where there is no firewalld.
func (a *Applier) Zones(ctx context.Context, names []string) (of map[string]string, running bool, err error) {
	of = map[string]string{}
	err = a.with(ctx, func(d *daemon) error {
		running = true
		for _, name := range names {
			in, err := d.zoneOf(ctx, name)
			if err != nil {
				return err
			}
			of[name] = in
		}
		return nil
	})
	return of, running, err
}
