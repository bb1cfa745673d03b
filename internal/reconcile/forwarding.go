package reconcile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// The settings with which the host forwards packets (ip-sysctl.rst).
const (
	forwarding4 = "net/ipv4/ip_forward"
	forwarding6 = "net/ipv6/conf/all/forwarding"
)

// ForwardingSetting is the setting with which the host forwards IPv4 or IPv6, a subject of
// SysctlAspect.
func ForwardingSetting(ipv6 bool) string {
	if ipv6 {
		return forwarding6
	}
	return forwarding4
}

// Forwarding knows in which families mybr has the host forward that did not before, since
// it was booted. In those it must not become a router for everybody: nothing is forwarded
// that no rule accepts. Docker sees to that itself when it turns forwarding on, and finds
// it on when mybr was first. Where forwarding was on for other reasons nothing is dropped.
//
// It is recorded before forwarding is turned on, for afterwards nobody could tell.
type Forwarding struct {
	// Get returns the value of a setting.
	Get func(path string) (string, error)
	// Enabled reports whether it is recorded that mybr has turned a setting on.
	Enabled func(path string) (bool, error)
	// Enable records that.
	Enable func(path string) error
	// Info is told what is about to be turned on.
	Info func(format string, args ...any)

	known map[string]bool // by setting: whether mybr turned it on; false: it was on
}

// DefaultDrop returns the families in which nothing may be forwarded that no rule accepts.
// needed are those that mybr needs the host to forward in. decide says that forwarding is
// about to be turned on: without it nothing is recorded. It is for one caller at a time.
//
// An error says that it can't be told for every family: then forwarding must not be
// turned on.
func (f *Forwarding) DefaultDrop(needed firewall.Families, decide bool) (drop firewall.Families, err error) {
	var err4, err6 error
	drop.V4, err4 = f.mine(forwarding4, needed.V4, decide)
	drop.V6, err6 = f.mine(forwarding6, needed.V6, decide)
	return drop, errors.Join(err4, err6)
}

// mine reports whether mybr has turned a setting on, or is about to.
func (f *Forwarding) mine(path string, needed, decide bool) (bool, error) {
	mine, known := f.known[path]
	if !known {
		var err error
		if mine, err = f.Enabled(path); err != nil {
			return mine, err
		}
	}
	if known && mine || !mine && !needed {
		return mine, nil
	}
	if !mine {
		value, err := f.Get(path)
		if err != nil {
			return false, err
		}
		if mine = value == "0"; mine && !decide {
			return true, nil
		}
		if mine {
			f.Info("%s is 0: mybr turns it on for its containers, and has a rule at the end of FORWARD drop what no rule accepts", path)
			if err := f.Enable(path); err != nil {
				return false, fmt.Errorf("turn %s on: %w", path, err)
			}
		}
	}
	if f.known == nil {
		f.known = map[string]bool{}
	}
	f.known[path] = mine
	return mine, nil
}

// forwards returns the families in which the host must forward for an endpoint.
func forwards(n *model.Network, e *model.Endpoint) firewall.Families {
	return firewall.Families{V4: !n.Internal && e.V4.IsValid(), V6: !n.Internal && e.V6.IsValid()}
}

// forwarded returns the links of the endpoints that need a setting of forwarding, sorted.
func (h Host) forwarded(path string) (links []string) {
	internal := map[string]bool{}
	for _, n := range h.Firewall.Networks {
		internal[n.Bridge] = n.Internal
	}
	for _, v := range h.Links.Veths {
		if address := map[bool]bool{true: v.V4.IsValid(), false: v.V6.IsValid()}[path == forwarding4]; address && !internal[v.Bridge] {
			links = append(links, v.Host)
		}
	}
	slices.Sort(links)
	return links
}

// render says what the host must be like now, and what could not be told for it. decide is
// that of Forwarding.DefaultDrop.
func (r *Reconciler) render(decide bool) (Host, []failure) {
	var err error
	s := r.Snapshot()
	h := r.renderer.render(s, r.Options, func(needed firewall.Families) Options {
		o := r.Options
		if r.Config.Forwarding != nil {
			o.DefaultDrop, err = r.Config.Forwarding(needed, decide)
			if o.KeepForwarding = err != nil; err != nil {
				o.DropInDoubt = firewall.Families{V4: !o.DefaultDrop.V4, V6: !o.DefaultDrop.V6}
			}
		}
		return o
	})
	r.opened.render(&h, s, &r.renderer, decide, func() { r.request() })
	var failures []failure
	if err != nil {
		links := slices.Concat(h.forwarded(forwarding4), h.forwarded(forwarding6))
		slices.Sort(links)
		failures = append(failures, failure{links: links, aspect: SysctlAspect, err: err})
	}
	if err := r.process(&h, decide); err != nil {
		failures = append(failures, failure{links: h.named(), aspect: FirewallAspect, err: err})
	}
	return h, failures
}
