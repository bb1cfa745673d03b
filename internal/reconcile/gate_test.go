package reconcile

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/sysctl"
)

// What firewall rules can't be made for does not come up; what has rules does.
func TestGateOfOneNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return failed("br-b") })
		var made []string
		step := func(subject string) plan.Step {
			return plan.Step{Subject: subject, Do: func(context.Context) error { made = append(made, subject); return nil }}
		}
		h.links.plan = plan.Plan{step("br-a"), step("br-b"), step("vetha012345678"), step("vethb012345678")}
		h.set(networks())
		if err := h.r.Sync(t.Context(), "br-a", "vetha012345678"); err != nil {
			t.Errorf("the network with rules: %v", err)
		}
		for _, link := range []string{"br-b", "vethb012345678"} {
			if err := h.r.Sync(t.Context(), link); err == nil || err.Error() != "br-b is gone" {
				t.Errorf("%s: %v", link, err)
			}
		}
		if slices.Contains(made, "br-b") || slices.Contains(made, "vethb012345678") || !slices.Contains(made, "br-a") {
			t.Errorf("made: %v", made)
		}
	})
}

// Without rules nothing new comes to the host; what is there stays, and goes when it is
// wanted no longer. Only requests whose links wait are told.
func TestNothingNewComesWithoutRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		old := networks()
		old.Endpoints[0].Ports = snapshot().Endpoints[0].Ports
		h.set(old)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("iptables-restore: line 3 failed")
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return broken })
		now := networks()
		now.Networks, now.Endpoints = now.Networks[:1], now.Endpoints[:1] // b goes
		now.Endpoints[0].Ports = old.Endpoints[0].Ports
		n, e := snapshot().Networks[0], snapshot().Endpoints[0]
		now.Networks, now.Endpoints = append(now.Networks, n), append(now.Endpoints, e)
		h.set(now)
		if err := h.r.Sync(t.Context(), e.HostIface()); !errors.Is(err, broken) {
			t.Errorf("the new endpoint's request: %v", err)
		}
		if err := h.r.Sync(t.Context(), n.Bridge); !errors.Is(err, broken) {
			t.Errorf("the new network's request: %v", err)
		}
		if links := h.links.last; len(links.Bridges) != 1 || links.Bridges[0].Name != "br-a" || len(links.Veths) != 1 {
			t.Errorf("links: %+v", links)
		}
		for _, b := range h.ports.last.Bindings {
			if b.Owner == e.PortOwner() && b.Link == e.HostIface() {
				t.Errorf("a port is served: %+v", b)
			}
		}
		h.firewall.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if links := h.links.last; len(links.Bridges) != 2 || len(links.Veths) != 2 {
			t.Errorf("links, with rules: %+v", links)
		}
	})
}

// Where nothing is known of the host yet, links are not touched without rules: not even to
// remove leftovers, for what they are can't be told.
func TestFirstPassWithoutRulesTouchesNoLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return errors.New("no") })
		h.set(networks())
		h.took()
		if err := h.r.Resync(t.Context()); err == nil {
			t.Error("no error")
		}
		if got, want := h.took(), "firewalld full, firewall full, firewall full"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// A setting of forwarding that can't be written concerns endpoints that need it, and no
// network, and no endpoint of an internal network.
func TestForwardingConcernsWhoNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.sysctls.failWith(func(*sysctl.Set, sysctl.Set) error { return failed(forwarding4) })
		s := networks()
		s.Networks[1].Internal = true
		h.set(s)
		for subject, want := range map[string]bool{"br-a": false, "vetha012345678": true, "br-b": false, "vethb012345678": false} {
			if err := h.r.Sync(t.Context(), subject); (err != nil) != want {
				t.Errorf("%s: %v", subject, err)
			}
		}
	})
}

// Where it can't be told whose forwarding is, it is not turned on; the rest is done.
func TestForwardingIsKeptWhereItsOwnerIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		unknown := errors.New("the records can't be read")
		h.r.Config.Forwarding = func(needed firewall.Families, _ bool) (firewall.Families, error) {
			if !needed.V4 {
				return firewall.Families{}, nil
			}
			return firewall.Families{}, unknown
		}
		h.run(t)
		<-h.r.Ready()
		s := networks()
		h.set(s)
		if err := h.r.Sync(t.Context(), s.Endpoints[0].HostIface()); !errors.Is(err, unknown) {
			t.Errorf("an endpoint's request: %v", err)
		}
		if err := h.r.Sync(t.Context(), s.Networks[0].Bridge); err != nil {
			t.Errorf("a network's request: %v", err)
		}
		if _, ok := h.sysctls.last[forwarding4]; ok || len(h.links.last.Veths) != 2 {
			t.Errorf("settings %v, links %v", h.sysctls.last, h.links.last)
		}
	})
}

// What was invalidated for a pass that crashed is still so for the next.
func TestInvalidationOutlivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		var crash atomic.Bool
		snapshot := h.r.Snapshot
		h.r.Snapshot = func() model.Snapshot {
			if crash.Swap(false) {
				panic("no such record")
			}
			return snapshot()
		}
		h.run(t)
		<-h.r.Ready()
		h.took()
		crash.Store(true)
		h.r.Invalidate("", FirewallAspect)
		time.Sleep(lastRetry) // in the bubble's time
		synctest.Wait()
		if got, want := h.took(), "firewall full"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// What the host has otherwise is told without changing anything.
func TestDiff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff, err := h.r.Diff(t.Context()); err != nil || len(diff) != 0 {
			t.Errorf("a host that matches: %+v, %v", diff, err)
		}
		h.links.plan = plan.Plan{{Subject: "br-a", Changes: []string{"link br-a: bring up"}, Do: func(context.Context) error {
			t.Error("it was carried out")
			return nil
		}}}
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return errors.New("no lock") })
		diff, err := h.r.Diff(t.Context())
		if err != nil || len(diff) != 2 || diff[0].Aspect != FirewallAspect || diff[0].Err == nil ||
			diff[1].Aspect != LinkAspect || strings.Join(diff[1].Changes, "") != "link br-a: bring up" {
			t.Errorf("%+v, %v", diff, err)
		}
	})
}

// Whoever only wants to know how things are does not wait for a pass that takes long.
func TestDiffNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		if diff, err := h.r.DiffNow(t.Context()); err != nil || len(diff) != 0 {
			t.Errorf("between passes: %+v, %v", diff, err)
		}
		inside, end := make(chan struct{}), make(chan struct{})
		h.links.failWith(func(*link.Set, link.Set) error {
			close(inside)
			<-end
			return nil
		})
		h.set(snapshot())
		synced := make(chan error)
		go func() { synced <- h.r.Sync(t.Context()) }()
		<-inside
		if _, err := h.r.DiffNow(t.Context()); !errors.Is(err, ErrPassing) {
			t.Errorf("within a pass: %v", err)
		}
		close(end)
		if err := <-synced; err != nil {
			t.Error(err)
		}
		h.links.failWith(nil)
		synctest.Wait()
		if _, err := h.r.DiffNow(t.Context()); err != nil {
			t.Errorf("behind it: %v", err)
		}
	})
}
