package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/view"
	"github.com/mybr/mybr/ipam"
)

// What is counted is read with commands of the packet filter, so not for each request: those
// that come within countEvery share it. All commands of one reading have countWithin, which is
// less than a scrape has (metrics.CollectWithin): what hangs must not cost it all the rest.
const (
	countEvery  = time.Second
	countWithin = 3 * time.Second
)

// viewer makes what operators are shown.
type viewer struct {
	snapshot func() model.Snapshot
	pools    func() ([]ipam.Usage, error)
	byHost   bool // view.Facts.PublishByHost
	count    func(ctx context.Context, ports []firewall.Port) (map[model.PortBinding]firewall.Counter, error)

	busy    chan struct{} // holds one while what is below is read or written
	counted map[model.PortBinding]view.Traffic
	failed  error
	at      time.Time // zero: never
}

func newViewer(snapshot func() model.Snapshot, pools func() ([]ipam.Usage, error), byHost bool, filter firewall.Backend) *viewer {
	return &viewer{snapshot: snapshot, pools: pools, byHost: byHost, count: filter.Count, busy: make(chan struct{}, 1)}
}

// view is everything as it is now. What could not be read is missing, and it says why.
func (v *viewer) view(ctx context.Context) (view.View, error) {
	f := view.Facts{Taken: time.Now(), PublishByHost: v.byHost}
	usage, err := v.pools()
	errs := []error{err}
	for _, u := range usage {
		f.Pools = append(f.Pools, pool(u))
	}
	s := v.snapshot()
	f.Traffic, err = v.traffic(ctx, s)
	if err = errors.Join(append(errs, err)...); err != nil {
		f.Unknown = err.Error()
	}
	return view.Of(s, f), ctx.Err()
}

func pool(u ipam.Usage) view.Pool {
	return view.Pool{
		ID: u.Pool.ID, Space: u.Pool.Space, Prefix: u.Pool.Prefix, Range: u.Pool.Sub, Released: u.Pool.Released,
		Size: u.Size, Used: u.Used, Rests: u.Resting, Kept: u.Kept, Free: u.Free, Next: u.Next,
	}
}

// traffic is what has been counted, at most countEvery ago.
func (v *viewer) traffic(ctx context.Context, s model.Snapshot) (map[model.PortBinding]view.Traffic, error) {
	select {
	case v.busy <- struct{}{}:
		defer func() { <-v.busy }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if !v.at.IsZero() && time.Since(v.at) < countEvery {
		return v.counted, v.failed
	}
	// Whoever asked, others share the answer.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), countWithin, fmt.Errorf("given up after %s", countWithin))
	defer cancel()
	counted, err := v.count(ctx, translatedPorts(s, v.byHost))
	v.counted, v.failed = make(map[model.PortBinding]view.Traffic, len(counted)), nil
	for b, c := range counted {
		v.counted[b] = view.Traffic{Connections: c.Connections}
	}
	if err != nil {
		v.failed = fmt.Errorf("connections could not be counted: %w", err)
	}
	v.at = time.Now()
	return v.counted, v.failed
}

// translatedPorts are the ports that the packet filter has rules for.
func translatedPorts(s model.Snapshot, byHost bool) (all []firewall.Port) {
	networks := make(map[string]model.Network, len(s.Networks))
	for _, n := range s.Networks {
		networks[n.ID] = n
	}
	for _, e := range s.Endpoints {
		n, ok := networks[e.NetworkID]
		for _, b := range e.Ports {
			if ok && n.Translates(b) && !n.ByHost(*e, byHost) {
				all = append(all, firewall.Port{Bridge: n.Bridge, ICC: reconcile.TurnsBack(n), Link: e.HostIface(), PortBinding: b})
			}
		}
	}
	return all
}
