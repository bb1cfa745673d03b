package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// optFrom says who reaches published ports; with a dot and a port behind it, who reaches that.
const optFrom = "mybr.publish.from"

// isLimit reports whether a key is optFrom, of all ports or of one.
func isLimit(key string) bool { return key == optFrom || strings.HasPrefix(key, optFrom+".") }

// parseLimitKey reads which ports a key is about.
func parseLimitKey(key string) (l model.Limit, err error) {
	if port, ok := strings.CutPrefix(key, optFrom+"."); ok {
		if l, err = model.ParseLimitPorts(port); err != nil {
			return l, model.Invalid("option %s: %w", quoted(key), err)
		}
	}
	return l, nil
}

// parseLimit reads one option.
func parseLimit(key, value string) (model.Limit, error) {
	of, err := parseLimitKey(key)
	if err != nil {
		return of, err
	}
	l, err := model.ParseLimit(value)
	if err != nil {
		return l, model.Invalid("option %s: %w", key, err)
	}
	l.Proto, l.Port = of.Proto, of.Port
	return l, nil
}

// parseLimits reads the options among others that are limits, sorted. An empty one says nothing.
func parseLimits(opts map[string]any) (all []model.Limit, err error) {
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		var value string
		if !isLimit(key) {
			continue
		}
		if err := get(opts, key, &value); err != nil {
			return nil, err
		}
		if value == "" {
			if _, err := parseLimitKey(key); err != nil {
				return nil, err
			}
			continue
		}
		l, err := parseLimit(key, value)
		switch {
		case err != nil:
			return nil, err
		case slices.ContainsFunc(all, l.Same):
			return nil, model.Invalid("option %s: there is another one for the same port", key)
		default:
			all = append(all, l)
		}
	}
	slices.SortFunc(all, model.CompareLimits)
	return all, nil
}

// limitKey is the option of a limit.
func limitKey(l model.Limit) string {
	if ports := l.Ports(); ports != "" {
		return optFrom + "." + ports
	}
	return optFrom
}

// checkLimits refuses limits that a network can't have.
func checkLimits(n model.Network, limits []model.Limit) error {
	if len(limits) == 0 {
		return nil
	}
	key := limitKey(limits[0])
	if n.Internal {
		return model.Invalid("option %s: an internal network publishes nothing: leave it out", key)
	}
	for _, f := range model.Families() {
		if n.Subnet(f).Mode == model.ModeNATUnprotected {
			return model.Invalid("option %s: gateway mode nat-unprotected lets everybody in at the containers' own addresses, which no list would change: want another mode for %s", key, f)
		}
	}
	return nil
}

// checkLists refuses limits that name lists which are not there.
func checkLists(tx Tx, limits []model.Limit) error {
	lists := model.ListsOf(model.Snapshot{Lists: tx.Lists()})
	for _, l := range limits {
		if name := lists.Missing(l); name != "" {
			return model.NotFound("option %s: there is no list %s: make it with mybr list set %s PREFIX…", limitKey(l), name, name)
		}
	}
	return nil
}

// change is a setting that is changed while a network is there.
type change struct {
	model.Limit
	back bool // what was given at the creation counts again
}

// parseChanges reads settings; an empty value means the one that was given at the creation.
// others says that there are settings of another kind, too.
func parseChanges(settings map[string]string, others bool) (all []change, err error) {
	if len(settings) == 0 && !others {
		return nil, model.Invalid("no setting is named: want %s=CLIENTS, %s.PORT=CLIENTS or %s=%s", optFrom, optFrom, optSpoof, model.SpoofRefuse)
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		c := change{back: settings[key] == ""}
		switch {
		case !isLimit(key):
			return nil, model.Invalid("option %s can't be changed while the network is there: %s, %s.PORT and %s can", quoted(key), optFrom, optFrom, optSpoof)
		case c.back:
			c.Limit, err = parseLimitKey(key)
		default:
			c.Limit, err = parseLimit(key, settings[key])
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o change) bool { return o.Same(c.Limit) }) {
			return nil, model.Invalid("option %s: there is another one for the same port", key)
		}
		all = append(all, c)
	}
	return all, nil
}

