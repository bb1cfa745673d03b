package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/watch"
)

// watch subscribes to what other programs change on the host, and has the reconciler look
// at it.
func (h *host) watch() (*watch.Watcher, error) {
	const lost = "something, in a burst of events"
	r := h.reconciler
	return watch.Open(watch.Config{
		Link:          func(name string) { r.Suspect(reconcile.LinkAspect, "", name) },
		ForwardingOff: func(ipv6 bool) { r.Suspect(reconcile.SysctlAspect, "", reconcile.ForwardingSetting(ipv6)) },
		Own:           func(pid int) bool { return h.filter.Own(pid) || h.spoof.Own(pid) },
		Matters: func(c watch.RuleChange) bool {
			return h.filter.Matters(c.Table, c.Chain, c.Message) || h.spoof.Matters(c.Table)
		},
		Rules: func(by watch.Process) { // one transaction may have changed both
			r.Suspect(reconcile.FirewallAspect, by.String())
			r.Suspect(reconcile.SpoofAspect, by.String())
		},
		LostLinks: func() {
			r.Suspect(reconcile.LinkAspect, lost)
			r.Suspect(reconcile.SysctlAspect, lost)
		},
		LostRules: func() {
			r.Suspect(reconcile.FirewallAspect, lost)
			r.Suspect(reconcile.SpoofAspect, lost)
		},
		Warn: h.warn,
	})
}

// late returns why changes by other programs are not noticed at once; nil: they are.
func (h *host) late() error {
	switch {
	case !h.watching:
		return errors.New("turned off (--resync-interval 0)")
	case h.watcher == nil:
		return h.unwatched
	}
	return h.watcher.Trouble()
}

// pollInterval is how often changes are looked for that the kernel tells nobody of.
const pollInterval = time.Second

// poll looks for changes of rules that the kernel tells nobody of, until ctx ends. The same
// error is told once.
func (h *host) poll(ctx context.Context) {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		changed, err := h.filter.Changed()
		if changed {
			h.reconciler.Suspect(reconcile.FirewallAspect, "a program that uses iptables-legacy")
		}
		if err != nil && err.Error() != told {
			h.warn("changes of rules are noticed late: %v", err)
			told = err.Error()
		}
	}
}
