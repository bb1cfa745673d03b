package plugin

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/backend"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/internal/sysctl"
	"github.com/mybr/mybr/internal/watch"
)

// host is what keeps the host as the records say.
type host struct {
	reconciler   *reconcile.Reconciler
	filter       firewall.Backend
	spoof        *nftables.Spoof
	spoofDefault string   // the mode of networks that don't say it (model.SpoofMode)
	unchecked    error    // why --spoof does nothing although it asks for something
	refused      refusals // of senders
	passed       refusals // likewise, where they are only counted
	ports        *hostport.Manager
	links        *link.Applier
	noIPv6       error // why the host has none for networks; nil: it has
	denials      *denials
	firewalld    *firewalld.Applier
	flows        *conntrack.Applier
	names        *byname.Server
	warn         func(format string, args ...any)
	watching     bool           // what others change is looked for
	unwatched    error          // why the kernel does not tell of it
	watcher      *watch.Watcher // nil: the kernel does not tell of it
}

// lastWait is how long the end of the process waits for the kernel to destroy links, which
// takes it less than a tenth of a second unless something holds them.
const lastWait = 5 * time.Second

// flowsAgain is when flows are looked for again that could not be deleted.
const flowsAgain = time.Second

// newHost returns what is to keep the host; told is told of each pass and of what happens.
func newHost(c Config, records *store.Store, told *watchers) (*host, error) {
	// A pass logs what it has changed when an aspect is done; to debug it, as it is done too.
	filter, err := backend.Open(c.Firewall, firewall.Config{Info: c.Log.Debugf, Warn: c.Log.Warnf})
	if err != nil {
		return nil, err
	}
	denials := newDenials(records.Snapshot, c.Log)
	filter = telling{filter, denials.want}
	noIPv6 := filter.IPv6()
	if noIPv6 != nil {
		c.Log.Warnf("networks get no IPv6 on this host: %v", noIPv6)
	}
	settings := &sysctl.Applier{Root: c.SysctlRoot, Info: c.Log.Debugf}
	fixed := settings.Fixed(link.DefaultSetting)
	if fixed != nil {
		c.Log.Warnf("settings of links can't be written, and firewall rules stand in for them: %v", fixed)
	}
	var h *host
	lost := func(err error) {
		h.reconciler.Invalidate(fmt.Sprintf("mybr, which could not hold a port for one family alone (%v)", err), reconcile.PortAspect)
	}
	flows := &conntrack.Applier{Info: c.Log.Infof}
	h = &host{
		filter:    filter,
		spoof:     nftables.NewSpoof(c.Log.Warnf),
		refused:   refusals{},
		passed:    refusals{},
		denials:   denials,
		ports:     hostport.New(hostport.Config{Warn: c.Log.Warnf, Lost: lost, Early: flows.Looking, Root: c.SysctlRoot}),
		links:     &link.Applier{Settings: settings, Info: c.Log.Infof, Warn: c.Log.Warnf},
		firewalld: &firewalld.Applier{Info: c.Log.Infof},
		flows:     flows,
		noIPv6:    noIPv6,
		warn:      c.Log.Warnf,
	}
	h.spoofDefault = c.Spoof
	if h.unchecked = c.unchecked(h.spoof.Lacks()); h.unchecked != nil {
		c.Log.Warnf("containers may send with any MAC and from any address: %v", h.unchecked)
		h.spoofDefault = model.SpoofAllow
	}
	settings.Before = h.links.BeforeSetting
	h.spoof.Isolate = h.links.Isolate
	h.spoof.Kept = func(links []string) { h.reconciler.Forget(reconcile.LinkAspect, links...) }
	h.links.Left = func(err error) {
		h.reconciler.Invalidate(fmt.Sprintf("the kernel, which did not destroy %v", err), reconcile.LinkAspect)
	}
	forwarding := &reconcile.Forwarding{
		Get: settings.Get, Info: c.Log.Infof,
		Enabled: func(path string) (on bool, err error) {
			err = records.View(func(tx *store.Tx) error { on = tx.TurnedOn(path); return nil })
			return on, err
		},
		Enable: func(path string) error {
			_, err := records.Update(func(tx *store.Tx) error { return tx.SetTurnedOn(path) })
			return err
		},
	}
	known, err := withEnded(records)
	if err != nil {
		return nil, err
	}
	logged := "" // of errors, once each; Failed is called by one goroutine at a time
	h.flows.Failed = func(err error) {
		if err.Error() != logged {
			logged = err.Error()
			h.warn("tracked flows of what was removed are looked for again: %v", err)
		}
		time.AfterFunc(flowsAgain, func() { h.flows.Again() })
	}
	if h.names, err = newNames(c.Log, records, h); err != nil {
		return nil, err
	}
	denials.given = h.names.Given
	h.flows.Looked = h.ports.Looked
	h.flows.Forgot = func(changes []string) { h.reconciler.Made(reconcile.FlowAspect, changes) }
	h.reconciler = reconcile.New(reconcile.Config{
		Snapshot: records.Snapshot,
		Options: reconcile.Options{
			SpoofDefault: h.spoofDefault, PublishByHost: c.publishByHost(),
			NoIPv6: noIPv6 != nil, FixedSettings: fixed != nil, DirectRouting: c.DirectRouting, Accept: c.AcceptMark,
		},
		Forwarding: forwarding.DefaultDrop,
		Process:    h.process,
		Aspects: reconcile.Appliers{
			Firewalld: h.firewalld,
			Firewall:  filter,
			Spoof:     h.spoof,
			Links:     h.links,
			Sysctls:   settings,
			Flows:     h.flows,
			Ports:     h.ports,

			LookAtLink:   h.links.Look,
			FirewallHint: filter.SlowHint(),
		}.Aspects(known),
		ResyncInterval: c.ResyncInterval,
		Observe: func(p reconcile.Passed) {
			if p.Err == nil {
				h.names.Settled()
			}
			told.passed(p)
		},
		Log:  c.Log,
		Tell: told.events.Add,
	})
	if c.ResyncInterval > 0 {
		h.watching = true
		if h.watcher, err = h.watch(); err != nil {
			h.unwatched = err
			c.Log.Warnf("what other programs change on the host is noticed every %s only: %v", c.ResyncInterval, err)
		}
	}
	return h, nil
}

