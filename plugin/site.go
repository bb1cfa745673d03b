package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/event"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/page"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/relay"
	"github.com/mybr/mybr/internal/topology"
	"github.com/mybr/mybr/internal/topology/here"
	"github.com/mybr/mybr/internal/view"
)

// watchers are who is told of requests, passes and what happens. metrics must be there before
// the first pass.
type watchers struct {
	events   event.Log
	metrics  *metrics.Metrics
	compared comparison
}

// passed is reconcile.Config.Observe.
func (w *watchers) passed(p reconcile.Passed) {
	if p.Full {
		w.metrics.FullPass(p.Err, p.Took)
	} else {
		w.metrics.DeltaPass(p.Err, p.Took)
	}
	w.compared.old.Store(true)
}

// measured is where the metrics come from. a and h need not be whole before somebody scrapes.
func measured(c Config, a *admin, h *host) metrics.Sources {
	return metrics.Sources{
		Version: c.Version,
		View:    func(ctx context.Context) (view.View, error) { return a.view(ctx) },
		Bridges: func() (map[string]metrics.Bridge, error) {
			all, err := h.links.BridgeCounters()
			bridges := make(map[string]metrics.Bridge, len(all))
			for name, c := range all {
				bridges[name] = metrics.Bridge{
					From: metrics.Count{Packets: c.RxPackets, Bytes: c.RxBytes, Drops: c.RxDropped},
					To:   metrics.Count{Packets: c.TxPackets, Bytes: c.TxBytes, Drops: c.TxDropped},
				}
			}
			return bridges, err
		},
		Relayed: func() (tcp, udp metrics.Relayed) {
			r := h.ports.Relayed()
			return relayed(r.TCP), relayed(r.UDP)
		},
		Named: func() metrics.Named { return servedByName(h.names.Counts()) },
		Drift: func() map[string]metrics.Drift {
			drift := map[string]metrics.Drift{}
			for _, aspect := range reconcile.AspectNames() {
				drift[aspect] = metrics.Drift{}
			}
			for aspect, h := range a.healings() {
				drift[aspect] = metrics.Drift{Found: uint64(h.Found + h.Unhealed), Healed: uint64(h.Found), Changes: uint64(h.Changes)}
			}
			return drift
		},
		Denied: func() (map[string]metrics.Denied, uint64) { return h.denials.measured() },
		Health: func() metrics.Health { return metrics.Health{Ready: a.isReady(), Failed: a.lastError() != nil} },
		Store: func() (int64, error) {
			info, err := os.Stat(stateFile(c))
			if err != nil {
				return 0, err
			}
			return info.Size(), nil
		},
		Read: lacks(c.Log),
		Crashed: func(value any, stack []byte) {
			c.Log.WithField("stack", string(stack)).Errorf("mybr crashed in a scrape of its metrics: %v", value)
		},
	}
}

