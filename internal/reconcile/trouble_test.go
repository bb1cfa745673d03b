package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// stuck is an applier that waits for a lock that nobody gives back.
type stuck struct{ held bool }

func (s *stuck) Apply(ctx context.Context, _ *firewall.Policy, _ firewall.Policy) error {
	if !s.held {
		return nil
	}
	<-ctx.Done()
	return fmt.Errorf("iptables-restore: %w", context.Cause(ctx))
}

func TestPassEndsThoughALockIsHeldForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		lock := &stuck{held: true}
		h.r.firewall.applier = lock
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
		if got, want := h.took(), "firewalld delta, links delta, sysctls delta, ports delta"; got != want {
			t.Errorf("the other steps: %s, want %s", got, want)
		}
		lock.held = false
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
		if got, want := h.took(), "firewalld delta, firewall delta, links delta, links full, sysctls full, ports full"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		h.links.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A bridge that somebody deleted is made anew, with the kernel's settings and another number.
func TestLinksMadeAnewGetTheirSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.links.failWith(func(have *link.Set, _ link.Set) error {
			if have != nil {
				return &plan.Error{Subject: "br-a", Err: errors.New("was deleted by somebody else")}
			}
			return nil
		})
		s := snapshot()
		s.Endpoints = nil
		h.set(s)
		h.took()
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewall delta, links delta, links full, sysctls full, ports full"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// While a host port is somebody else's, the flows of other ports are forgotten as ever.
func TestFlowsAreForgottenWhileAHostPortIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.ports.failWith(func(*hostport.Set, hostport.Set) error { return errors.New("address already in use") })
		sync := func(s model.Snapshot) {
			h.set(s)
			if err := h.r.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sync(snapshot())
		gone := snapshot()
		gone.Endpoints[0].Ports = gone.Endpoints[0].Ports[:1] // UDP goes, TCP stays
		sync(gone)
		all := snapshot().Endpoints[0].Ports
		want := fmt.Sprintf("[[] -> %v %v -> %v]", all, all, all[:1])
		if got := fmt.Sprint(h.flows); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// Flows that began without the rules, while those were flushed or could not be made,
// stand in the way as those of before the start do.
func TestFlowsThatBeganWithoutRulesAreForgotten(t *testing.T) {
	all := fmt.Sprint(snapshot().Endpoints[0].Ports)
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return errors.New("no") })
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err == nil {
			t.Error("no error")
		}
		h.firewall.failWith(nil)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if err := h.r.Resync(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := fmt.Sprint(h.flows), "[[] unsure -> "+all+" [] unsure -> "+all+" "+all+" unsure -> "+all+"]"; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
