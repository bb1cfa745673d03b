package plugin

import (
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/watch"
)

// watch subscribes to what other programs change on the host, and has the reconciler look
// at it.
func (h *host) watch(warn func(format string, args ...any)) (*watch.Watcher, error) {
	const lost = "something, in a burst of events"
	r := h.reconciler
	return watch.Open(watch.Config{
		Link:          func(name string) { r.Suspect(reconcile.LinkAspect, "", name) },
		ForwardingOff: func(ipv6 bool) { r.Suspect(reconcile.SysctlAspect, "", reconcile.ForwardingSetting(ipv6)) },
		Own:           h.filter.Own,
		Matters:       func(c watch.RuleChange) bool { return h.filter.Matters(c.Table, c.Chain, c.Message) },
		Rules:         func(by watch.Process) { r.Suspect(reconcile.FirewallAspect, by.String()) },
		LostLinks: func() {
			r.Suspect(reconcile.LinkAspect, lost)
			r.Suspect(reconcile.SysctlAspect, lost)
		},
		LostRules: func() { r.Suspect(reconcile.FirewallAspect, lost) },
		Warn:      warn,
	})
}
