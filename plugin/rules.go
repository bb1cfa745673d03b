package plugin

import (
	"context"
	"errors"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/view"
)

// ruler answers GET /v1/rules: what is wanted of the packet filter and, with ?compare=1, what
// the kernel has otherwise.
type ruler struct {
	snapshot func() model.Snapshot
	want     func(ctx context.Context) (reconcile.Host, error)
	diff     func(ctx context.Context) ([]reconcile.Difference, error)
	explain  func(h reconcile.Host) []firewall.ExplainedRule
	told     func(change string) (firewall.Change, bool)
}

// rules lists the rules, each with whom it serves.
func (r *ruler) rules(ctx context.Context, compare bool) (view.Rules, error) {
	all := view.Rules{Version: view.Version, Rules: []view.Rule{}, Differences: []view.RuleDifference{}}
	host, unsure := r.want(ctx)
	if ctx.Err() != nil {
		return all, unsure
	}
	// Read before the rules are listed, for that is done beside what was read last of Docker.
	var diff []reconcile.Difference
	if compare {
		var err error
		if diff, err = r.diff(ctx); err != nil {
			return all, err
		}
		all.Compared = true
	}
	networks, endpoints := map[string]string{}, map[string]string{}
	snapshot := r.snapshot()
	for _, n := range snapshot.Networks {
		networks[n.Bridge] = n.ID
	}
	for _, e := range snapshot.Endpoints {
		endpoints[e.HostIface()] = e.ID
	}
	for _, e := range r.explain(host) {
		one := view.Rule{Command: e.Command, Table: e.Table, Chain: e.Chain, Rule: e.Rule, Why: e.Why, Bridge: e.Bridge, Network: networks[e.Bridge]}
		if e.Link != "" {
			one.Endpoint = endpoints[e.Link]
		}
		all.Rules = append(all.Rules, one)
	}
	for _, d := range diff {
		if d.Aspect != reconcile.FirewallAspect && d.Aspect != reconcile.SpoofAspect {
			continue
		}
		unsure = errors.Join(unsure, d.Err)
		for _, change := range d.Changes {
			all.Differences = append(all.Differences, r.difference(change, all.Rules))
		}
	}
	if unsure != nil {
		all.Unknown = unsure.Error()
	}
	return all, nil
}

// difference is a change that would mend something, with the reason.
func (r *ruler) difference(change string, wanted []view.Rule) view.RuleDifference {
	c, ok := r.told(change)
	if !ok {
		panic("unreadable change of the firewall: " + change) // all are made in one place, whose test reads them
	}
	mend := map[string]string{firewall.Added: view.AddRule, firewall.Deleted: view.DeleteRule, firewall.Moved: view.MoveRule}[c.Action]
	d := view.RuleDifference{Command: c.Command, Table: c.Table, Chain: c.Chain, Rule: c.Rule, Mend: mend}
	if mend == view.DeleteRule {
		d.Why = "mybr wants no such rule."
		if c.Rule == "" {
			d.Why = "mybr needs no such chain."
		}
		return d
	}
	for _, w := range wanted { // a variant's command is the family's with a suffix
		if w.Table == c.Table && w.Chain == c.Chain && w.Rule == c.Rule && strings.HasPrefix(c.Command, w.Command) {
			d.Why = w.Why
		}
	}
	return d
}
