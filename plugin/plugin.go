// Package plugin is the process: it holds the records, answers Docker on one socket
// that speaks two protocols (NetworkDriver and IpamDriver) and the operator on
// another, and keeps the host as the records say.
//
// It listens first and makes the host match behind that; calls that need the host
// wait for the first pass. So Docker never waits for a socket, and a host that can't
// be put right is no reason for Docker to give the plugin up.
//
// Be aware: a call that has begun is carried through even if Docker hangs up. Nothing
// here undoes the networks when the process ends: containers go on without it, save
// for connections that it carries itself.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall/iptables"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/internal/sysctl"
	"github.com/mybr/mybr/ipam"
)

// bootID is another for each boot of the kernel (random(4)).
const bootID = "/proc/sys/kernel/random/boot_id"

// Run is the plugin from its start until ctx ends and the calls that are under way
// have been answered.
func Run(ctx context.Context, c Config) error {
	held, err := lockNamespace(ctx, c.Log.Warnf)
	if err != nil {
		return err
	}
	defer held.Close()
	records, err := openRecords(c)
	if err != nil {
		return err
	}
	defer records.Close()
	host, err := newHost(c, records)
	if err != nil {
		return err
	}
	defer host.ports.Close()
	docker, operator, err := open(ctx, c)
	if err != nil {
		return err
	}
	snapshot := records.Snapshot()
	c.Log.WithFields(logrus.Fields{
		"version": c.Version, "networks": len(snapshot.Networks), "endpoints": len(snapshot.Endpoints),
	}).Infof("serving Docker on %s", docker.path)

	networks := driver.New(driver.Config{Store: records, Sync: host.reconciler, Ports: host.ports, Links: host.links, IPv6: host.noIPv6, Warn: c.Log.Warnf})
	if err := networks.ForgetDead(); err != nil {
		c.Log.WithError(err).Warn("endpoints whose containers are gone may still be there")
	}
	stop, ready := host.start(ctx, func(ctx context.Context) {
		if err := networks.ForgetUnanswered(ctx); err != nil {
			c.Log.WithError(err).Warn("networks that Docker does not have may still be there")
		}
	}, func(ctx context.Context) {
		if err := networks.ForgetPutBack(ctx); err != nil {
			c.Log.WithError(err).Warn("endpoints that Docker has left may still be there")
		}
	})
	defer stop()
	calls := &handler{
		calls: routes(
			networks,
			ipam.New(ipam.Config{Store: pools{records}, Routes: host.links, Pools: c.AddressPools}),
			host.doubt,
		),
		ready:    ready,
		stopping: ctx.Done(),
		log:      c.Log,
	}
	answers := &admin{
		version: c.Version, firewall: host.filter.Variant, since: time.Now(),
		ready: ready, snapshot: records.Snapshot, lastError: host.reconciler.LastError,
	}
	return serveUntil(ctx, c.Log, service{docker, calls}, service{operator, answers.handler()})
}

// openRecords opens the store and voids what a reboot has ended.
func openRecords(c Config) (*store.Store, error) {
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's boot id: %w", err)
	}
	records, err := store.Open(filepath.Join(c.StateDir, "mybr.db"))
	if err != nil {
		return nil, err
	}
	rebooted, err := records.Boot(strings.TrimSpace(string(boot)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record the boot id: %w", err), records.Close())
	}
	if rebooted {
		c.Log.Info("the host was booted since mybr ran last: the endpoints of then are forgotten")
	}
	return records, nil
}

// open returns Docker's and the operator's sockets: systemd's, or else new ones.
func open(ctx context.Context, c Config) (docker, operator *socket, err error) {
	paths := map[string]string{
		pluginSocket: filepath.Join(c.PluginDir, c.Name+".sock"),
		adminSocket:  adminPath(c.RunDir),
	}
	sockets, err := inherited(paths)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{pluginSocket, adminSocket} {
		if sockets[name] != nil {
			continue
		}
		s, err := listen(ctx, paths[name])
		if err != nil {
			for _, s := range sockets {
				s.retire()
				s.Close()
			}
			return nil, nil, err
		}
		sockets[name] = s
	}
	return sockets[pluginSocket], sockets[adminSocket], nil
}

// host is what keeps the host as the records say.
type host struct {
	reconciler *reconcile.Reconciler
	filter     *iptables.Backend
	ports      *hostport.Manager
	links      *link.Applier
	noIPv6     error // why the host has none for networks; nil: it has
	firewalld  *firewalld.Applier
	doubts     chan struct{} // holds one
}

func newHost(c Config, records *store.Store) (*host, error) {
	switch c.Firewall {
	case firewallAuto, firewallIptables: // the only backend, so auto has no choice
	default:
		return nil, fmt.Errorf("firewall %q: want one of %s", c.Firewall, strings.Join(Firewalls(), ", "))
	}
	filter, err := iptables.New(iptables.Config{Info: c.Log.Infof, Warn: c.Log.Warnf})
	if err != nil {
		return nil, err
	}
	noIPv6 := filter.IPv6()
	if noIPv6 != nil {
		c.Log.Warnf("networks get no IPv6 on this host: %v", noIPv6)
	}
	settings := &sysctl.Applier{Root: c.SysctlRoot, Info: c.Log.Infof}
	h := &host{
		filter: filter,
		ports:  hostport.New(hostport.Config{Warn: c.Log.Warnf, Root: c.SysctlRoot}),
		links: &link.Applier{Warn: c.Log.Warnf, Prepare: func(ctx context.Context, b link.Bridge) error {
			return settings.Apply(ctx, nil, reconcile.BridgeSettings(b))
		}},
		firewalld: &firewalld.Applier{Info: c.Log.Infof},
		noIPv6:    noIPv6,
		doubts:    make(chan struct{}, 1),
	}
	settings.Before = warnOfRouters(settings, h.links.Learned, c.Log.Warnf)
	h.reconciler = reconcile.New(reconcile.Config{
		Snapshot:  records.Snapshot,
		Closed:    newClosing(settings, records, c.Log.Infof).families,
		Options:   reconcile.Options{NoIPv6: noIPv6 != nil, DirectRouting: c.DirectRouting, Accept: c.AcceptMark},
		Firewalld: h.firewalld,
		Firewall:  filter,
		Links:     h.links,
		Sysctls:   settings,
		Ports:     h.ports,
		Forget:    conntrack.Forget,
		Log:       c.Log,
	})
	return h, nil
}

// start makes the first pass and then every pass that is asked for, until stop is
// called. ctx's end does not stop it: the last calls still need it. ready is closed
// once the first pass and what is to be done behind it have ended; later is done when
// Docker has had the time to finish what it was at.
func (h *host) start(ctx context.Context, behind, later func(context.Context)) (stop func(), ready <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	begun := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { h.reconciler.Run(ctx) })
	running.Go(func() { h.besideFirewalld(ctx) })
	running.Go(func() {
		select {
		case <-h.reconciler.Ready():
		case <-ctx.Done():
			return
		}
		behind(ctx)
		close(begun)
		settled := time.NewTimer(driver.Settle)
		defer settled.Stop()
		for {
			select {
			case <-settled.C:
				later(ctx)
			case <-h.doubts:
				_ = h.reconciler.Resync(ctx) // a pass logs what went wrong
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}, begun
}

// doubt asks for a pass from scratch, without waiting for it: Docker has just
// started, and may have put its own firewall rules in front of mybr's.
func (h *host) doubt() {
	select {
	case h.doubts <- struct{}{}:
	default: // asked for already
	}
}
