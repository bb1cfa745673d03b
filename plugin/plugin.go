// Package plugin is the process: it holds the records, answers Docker on one socket
// that speaks two protocols (NetworkDriver and IpamDriver) and the operator on
// another, and keeps the host as the records say.
//
// It listens first and makes the host match behind that; calls that need the host
// wait for the first pass. So Docker never waits for a socket, and a host that can't
// be put right is no reason for Docker to give the plugin up.
//
// Be aware: when the client of a call hangs up, the call's context ends, and driver and
// ipam decide what follows; a call that has not begun by then is not carried out. Nothing
// here undoes the networks when the process ends: containers go on without it, except for
// the connections that it relays.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/driver"
	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/metrics"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/store"
	"github.com/mybr/mybr/ipam"
)

// bootID is another for each boot of the kernel (random(4)).
const bootID = "/proc/sys/kernel/random/boot_id"

// Run is the plugin from its start until ctx ends and the calls that are under way
// have been answered.
func Run(ctx context.Context, c Config) error {
	if err := c.CheckHTTP(); err != nil {
		return err
	}
	held, err := lockNamespace(ctx, c.Log.Warnf)
	if err != nil {
		return err
	}
	defer held.Close()
	fault.Passed("plugin: after locking the namespace")
	records, err := openRecords(c)
	if err != nil {
		return err
	}
	defer records.Close()
	told := &watchers{}
	host, err := newHost(c, records, told)
	if err != nil {
		return err
	}
	defer host.ports.Close()
	docker, operator, err := open(ctx, c)
	if err != nil {
		return err
	}
	fault.Passed("plugin: after opening the sockets")
	snapshot := records.Snapshot()
	c.Log.WithFields(logrus.Fields{
		"version": c.Version, "networks": len(snapshot.Networks), "endpoints": len(snapshot.Endpoints),
	}).Infof("serving Docker on %s", docker.path)

	networks := driver.New(driver.Config{
		Store: driverRecords{records}, Sync: host.reconciler, Ports: host.ports, Links: host.links, Routes: host.links.LinkRoutes,
		IPv6: host.noIPv6, Spoof: host.spoof.Lacks(), SpoofDefault: host.spoofDefault, PublishByHost: c.publishByHost(), PublishAddress: c.PublishAddress, Lives: lives, Warn: c.Log.Warnf,
	})
	if err := networks.RemoveEnded(); err != nil {
		c.Log.WithError(err).Warn("endpoints whose containers are gone may still be there")
	}
	if err := networks.WarnClosed(); err != nil {
		c.Log.WithError(err).Warn("published ports that nothing carries are not told of")
	}
	addresses := ipam.New(ipam.Config{Store: pools{records}, Routes: host.links, Pools: c.AddressPools, Quarantine: c.AddressQuarantine})
	table := routes(networks, addresses, host.reconciler.DockerStarted)
	answers := &admin{
		backup: records.Backup, compares: host.reconciler.Ready(),
		version: c.Version, firewall: host.filter.Variant, since: time.Now(),
		snapshot: records.Snapshot, lastError: host.reconciler.LastError, diff: host.reconciler.Diff, diffNow: host.reconciler.DiffNow,
		healings: host.reconciler.Healings, late: host.late, unheard: host.denials.unheard, unchecked: host.unchecked, asked: c.SpoofAsked, failed: host.reconciler.FailedSince,
		view: newViewer(records.Snapshot, addresses.Usage, c.publishByHost(), host.filter).view,
		sync: host.reconciler.Mend, events: &told.events, followers: make(chan struct{}, maxFollowers), stopping: ctx,
	}
	answers.resources = func() (Runtime, error) { return resources(stateFile(c)) }
	answers.ruler = &ruler{
		snapshot: records.Snapshot, want: host.reconciler.Want, diff: host.reconciler.Diff,
		explain: func(h reconcile.Host) []firewall.ExplainedRule {
			return append(host.filter.Explain(h.Firewall), host.spoof.Explain(h.Spoof)...)
		},
		told: host.told,
	}
	answers.forgetter = &forgetter{
		snapshot: records.Snapshot, pools: addresses.Usage, log: c.Log,
		deleteNetwork: deletes(networks, addresses), releasePool: addresses.ReleasePool,
	}
	answers.denier = &denier{denials: host.denials, snapshot: records.Snapshot}
	answers.setter = &setter{
		setNetwork: networks.SetNetwork, setEndpoint: networks.SetEndpoint,
		addPorts: networks.AddPorts, removePorts: networks.RemovePorts,
		setList: networks.SetList, removeList: networks.RemoveList, log: c.Log,
	}
	told.metrics = metrics.New(measured(c, answers, host), methods(table))
	stop, ready := host.start(ctx, func(ctx context.Context) {
		if err := networks.RemoveStale(ctx); err != nil {
			c.Log.WithError(err).Warn("endpoints and networks that Docker has given up may still be there")
		}
		if err := host.forgetEnded(ctx, records); err != nil {
			c.Log.WithError(err).Warn("tracked flows of these addresses are looked for again")
		}
		if err := host.tellRefused(ctx, records.Snapshot()); err != nil {
			c.Log.WithError(err).Warn("frames that were refused are not told of")
		}
		host.denials.check(records.Snapshot())
		if err := networks.WarnOverlaps(); err != nil {
			c.Log.WithError(err).Warn("routes that overlap networks are not told of")
		}
	})
	defer stop()
	answers.ready, answers.forgetter.ready, answers.setter.ready = ready, ready, ready
	leave, err := serveSite(ctx, c, answers, told)
	if err != nil {
		return err
	}
	defer leave()
	calls := &handler{
		calls: table, ready: ready, stopping: ctx.Done(), linger: lingerFor, log: c.Log, observe: told.metrics.Request,
	}
	return serveUntil(ctx, c.Log, service{docker, calls}, service{operator, answers.handler()})
}

func stateFile(c Config) string { return filepath.Join(c.StateDir, "mybr.db") }

// openRecords opens the store, voids what a reboot has ended, and goes on where records
// are lost.
func openRecords(c Config) (*store.Store, error) {
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's boot id: %w", err)
	}
	records, err := store.Start(store.Config{
		Path: stateFile(c), Copy: copyPath(c), Info: c.Log.Infof, Warn: c.Log.Warnf,
	})
	if err != nil {
		return nil, err
	}
	fault.Passed("plugin: after opening the state file")
	rebooted, err := records.Boot(strings.TrimSpace(string(boot)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record the boot id: %w", err), records.Close())
	}
	fault.Passed("plugin: after recording the boot")
	if rebooted {
		c.Log.Info("the host was booted since mybr ran last: the endpoints of then are forgotten")
	}
	if err := rebuildLost(c, records); err != nil {
		return nil, errors.Join(err, records.Close())
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
