package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/sysctl"
)

// stuck is an applier that waits for what is never given, such as a lock.
type stuck[T any] struct{ held atomic.Bool }

func (s *stuck[T]) Plan(ctx context.Context, _ *T, _ T) (plan.Plan, error) {
	if !s.held.Load() {
		return nil, nil
	}
	return plan.Plan{{Do: func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("iptables-restore: %w", context.Cause(ctx))
	}}}, nil
}

// networks are two networks, br-a and br-b, with an endpoint each.
func networks() model.Snapshot {
	var s model.Snapshot
	for _, id := range []string{"a", "b"} {
		n, e := snapshot().Networks[0], snapshot().Endpoints[0]
		n.ID, n.Bridge = id, "br-"+id
		e.ID, e.NetworkID, e.Ports = id+"0123456789", id, nil
		s.Networks, s.Endpoints = append(s.Networks, n), append(s.Endpoints, e)
	}
	return s
}

func failed(subject string) error {
	return &plan.Error{Subject: subject, Err: errors.New(subject + " is gone")}
}

func TestPassEndsThoughALockIsHeldForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		lock := &stuck[firewall.Policy]{}
		h.r.Aspects[1].(*aspect[firewall.Policy]).Applier = lock
		h.run(t)
		<-h.r.Ready()
		lock.held.Store(true)
		h.took()
		h.set(snapshot())
		answered := make(chan error, 1)
		go func() { answered <- h.r.Sync(t.Context()) }()
		time.Sleep(slowAfter + time.Second) // in the bubble's time
		synctest.Wait()
		if err := h.r.LastError(); err == nil || !strings.Contains(err.Error(), "still at it after 5s (does another program hold /run/xtables.lock?)") {
			t.Errorf("LastError of a pass that takes long: %v", err)
		}
		time.Sleep(applyWithin)
		synctest.Wait()
		select {
		case err := <-answered:
			if err == nil || !strings.Contains(err.Error(), "given up after 20s (does another program hold /run/xtables.lock?)") {
				t.Errorf("Sync: %v", err)
			}
		default:
			t.Error("Sync still waits")
			return
		}
		lock.held.Store(false)
		if err := h.r.Sync(t.Context()); err != nil || h.r.LastError() != nil {
			t.Errorf("the lock is free: %v, %v", err, h.r.LastError())
		}
	})
}

func TestPanicInAPassIsItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.links.failWith(func(*link.Set, link.Set) error { panic("no such bridge") })
		h.set(snapshot())
		h.took()
		if err := h.r.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "links: mybr crashed in it (see its log): no such bridge") {
			t.Errorf("Sync: %v", err)
		}
		if got, want := h.took(), "firewalld delta, firewall delta, links delta, links full, sysctls delta, ports delta"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		h.links.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What goes wrong with one link is told the requests about it. What is known of others
// stays known, and an idle host is not looked at again.
func TestOneLinksFailureConcernsItsOwnRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		h.links.failWith(func(have *link.Set, want link.Set) error {
			if have == nil || len(have.Bridges) == 2 {
				t.Errorf("nothing is known, or what failed: %+v", have)
			}
			return errors.Join(failed("br-b"), failed("vethb012345678"))
		})
		h.set(networks())
		if err := h.r.Sync(t.Context(), "br-a", "vetha012345678"); err != nil {
			t.Errorf("another network's request: %v", err)
		}
		if got, want := h.took(), "firewalld delta, firewall delta, links delta, sysctls delta"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if err := h.r.Sync(t.Context(), "br-b"); err == nil || err.Error() != "br-b is gone" {
			t.Errorf("its own request: %v", err)
		}
		if err := h.r.Sync(t.Context()); err == nil || err.Error() != "br-b is gone\nvethb012345678 is gone" {
			t.Errorf("no subject: %v", err)
		}
		if got, want := h.took(), "links delta, links delta"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		have := h.r.Aspects[2].(*aspect[link.Set]).have
		if len(have.Bridges) != 1 || have.Bridges[0].Name != "br-a" || len(have.Veths) != 1 {
			t.Errorf("known: %+v", have)
		}
	})
}

