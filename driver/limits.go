package driver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// The options of who reaches published ports: which clients, and by which interfaces of the host
// these come. With a dot and a port behind it one is of that port.
const (
	optFrom = "mybr.publish.from"
	optVia  = "mybr.publish.interface"
)

// isLimit reports whether a key is one of these, of all ports or of one.
func isLimit(key string) bool { return limitOption(key) != "" }

// limitOption is which of the options a key is; "": none.
func limitOption(key string) string {
	for _, option := range []string{optFrom, optVia} {
		if key == option || strings.HasPrefix(key, option+".") {
			return option
		}
	}
	return ""
}

// parseLimitKey reads which kind of limit a key is, and which ports it is about.
func parseLimitKey(key string) (l model.Limit, err error) {
	option := limitOption(key)
	if port, ok := strings.CutPrefix(key, option+"."); ok {
		if l, err = model.ParseLimitPorts(port); err != nil {
			return l, model.Invalid("option %s: %w", quoted(key), err)
		}
	}
	if option == optVia {
		l = l.AnyInterface()
	}
	return l, nil
}

// parseLimit reads one option.
func parseLimit(key, value string) (model.Limit, error) {
	of, err := parseLimitKey(key)
	if err != nil {
		return of, err
	}
	parse := model.ParseLimit
	if of.ByInterface() {
		parse = model.ParseInterfaces
	}
	l, err := parse(value)
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
	option := optFrom
	if l.ByInterface() {
		option = optVia
	}
	if ports := l.Ports(); ports != "" {
		return option + "." + ports
	}
	return option
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
			return model.Invalid("option %s: gateway mode nat-unprotected lets everybody in at the containers' own addresses, which the option would not change: want another mode for %s", key, f)
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
		for _, word := range l.From {
			name, named := strings.CutPrefix(word, model.ListPrefix)
			if list := lists[name]; named && len(list.Egress) > 0 {
				return model.Invalid("option %s: list %s has %s, which is no address or prefix that clients could have: name a list of these alone", limitKey(l), list.Name, list.Egress[0])
			}
		}
	}
	return nil
}

// SetList records a list, and has the host follow for all whose limits name it.
func (d *Driver) SetList(ctx context.Context, l model.List) error {
	subjects, err := d.subjectsOf(func(n model.Network, e model.Endpoint) bool {
		return model.Uses(n.Limits(), l.Name) || model.Uses(e.Limits(), l.Name) || n.EgressUses(l.Name) || e.EgressUses(l.Name)
	})
	if err != nil {
		return err
	}
	return d.record(ctx, subjects, func(tx Tx) error {
		if err := errors.Join(checkClients(tx, l), d.checkKept(tx, l)); err != nil {
			return err
		}
		return tx.PutList(l)
	})
}

// RemoveList removes a list that no option names, given at the creation or set since.
func (d *Driver) RemoveList(_ context.Context, name string) error {
	_, err := d.store.Update(func(tx Tx) error {
		if _, err := tx.List(name); errors.Is(err, model.ErrNotFound) {
			return model.NotFound("list %s is unknown", quoted(name))
		} else if err != nil {
			return err
		}
		for _, n := range tx.Networks() {
			if model.Uses(n.From, name) || model.Uses(n.FromSet, name) || n.EgressUses(name) {
				return model.Conflict("list %s is in use by network %s", name, short(n.ID))
			}
		}
		for _, e := range tx.Endpoints() {
			if model.Uses(e.From, name) || model.Uses(e.FromSet, name) || e.EgressUses(name) {
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
			if n, ok := networks[e.NetworkID]; ok && hold(n, *e) {
				all = append(all, n.Bridge, d.kindOf(n.ID).subject(*e))
			}
		}
		return nil
	})
	slices.Sort(all)
	return slices.Compact(all), err
}