// limitsOf are those of changes that limit something.
func limitsOf(changes []change) (all []model.Limit) {
	for _, c := range changes {
		if !c.back {
			all = append(all, c.Limit)
		}
	}
	return all
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

// record records who reaches published ports, and makes the host match. What was recorded
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
	about, settings := splitSpoof(settings)
	changes, err := parseChanges(settings, len(about) > 0)
	if err != nil {
		return err
	}
	defer d.beginNetwork(id)()
	n, err := d.network(id)
	if err != nil {
		return err
	}
	if err := checkLimits(n, limitsOf(changes)); err != nil {
		return err
	}
	if _, err := d.changeSpoof(n.SpoofSet, about, false); err != nil {
		return err
	}
	subjects, err := d.subjectsOf(func(o model.Network, _ model.Endpoint) bool { return o.ID == id })
	if err != nil {
		return err
	}
	return d.record(ctx, append(subjects, n.Bridge), func(tx Tx) error {
		if err := checkLists(tx, limitsOf(changes)); err != nil {
			return err
		}
		n, err := tx.Network(id)
		if err != nil {
			return err
		}
		n.FromSet = changed(n.FromSet, changes)
		if n.SpoofSet, err = d.changeSpoof(n.SpoofSet, about, false); err != nil {
			return err
		}
		return tx.PutNetwork(n)
	})
}

// SetEndpoint is SetNetwork for an endpoint.
func (d *Driver) SetEndpoint(ctx context.Context, networkID, id string, settings map[string]string) (err error) {
	defer wrap(&err, "set options of endpoint", id)
	about, settings := splitSpoof(settings)
	changes, err := parseChanges(settings, len(about) > 0)
	if err != nil {
		return err
	}
	defer d.beginEndpoint(networkID, id)()
	n, e, err := d.endpoint(networkID, id)
	if err != nil {
		return err
	}
	if err := checkLimits(n, limitsOf(changes)); err != nil {
		return err
	}
	if _, err := d.changeSpoof(e.SpoofSet, about, true); err != nil {
		return err
	}
	return d.record(ctx, []string{n.Bridge, d.kindOf(n.ID).subject(e)}, func(tx Tx) error {
		if err := checkLists(tx, limitsOf(changes)); err != nil {
			return err
		}
		var invalid error
		err := changeEndpoint(tx, id, func(e *model.Endpoint) {
			e.FromSet = changed(e.FromSet, changes)
			e.SpoofSet, invalid = d.changeSpoof(e.SpoofSet, about, true)
		})
		return errors.Join(err, invalid)
	})
}

// SetList records a list, and has the host follow for all whose limits name it.
func (d *Driver) SetList(ctx context.Context, l model.List) error {
	subjects, err := d.subjectsOf(func(n model.Network, e model.Endpoint) bool {
		return model.Uses(n.Limits(), l.Name) || model.Uses(e.Limits(), l.Name)
	})
	if err != nil {
		return err
	}
	return d.record(ctx, subjects, func(tx Tx) error { return tx.PutList(l) })
}

// RemoveList removes a list that no limit names, given at the creation or set since.
func (d *Driver) RemoveList(_ context.Context, name string) error {
	_, err := d.store.Update(func(tx Tx) error {
		if _, err := tx.List(name); errors.Is(err, model.ErrNotFound) {
			return model.NotFound("list %s is unknown", quoted(name))
		} else if err != nil {
			return err
		}
		for _, n := range tx.Networks() {
			if model.Uses(n.From, name) || model.Uses(n.FromSet, name) {
				return model.Conflict("list %s is in use by network %s", name, short(n.ID))
			}
		}
		for _, e := range tx.Endpoints() {
			if model.Uses(e.From, name) || model.Uses(e.FromSet, name) {
				return model.Conflict("list %s is in use by endpoint %s", name, short(e.ID))
			}
		}
		return tx.DeleteList(name)
	})
	return err
}

// subjectsOf are the links of the endpoints that a condition holds for, and the bridges of their
// networks.
func (d *Driver) subjectsOf(hold func(model.Network, model.Endpoint) bool) (all []string, err error) {
	err = d.store.View(func(tx Tx) error {
		networks := map[string]model.Network{}
		for _, n := range tx.Networks() {
			networks[n.ID] = n
		}
		for _, e := range tx.Endpoints() {
			if n, ok := networks[e.NetworkID]; ok && hold(n, e) {
				all = append(all, n.Bridge, d.kindOf(n.ID).subject(e))
			}
		}
		return nil
	})
	slices.Sort(all)
	return slices.Compact(all), err
}
