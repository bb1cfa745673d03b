package plugin

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/backend"
	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/reconcile"
	"github.com/mybr/mybr/internal/sysctl"
)

// idle is an applier that finds everything as it is wanted.
type idle[T any] struct{}

func (idle[T]) Plan(context.Context, *T, T) (plan.Plan, error) { return nil, nil }

// manyPorts is a network with a container that has n ports published one by one.
func manyPorts(n int) model.Snapshot {
	network := model.Network{
		ID: strings.Repeat("4f2a", 16), Bridge: "mybr0", Owned: true, BridgeMAC: model.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400, ICC: true,
		V4: model.Subnet{
			Prefix: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1"),
			Address: netip.MustParsePrefix("172.18.0.1/16"), Masquerade: true,
		},
	}
	endpoint := model.Endpoint{
		ID: strings.Repeat("0123", 16), NetworkID: network.ID, MAC: model.MAC{2, 0, 0, 0, 0, 2},
		V4: netip.MustParsePrefix("172.18.0.2/16"),
	}
	for i := range n {
		endpoint.Ports = append(endpoint.Ports, model.PortBinding{
			Proto: model.TCP, Count: 1,
			Host:      netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(20000+2*i)),
			Container: netip.AddrPortFrom(endpoint.V4.Addr(), 80),
		})
	}
	return model.Snapshot{Networks: []model.Network{network}, Endpoints: []*model.Endpoint{&endpoint}}
}

// watched is a host in a namespace, with rules, links and settings in the kernel, that is
// watched. Passes run on a thread in the namespace.
func watched(t *testing.T, ns *nettest.Host, s model.Snapshot, log *logrus.Logger) *host {
	t.Helper()
	filter, err := backend.Open("auto", firewall.Config{Warn: log.Warnf})
	if err != nil {
		t.Fatal(err)
	}
	settings := &sysctl.Applier{}
	h := &host{filter: filter, spoof: nftables.NewSpoof(log.Warnf), links: &link.Applier{Settings: settings, Warn: log.Warnf}, warn: log.Warnf}
	h.reconciler = reconcile.New(reconcile.Config{
		Snapshot: func() model.Snapshot { return s },
		Aspects: reconcile.Appliers{
			Firewalld: idle[firewalld.Set]{}, Firewall: filter, Spoof: h.spoof, Links: h.links, LookAtLink: h.links.Look,
			Sysctls: settings, Flows: idle[conntrack.Set]{}, Ports: idle[hostport.Set]{},
		}.Aspects(s),
		Log: log,
	})
	watcher, err := h.watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ns.Go(func() { h.reconciler.Run(ctx) })
	ns.Go(func() { watcher.Run(ctx) })
	t.Cleanup(cancel)
	<-h.reconciler.Ready()
	return h
}

// text is a log's output.
type text struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// What others undo in the kernel is put right, once each time, with 500 published ports. How
// long that takes is measured with an engine (docs/reliability.md).
func TestWatchHeals(t *testing.T) {
	ns := nettest.New(t)
	out := &text{}
	log := logrus.New()
	log.SetOutput(out)
	s := manyPorts(500)
	s.Networks[0].Spoof.Mode = model.SpoofRefuse
	h := watched(t, ns, s, log)
	if diff, err := h.reconciler.Diff(t.Context()); err != nil || len(diff) > 0 {
		t.Fatalf("at first: %v, %v", diff, err)
	}
	for _, c := range []struct{ aspect, command string }{
		{reconcile.FirewallAspect, "nft flush ruleset"},
		{reconcile.FirewallAspect, "iptables -t nat -F"},
		{reconcile.FirewallAspect, "iptables -D FORWARD -j MYBR-FORWARD"},
		{reconcile.SpoofAspect, "nft flush ruleset"},
		{reconcile.SpoofAspect, "nft flush chain bridge mybr-spoof port"},
		{reconcile.LinkAspect, "ip link set mybr0 down"},
		{reconcile.LinkAspect, "ip link del mybr0"},
		{reconcile.SysctlAspect, ""}, // forwarding is turned off
	} {
		found := h.reconciler.Healings()[c.aspect].Found
		if argv := strings.Fields(c.command); len(argv) > 0 {
			ns.Run(argv[0], argv[1:]...)
		} else {
			ns.Sysctl("net/ipv4/ip_forward", "0")
		}
		begun := time.Now()
		nettest.Eventually(t, 10*time.Second, func() error {
			if h.reconciler.Healings()[c.aspect].Found == found {
				return fmt.Errorf("%s: not healed", c.command)
			}
			return nil
		})
		took := time.Since(begun)
		t.Logf("%s: healed after %d ms", c.command, took.Milliseconds())
		// A flush of all rules is told for each table: one aspect may be healed before the other.
		nettest.Eventually(t, 10*time.Second, func() (err error) {
			ns.In(func() {
				var diff []reconcile.Difference
				if diff, err = h.reconciler.Diff(t.Context()); err == nil && len(diff) > 0 {
					err = fmt.Errorf("%s: %v", c.command, diff)
				}
			})
			return err
		})
	}
	if !strings.Contains(out.String(), "changed by nft (pid ") {
		t.Errorf("it is not told who flushed the rules:\n%s", out)
	}
	// What was done for that is mybr's own, and no reason to look again.
	found := h.reconciler.Healings()[reconcile.FirewallAspect].Found
	if found != 4 {
		t.Errorf("rules were healed %d times, want 4", found)
	}
}