// lacks logs why a source of the metrics can't be read, once until that changes.
func lacks(log logrus.FieldLogger) func(source string, err error) {
	var mu sync.Mutex // scrapes can come together
	told := map[string]string{}
	return func(source string, err error) {
		text := ""
		if err != nil {
			text = printableError(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if text != "" && text != told[source] {
			log.WithField("source", source).Warnf("the metrics are not whole: %s", text)
		}
		told[source] = text
	}
}

func relayed(t relay.Traffic) metrics.Relayed {
	return metrics.Relayed{Begun: t.Begun, Ended: t.Ended, Refused: t.Refused, Unreachable: t.Unreachable, To: t.In, From: t.Out}
}

func servedByName(c byname.Counts) metrics.Named {
	n := metrics.Named{
		Refused: c.Refused, Unreachable: c.Unreachable, To: c.Out, From: c.In,
		Answered: c.DNS.Answered, Refusals: c.DNS.Refused, Failed: c.DNS.Failed, Malformed: c.DNS.Malformed, Dropped: c.DNS.Dropped,
	}
	n.TLS, n.HTTP = c.TLS, c.HTTP
	return n
}

// newSite makes all that is served by HTTP.
func newSite(a *admin, w *watchers, s *surgery) (http.Handler, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "" // the page then has no name to show
	}
	shown, err := page.New(page.Config{
		Host: Printable(host),
		View: func(ctx context.Context) (view.View, error) {
			v, err := a.view(ctx)
			v.Escape(Printable)
			return v, err
		},
		Health:   func(ctx context.Context) page.Health { return a.health(ctx, &w.compared) },
		Events:   func() []page.Event { return happened(&w.events) },
		Findings: s.findings,
		Drawing: func(v view.View) ([]byte, error) {
			// How interfaces are called in containers is not looked for: mybr must not enter
			// their namespaces.
			uplinks, err := here.Uplinks(v)
			if err != nil {
				err = errors.New(printableLines(err.Error()))
			}
			return topology.Of(v, topology.Host{Name: host, Uplinks: uplinks}, topology.Usual).SVG(), err
		},
	})
	if err != nil {
		return nil, err
	}
	return site{page: shown, metrics: w.metrics.Handler(), ready: a.ready}.handler(), nil
}

// health is how the page tells of the process.
func (a *admin) health(ctx context.Context, c *comparison) page.Health {
	h := page.Health{Version: a.version, Since: a.since, Ready: a.isReady(), Firewall: a.firewall()}
	if err := a.lastError(); err != nil {
		h.Failed = printableLines(err.Error())
	}
	all := a.healings()
	for _, aspect := range slices.Sorted(maps.Keys(all)) {
		if of := all[aspect]; of.Found > 0 {
			h.Healed = append(h.Healed, page.Healed{Aspect: aspect, Times: of.Found, Last: of.Last})
		}
	}
	if err := a.late(); err != nil {
		h.Late = printableLines(err.Error())
	}
	if !a.canCompare() {
		h.Unknown = notReady
		return h
	}
	diff, err := c.get(ctx, a.diffNow)
	for _, d := range diff {
		one := page.Difference{Aspect: d.Aspect}
		for _, change := range d.Changes {
			one.Changes = append(one.Changes, Printable(change))
		}
		if d.Err != nil {
			one.Error = printableLines(d.Err.Error())
		}
		h.Differences = append(h.Differences, one)
	}
	if err != nil {
		h.Unknown = printableLines(err.Error())
	}
	return h
}

// The host is compared for the page only so often that passes, which wait for it, lose a
// fiftieth of their time; and no more often than compareEvery, or compareSoon after a pass. But
// where it takes long, as on a busy machine or while somebody holds a lock, what is shown is not
// older than compareLongest: it would be taken for how the host is.
const (
	compareEvery   = 10 * time.Second
	compareSoon    = 2 * time.Second
	compareShare   = 50
	compareLongest = time.Minute
)

// comparison is the last one of the host with the records. The zero value is ready for use;
// get is for one caller at a time.
type comparison struct {
	old atomic.Bool // a pass has ended since

	at   time.Time // when it ended; zero: there was none
	took time.Duration
	diff []reconcile.Difference
	err  error
}

// get compares, unless it was done a moment ago or a pass is under way.
func (c *comparison) get(ctx context.Context, compare func(context.Context) ([]reconcile.Difference, error)) ([]reconcile.Difference, error) {
	pause := compareEvery
	if c.old.Load() {
		pause = compareSoon
	}
	if !c.at.IsZero() && time.Since(c.at) < max(pause, min(compareShare*c.took, compareLongest)) {
		return c.diff, c.err
	}
	begun := time.Now()
	c.old.Store(false)
	diff, err := compare(ctx)
	if errors.Is(err, reconcile.ErrPassing) {
		c.old.Store(true) // the next look comes behind it
		return c.diff, c.err
	}
	if err != nil {
		err = fmt.Errorf("compare the host with the records: %w", err)
	}
	c.diff, c.err, c.at, c.took = diff, err, time.Now(), time.Since(begun)
	return diff, err
}