// start makes the first pass and then every pass that is asked for, until stop is
// called. ctx's end does not stop it: the last calls still need it. ready is closed
// once the first pass and the first check behind it have ended; more of them follow, every
// driver.CheckInterval.
func (h *host) start(ctx context.Context, check func(context.Context)) (stop func(), ready <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	begun := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { h.reconciler.Run(ctx) })
	if h.watcher != nil {
		running.Go(func() { h.watcher.Run(ctx) })
	}
	if h.watching {
		running.Go(func() { h.poll(ctx) })
	}
	running.Go(func() { h.firewalld.Watch(ctx, h.reconciler.FirewalldChanged) })
	running.Go(func() {
		select {
		case <-h.reconciler.Ready():
		case <-ctx.Done():
			return
		}
		fault.Passed("plugin: after the first pass")
		check(ctx)
		fault.Passed("plugin: after the first check")
		close(begun)
		debug.FreeOSMemory() // what the start has read is garbage now
		checks := time.NewTicker(driver.CheckInterval)
		defer checks.Stop()
		for {
			select {
			case <-checks.C:
				check(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
		h.denials.stop()
		ctx, cancel := context.WithTimeout(context.Background(), lastWait)
		defer cancel()
		if err := h.links.Wait(ctx); err != nil {
			h.warn("%v; the next start looks for them", err)
		}
		if err := h.flows.Wait(ctx); err != nil {
			h.warn("flows of what went are looked for by the next start: %v", err)
		}
		h.filter.Close()
		h.spoof.Close()
		_ = h.flows.Close() // of a socket; what it holds ends with the process anyway
		h.names.Close()
	}, begun
}

// told reads one of the changes of a plan of rules.
func (h *host) told(change string) (firewall.Change, bool) {
	if c, ok := h.spoof.Told(change); ok {
		return c, true
	}
	return h.filter.Told(change)
}
