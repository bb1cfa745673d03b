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
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
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
		failed := h.r.FailedSince()
		if failed.IsZero() || failed.After(time.Now()) {
			t.Errorf("the pass has failed since %v", failed)
		}
		lock.held.Store(false)
		if err := h.r.Sync(t.Context()); err != nil || h.r.LastError() != nil || !h.r.FailedSince().IsZero() {
			t.Errorf("the lock is free: %v, %v, failed since %v", err, h.r.LastError(), h.r.FailedSince())
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
