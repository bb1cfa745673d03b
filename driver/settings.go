package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// change is a limit that is changed while a network is there.
type change struct {
	model.Limit
	back bool // what was given at the creation counts again
}

// changes is what is changed while a network is there.
type changes struct {
	limits []change
	egress *string           // as parseEgress returns it; "": what was given at the creation counts again; nil: it stays
	mode   *string           // likewise, as parseEgressMode returns it
	policy *string           // likewise, as parsePolicy returns it
	spoof  map[string]string // options of spoof.go, as they are given
	icc    *string           // of a network, as parseICC returns it; "" and nil as of egress
	group  *string           // of an endpoint, as parseGroup returns it; likewise
}

// parseChanges reads settings; an empty value means the one that was given at the creation.
func parseChanges(settings map[string]string) (all changes, err error) {
	if len(settings) == 0 {
		return all, model.Invalid("no setting is named: want %s=CLIENTS, %s.PORT=CLIENTS, %s=INTERFACES, %s=%s, %s=LIST, %s=LIST, %s=GROUPS or %s=%s", optFrom, optFrom, optVia, optPolicy, model.PublishHost, optEgress, optICCList, optGroup, optSpoof, model.SpoofRefuse)
	}
	all.spoof = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		c := change{back: settings[key] == ""}
		switch {
		case key == optEgress:
			value, err := parseEgress(settings[key])
			if err != nil {
				return all, err
			}
			all.egress = &value
			continue
		case key == optICCList:
			value, err := parseICC(settings[key])
			if err != nil {
				return all, err
			}
			all.icc = &value
			continue
		case key == optGroup:
			value, err := parseGroup(settings[key])
			if err != nil {
				return all, err
			}
			all.group = &value
			continue
		case key == optPolicy:
			policy, err := parsePolicy(settings[key])
			if err != nil {
				return all, err
			}
			all.policy = &policy
			continue
		case key == optEgressMode:
			mode, err := parseEgressMode(settings[key])
			if err != nil {
				return all, err
			}
			all.mode = &mode
			continue
		case isSpoof(key):
			all.spoof[key] = settings[key]
			continue
		case !isLimit(key):
			return all, model.Invalid("option %s can't be changed while the network is there: %s, %s.PORT, %s, %s.PORT, %s, %s, %s, %s, %s and %s can", quoted(key), optFrom, optFrom, optVia, optVia, optPolicy, optEgress, optEgressMode, optICCList, optGroup, optSpoof)
		case c.back:
			c.Limit, err = parseLimitKey(key)
		default:
			c.Limit, err = parseLimit(key, settings[key])
		}
		if err != nil {
			return all, err
		}
		if slices.ContainsFunc(all.limits, func(o change) bool { return o.Same(c.Limit) }) {
			return all, model.Invalid("option %s: there is another one for the same port", key)
		}
		all.limits = append(all.limits, c)
	}
	return all, nil
}

// limiting are those of changes that limit something.
func (c changes) limiting() (all []model.Limit) {
	for _, c := range c.limits {
		if !c.back {
			all = append(all, c.Limit)
		}
	}
	return all
}

// checkPolicy refuses a policy that a network can't have.
func (c changes) checkPolicy(n model.Network) error {
	if c.policy == nil {
		return nil
	}
	return checkPolicy(n, *c.policy)
}

// check refuses changes that name lists which are not there, or not for that.
func (c changes) check(tx Tx) error {
	if err := checkLists(tx, c.limiting()); err != nil || c.egress == nil {
		return err
	}
	return checkEgressLists(tx, *c.egress)
}

// make makes the changes to what was set of an endpoint, or of a network.
func (c changes) make(from *[]model.Limit, policy, egress, mode *string) {
	*from = changed(*from, c.limits)
	if c.policy != nil {
		*policy = *c.policy
	}
	if c.egress != nil {
		*egress = *c.egress
	}
	if c.mode != nil {
		*mode = *c.mode
	}
}

// changed is the limits that were set, after changes.
func changed(set []model.Limit, changes []change) []model.Limit {
	set = slices.Clone(set)
	for _, c := range changes {
		set = slices.DeleteFunc(set, c.Same)
		if !c.back {
			set = append(set, c.Limit)
		}
	}
	if len(set) == 0 {
		return nil
	}
	slices.SortFunc(set, model.CompareLimits)
	return set
}