// What could not be removed stays known, and is tried again; and so is what was half made
// for a request that was reverted.
func TestFailedLinkIsRemoved(t *testing.T) {
	b := func(have *link.Set) bool {
		return slices.ContainsFunc(have.Bridges, func(b link.Bridge) bool { return b.Name == "br-b" })
	}
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := start(t)
			<-h.r.Ready()
			if !known { // it fails when it is made
				h.links.failWith(func(*link.Set, link.Set) error { return failed("br-b") })
			}
			h.set(networks())
			if err := h.r.Sync(t.Context()); (err == nil) != known {
				t.Fatal(err)
			}
			h.links.failWith(func(have *link.Set, _ link.Set) error {
				if have == nil || !b(have) {
					t.Errorf("nothing is known of br-b: %+v", have)
				}
				return failed("br-b")
			})
			s := networks()
			s.Networks, s.Endpoints = s.Networks[:1], s.Endpoints[:1]
			h.set(s)
			if err := h.r.Sync(t.Context(), "br-a"); err != nil {
				t.Error(err)
			}
			tried := false
			h.links.failWith(func(have *link.Set, _ link.Set) error {
				tried = have != nil && b(have)
				return nil
			})
			time.Sleep(lastRetry) // in the bubble's time
			synctest.Wait()
			if !tried || h.r.LastError() != nil {
				t.Errorf("tried again: %v, %v", tried, h.r.LastError())
			}
			if have := h.r.Aspects[2].(*aspect[link.Set]); b(have.have) || have.failed != nil {
				t.Errorf("known at last: %+v", have.have)
			}
		})
	}
}

// A link that is wrong in what was known of it is tried again in the same pass as if it
// were new.
func TestWrongDifferenceMendsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(networks())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.links.failWith(func(have *link.Set, _ link.Set) error {
			if len(have.Bridges) == 2 {
				return failed("br-b")
			}
			return nil
		})
		s := networks()
		s.Networks[1].MTU = 1300
		h.set(s)
		h.took()
		if err := h.r.Sync(t.Context(), "br-b"); err != nil {
			t.Error(err)
		}
		if got, want := h.took(), "links delta, links delta, ports full"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

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

// A network that stays broken is a warning once, not one every 30 seconds.
func TestTheSameErrorIsWarnedOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.links.failWith(func(*link.Set, link.Set) error { return failed("br-b") })
		h.set(networks())
		_ = h.r.Sync(t.Context())
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := h.warnings("br-b is gone"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		h.links.failWith(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		h.links.failWith(func(*link.Set, link.Set) error { return failed("br-b") })
		h.set(model.Snapshot{})
		_ = h.r.Sync(t.Context())
		if n := h.warnings("br-b is gone"); n != 2 {
			t.Errorf("%d warnings after it was well again", n)
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
		if got, want := h.took(), "firewalld full, firewall full"; got != want {
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
		h.r.Config.Forwarding = func(needed firewall.Families) (firewall.Families, error) {
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

// A bridge that was known and is made anew has another number.
func TestLinksMadeAnewAreBlockedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(networks())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := func(context.Context) error { return nil }
		h.links.plan = plan.Plan{{Subject: "br-new", Renews: true, Do: done}}
		s := networks()
		s.Endpoints = s.Endpoints[:1]
		h.set(s)
		h.took()
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "links delta"; got != want {
			t.Errorf("a link that is new: %s, want %s", got, want)
		}
		h.links.plan = plan.Plan{{Subject: "br-a", Renews: true, Do: done}}
		h.set(networks())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "links delta, ports full"; got != want {
			t.Errorf("a link that was known: %s, want %s", got, want)
		}
	})
}

// While a host port is somebody else's, that is no request's failure, and flows are
// forgotten as ever.
func TestFlowsAreForgottenWhileAHostPortIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.ports.failWith(func(*hostport.Set, hostport.Set) error {
			return fmt.Errorf("address already in use: %w", model.ErrConflict)
		})
		sync := func(s model.Snapshot) {
			t.Helper()
			h.set(s)
			if err := h.r.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sync(snapshot())
		gone := snapshot()
		gone.Endpoints[0].Ports = gone.Endpoints[0].Ports[:1]
		sync(gone)
		all, less := Render(snapshot(), Options{}).Flows, Render(gone, Options{}).Flows
		if got, want := fmt.Sprint(h.flows[len(h.flows)-1]), fmt.Sprint(flowChange{all, less}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if err := h.r.LastError(); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("LastError: %v", err)
		}
	})
}

