// Package firewalld keeps bridges in the zone of firewalld (https://firewalld.org) in
// which Docker's own bridges are, and tells when firewalld may have undone firewall
// rules of others.
//
// firewalld rejects what is forwarded between two interfaces unless their zones allow
// it, whatever iptables accepts: a verdict to accept holds for one table only
// (nft(8)). So the bridges are in a zone that accepts everything, and leave it to the
// rules of others what passes. The zone "docker" and the policy "docker-forwarding",
// which lets connections into the zone that are not translated, are those that Docker
// makes; who of the two comes first makes them.
//
// Where there is no system bus, or no firewalld on it, nothing is wanted of it and
// nothing fails. firewalld is never started by a call.
//
// Be aware: interfaces are added for as long as firewalld runs, as Docker does it; only
// the zone and the policy are made to stay. They take effect with a reload of
// firewalld, which ends runtime changes of others and every iptables rule.
//
// Be aware: an interface that is in another zone was put there by somebody, and stays.
// What was in the zone before stays there too as long as have does not name it: whose
// it is can't be told.
package firewalld

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// Applier puts interfaces into the zone. It holds no state.
type Applier struct {
	// Address is that of the system bus, as in the D-Bus specification; "" is the usual.
	Address string
	// Info is told what was made in firewalld's configuration, and which interface is
	// left in another zone. It may be nil.
	Info func(format string, args ...any)
}

// Apply puts the interfaces of want into the zone and takes those that only have names
// out of it. With have unknown, all of want is looked at and nothing is taken out. The
// zone is made if there is none and something is to be in it. The error joins one for
// each interface that could not be dealt with.
func (a *Applier) Apply(ctx context.Context, have *Set, want Set) error {
	var had Set
	if have != nil {
		had = *have
	}
	if len(had.Interfaces)+len(want.Interfaces) == 0 {
		return nil
	}
	d, err := a.connect(ctx)
	if err == nil && d != nil {
		defer d.conn.Close()
		err = a.apply(ctx, d, had, want)
	}
	switch {
	case err == nil || absent(err):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("firewalld: %w", context.Cause(ctx))
	}
	return fmt.Errorf("firewalld: %w", err)
}

func (a *Applier) apply(ctx context.Context, d *daemon, had, want Set) error {
	if len(want.Interfaces) > 0 && (len(had.Interfaces) == 0 || want.Forward && !had.Forward) {
		if err := a.provide(ctx, d, want.Forward); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range want.Interfaces {
		if !slices.Contains(had.Interfaces, name) {
			errs = append(errs, a.enter(ctx, d, name))
		}
	}
	for _, name := range had.Interfaces {
		if !slices.Contains(want.Interfaces, name) {
			errs = append(errs, leave(ctx, d, name))
		}
	}
	return errors.Join(errs...)
}

// provide makes the zone, and the policy if it is needed, unless firewalld goes by them
// already.
func (a *Applier) provide(ctx context.Context, d *daemon, forward bool) error {
	made, err := d.provide(ctx, zoneObject())
	if err != nil {
		return err
	}
	if forward {
		m, err := d.provide(ctx, policyObject())
		if err != nil && !unknownMethod(err) { // firewalld before 0.9 has no policies and lets in what a zone accepts
			return err
		}
		made = made || m
	}
	if !made {
		return nil
	}
	a.info("firewalld: it has a new zone or policy of the name %q or %q, and reloads", zone, policy)
	return d.call(ctx, daemonPath, daemonName+".reload").Err
}

// enter puts an interface into the zone unless it is in one.
func (a *Applier) enter(ctx context.Context, d *daemon, name string) error {
	in, err := d.zoneOf(ctx, name)
	if err == nil && in == "" {
		in = zone
		err = d.call(ctx, daemonPath, zoneInterface+".addInterface", zone, name).Err
		if failedWith(err, "ZONE_ALREADY_SET", "ALREADY_ENABLED") {
			err = nil
		} else if failedWith(err, "ZONE_CONFLICT") { // somebody was faster
			in, err = d.zoneOf(ctx, name)
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("put %s into the zone %s: %w", name, zone, err)
	case in != zone:
		a.info("firewalld: %s stays in the zone %s, where somebody has put it: that must let through what its containers are to send and receive", name, in)
	}
	return nil
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