// record records who reaches what, or sends what, and makes the host match. What was recorded
// stays, whatever the host says: nobody who is to be kept out gets in again because a port of
// somebody else's can't be served, and passes go on trying.
func (d *Driver) record(ctx context.Context, subjects []string, change func(Tx) error) error {
	if err := hungUp(ctx); err != nil {
		return err // while the call waited for its turn
	}
	if _, err := d.store.Update(change); err != nil {
		return err
	}
	if err := d.sync.Sync(context.WithoutCancel(ctx), subjects...); err != nil {
		return fmt.Errorf("it is recorded, but not all of the host follows yet: %w", err)
	}
	return nil
}

// SetNetwork changes settings of a network that is there, and has the host follow. An empty value
// takes back what was set since its creation.
func (d *Driver) SetNetwork(ctx context.Context, id string, settings map[string]string) (err error) {
	defer wrap(&err, "set options of network", id)
	changes, err := parseChanges(settings)
	if err != nil {
		return err
	}
	if changes.group != nil {
		return model.Invalid("option %s is one of containers: give it with docker run --network name=NETWORK,driver-opt=%s=…, or mybr endpoint set", optGroup, optGroup)
	}
	defer d.beginNetwork(id)()
	n, err := d.network(id)
	if err != nil {
		return err
	}
	if err := errors.Join(checkLimits(n, changes.limiting()), changes.checkPolicy(n)); err != nil {
		return err
	}
	if _, err := d.changeSpoof(n.SpoofSet, changes.spoof, false); err != nil {
		return err
	}
	subjects, err := d.subjectsOf(func(o model.Network, _ model.Endpoint) bool { return o.ID == id })
	if err != nil {
		return err
	}
	return d.record(ctx, append(subjects, n.Bridge), func(tx Tx) error {
		if err := changes.check(tx); err != nil {
			return err
		}
		n, err := tx.Network(id)
		if err != nil {
			return err
		}
		changes.make(&n.FromSet, &n.PolicySet, &n.EgressSet, &n.EgressModeSet)
		if n.SpoofSet, err = d.changeSpoof(n.SpoofSet, changes.spoof, false); err != nil {
			return err
		}
		if changes.icc != nil {
			n.ICCSet = *changes.icc
		}
		if err := d.checkEndpoints(tx, n); err != nil {
			return err
		}
		if changes.policy != nil {
			if err := d.checkAllCarried(tx, n); err != nil {
				return err
			}
		}
		return tx.PutNetwork(n)
	})
}

// SetEndpoint is SetNetwork for an endpoint.
func (d *Driver) SetEndpoint(ctx context.Context, networkID, id string, settings map[string]string) (err error) {
	defer wrap(&err, "set options of endpoint", id)
	changes, err := parseChanges(settings)
	if err != nil {
		return err
	}
	if changes.icc != nil {
		return model.Invalid("option %s is one of networks: give it with docker network create -o %s=…, or mybr network set", optICCList, optICCList)
	}
	defer d.beginEndpoint(networkID, id)()
	n, e, err := d.endpoint(networkID, id)
	if err != nil {
		return err
	}
	if err := errors.Join(checkLimits(n, changes.limiting()), changes.checkPolicy(n)); err != nil {
		return err
	}
	if _, err := d.changeSpoof(e.SpoofSet, changes.spoof, true); err != nil {
		return err
	}
	return d.record(ctx, []string{n.Bridge, d.kindOf(n.ID).subject(e)}, func(tx Tx) error {
		if err := changes.check(tx); err != nil {
			return err
		}
		var invalid error
		err := changeEndpoint(tx, id, func(e *model.Endpoint) {
			changes.make(&e.FromSet, &e.PolicySet, &e.EgressSet, &e.EgressModeSet)
			if changes.group != nil {
				e.GroupSet = *changes.group
			}
			e.SpoofSet, invalid = d.changeSpoof(e.SpoofSet, changes.spoof, true)
			invalid = errors.Join(invalid, d.checkLists(listsOf(tx), n, *e))
			if changes.policy != nil { // nothing else closes a port
				invalid = errors.Join(invalid, d.checkCarried(n, *e))
			}
		})
		return errors.Join(err, invalid)
	})
}