// A port that cannot be served for another reason is its request's failure, and so is one
// that waits for rules although none leads to it: the process relays it.
func TestPortsOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		s := snapshot()
		s.Endpoints[0].Ports = nil
		h.set(s)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		veth := s.Endpoints[0].HostIface()
		broken := errors.New("iptables-restore: line 3 failed")
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return broken })
		s.Networks = append(s.Networks, model.Network{ID: "2", Bridge: "br-2"}) // somebody's rules are to be made
		s.Endpoints[0].Ports = []model.PortBinding{binding(model.TCP, "127.0.0.1:8080", "172.18.0.2:80", 1)}
		h.set(s)
		if err := h.r.Sync(t.Context(), veth); !errors.Is(err, broken) {
			t.Errorf("without rules: %v", err)
		}
		h.firewall.failWith(nil)
		h.ports.failWith(func(*hostport.Set, hostport.Set) error {
			return &plan.Error{Subject: veth, Err: errors.New("argument list too long")}
		})
		if err := h.r.Sync(t.Context(), veth); err == nil {
			t.Error("a port that is not served is no failure")
		}
	})
}

// Which addresses have ended stays known until their flows are forgotten.
func TestFlowsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.flowsFail.Store(true)
		h.set(model.Snapshot{})
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.flowsFail.Store(false)
		time.Sleep(lastRetry) // in the bubble's time
		synctest.Wait()
		last := h.flows[len(h.flows)-1].have
		if want := unsure(Render(snapshot(), Options{}).Flows); fmt.Sprint(last) != fmt.Sprint(want) {
			t.Errorf("known: %+v, want %+v", last, want)
		}
		if err := h.r.LastError(); err != nil {
			t.Error(err)
		}
	})
}

// A bridge that failed and is there now has a number that the ports don't know.
func TestPortsLearnOfALinkThatRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.links.failWith(func(*link.Set, link.Set) error { return failed("br-b") })
		h.set(networks())
		_ = h.r.Sync(t.Context())
		h.took()
		h.links.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "links delta, ports full"; got != want {
			t.Errorf("%s, want %s", got, want)
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
		h.r.Invalidate(FirewallAspect)
		time.Sleep(lastRetry) // in the bubble's time
		synctest.Wait()
		if got, want := h.took(), "firewall full"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Flows that began without the rules, while those were flushed or could not be made, are
// looked for until a pass with rules has done so.
func TestFlowsThatBeganWithoutRulesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		known := Render(snapshot(), Options{}).Flows
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return errors.New("no") })
		h.flows = nil
		if err := h.r.Resync(t.Context()); err == nil {
			t.Error("no error")
		}
		if len(h.flows) > 0 {
			t.Errorf("flows are forgotten before there are rules: %v", h.flows)
		}
		h.firewall.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(h.flows), fmt.Sprint([]flowChange{{unsure(known), known}}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// What ended while mybr was away has flows that may still be tracked: the first pass is
// told what there was.
func TestFlowsOfWhatEndedWhileAwayAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		h.r.Aspects = h.aspects(snapshot())
		h.run(t)
		<-h.r.Ready()
		want := unsure(Render(snapshot(), Options{}).Flows)
		want.Bindings = nil
		if got := h.flows[0].have; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the first pass knows %+v, want %+v", got, want)
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
