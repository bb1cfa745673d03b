package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/sysctl"
)

// recorder is an applier that writes down its calls and fails on demand.
type recorder[T any] struct {
	name string
	h    *harness
	fail func(have *T, want T) error
}

func (a *recorder[T]) Apply(_ context.Context, have *T, want T) error {
	kind := "delta"
	if have == nil {
		kind = "full"
	}
	a.h.note(a.name + " " + kind)
	a.h.mu.Lock()
	fail := a.fail
	a.h.mu.Unlock()
	if fail != nil {
		return fail(have, want)
	}
	return nil
}

// failWith makes the applier call fail from now on; nil: succeed.
func (a *recorder[T]) failWith(fail func(have *T, want T) error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.fail = fail
}

type harness struct {
	mu       sync.Mutex
	calls    []string
	snapshot model.Snapshot
	flows    []string // have and want of each plan of flows that has any bindings

	firewalld recorder[firewalld.Set]
	firewall  recorder[firewall.Policy]
	links     recorder[link.Set]
	sysctls   recorder[sysctl.Set]
	ports     recorder[hostport.Set]
	r         *Reconciler
}

func (h *harness) note(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, s)
}

// took returns the calls since the last time.
func (h *harness) took() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.calls, ", ")
	h.calls = nil
	return s
}

func (h *harness) set(s model.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshot = s
}

type planFlows func(have *conntrack.Set, want conntrack.Set)

func (f planFlows) Plan(_ context.Context, have *conntrack.Set, want conntrack.Set) (plan.Plan, error) {
	f(have, want)
	return nil, nil
}

// ledBy is a set of flows as text.
func ledBy(s conntrack.Set) string {
	text := fmt.Sprint(s.Bindings)
	if s.Unsure {
		text += " unsure"
	}
	return text
}

// start runs a reconciler in the test's bubble of time until the test ends.
func start(t *testing.T) *harness {
	h := &harness{}
	h.firewalld = recorder[firewalld.Set]{name: "firewalld", h: h}
	h.firewall = recorder[firewall.Policy]{name: "firewall", h: h}
	h.links = recorder[link.Set]{name: "links", h: h}
	h.sysctls = recorder[sysctl.Set]{name: "sysctls", h: h}
	h.ports = recorder[hostport.Set]{name: "ports", h: h}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h.r = New(Config{
		Snapshot: func() model.Snapshot {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.snapshot
		},
		Firewalld: &h.firewalld, Firewall: &h.firewall, Links: &h.links, Sysctls: &h.sysctls, Ports: &h.ports,
		Flows: planFlows(func(have *conntrack.Set, want conntrack.Set) {
			if have == nil {
				have = &conntrack.Set{}
			}
			if len(have.Bindings)+len(want.Bindings) > 0 {
				h.flows = append(h.flows, ledBy(*have)+" -> "+ledBy(want))
			}
		}),
		Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func TestFirstPassIsFullAndLaterOnesOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		if got, want := h.took(), "firewalld full, firewall full, links full, sysctls full, ports full"; got != want {
			t.Fatalf("first pass: %s, want %s", got, want)
		}
		if err := h.r.Sync(t.Context()); err != nil || h.took() != "" {
			t.Fatalf("a pass without a change: err %v, calls %q", err, h.took())
		}
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewalld delta, firewall delta, links delta, sysctls delta, ports delta"; got != want {
			t.Fatalf("changed: %s, want %s", got, want)
		}
		s := snapshot()
		s.Endpoints[0].Ports = nil
		h.set(s)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewall delta, ports delta"; got != want {
			t.Fatalf("ports gone: %s, want %s", got, want)
		}
		if err := h.r.Resync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewalld full, firewall full, links full, sysctls full, ports full"; got != want {
			t.Fatalf("resync: %s, want %s", got, want)
		}
	})
}

func TestFailedDifferenceIsAppliedInFullInTheSamePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		h.firewall.failWith(func(have *firewall.Policy, _ firewall.Policy) error {
			if have != nil {
				return errors.New("no such rule")
			}
			return nil
		})
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewalld delta, firewall delta, firewall full, links delta, sysctls delta, ports delta"; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestFailureIsRetriedWithBackoffUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		broken := errors.New("iptables-restore: line 3 failed")
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error { return broken })
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); !errors.Is(err, broken) {
			t.Fatalf("Sync: %v", err)
		}
		h.took()
		for delay := firstRetry; delay < 4*lastRetry; delay *= 2 {
			time.Sleep(min(delay, lastRetry)) // in the bubble's time
			synctest.Wait()
			if got := h.took(); got != "firewall full" {
				t.Fatalf("after %v: %q", delay, got)
			}
			if !errors.Is(h.r.LastError(), broken) {
				t.Fatalf("LastError: %v", h.r.LastError())
			}
		}
		h.firewall.failWith(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if got := h.took(); got != "firewall full" || h.r.LastError() != nil {
			t.Fatalf("mended: %q, %v", got, h.r.LastError())
		}
		time.Sleep(10 * lastRetry)
		synctest.Wait()
		if got := h.took(); got != "" {
			t.Fatalf("still trying: %q", got)
		}
	})
}

func TestTroubleOfAnotherLinkIsNotTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.links.failWith(func(*link.Set, link.Set) error {
			return errors.Join(
				&plan.Error{Subject: "br-a", Err: errors.New("br-a is no bridge")},
				&plan.Error{Subject: "br-b", Err: errors.New("br-b is gone")},
			)
		})
		h.ports.failWith(func(*hostport.Set, hostport.Set) error { return errors.New("port taken while away") })
		h.set(snapshot())
		if err := h.r.Sync(t.Context(), "br-c", "veth1"); err != nil {
			t.Errorf("another link's trouble: %v", err)
		}
		if err := h.r.Sync(t.Context(), "br-b"); err == nil || err.Error() != "br-b is gone" {
			t.Errorf("own trouble: %v", err)
		}
		if err := h.r.Sync(t.Context()); err == nil || err.Error() != "br-a is no bridge\nbr-b is gone" {
			t.Errorf("no names given: %v", err)
		}
		if err := h.r.LastError(); err == nil || !strings.Contains(err.Error(), "port taken while away") {
			t.Errorf("LastError: %v", err)
		}
		h.links.failWith(func(*link.Set, link.Set) error { return errors.New("netlink: permission denied") })
		if err := h.r.Sync(t.Context(), "br-c"); err == nil {
			t.Error("trouble of no single link concerns everybody, but Sync returned nil")
		}
	})
}

func TestRequestsThatArriveTogetherShareOnePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		var running, most int
		block := make(chan struct{})
		h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error {
			running++
			most = max(most, running)
			<-block
			running--
			return nil
		})
		var wg sync.WaitGroup
		for i := range 20 {
			s := snapshot()
			s.Networks[0].V4.Masquerade = i%2 == 0
			h.set(s)
			wg.Go(func() {
				if err := h.r.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait() // the first is inside its pass
			}
		}
		synctest.Wait()
		close(block)
		wg.Wait()
		if n := strings.Count(h.took(), "firewall "); n != 2 || most != 1 {
			t.Errorf("20 requests took %d passes, %d at once; want 2, one at a time", n, most)
		}
	})
}

func TestStoppedReconcilerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{}
		h.r = New(Config{Snapshot: func() model.Snapshot { return model.Snapshot{} }})
		waiter := make(chan error)
		go func() { waiter <- h.r.Sync(t.Context()) }()
		synctest.Wait()
		h.r.stop()
		if err := <-waiter; !errors.Is(err, errStopped) {
			t.Errorf("who waited got %v", err)
		}
		if err := h.r.Resync(t.Context()); !errors.Is(err, errStopped) {
			t.Errorf("who came later got %v", err)
		}
	})
}

func TestCallersContextEndsItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sync: %v", err)
		}
	})
}

func TestOnlyFlowsOfChangedBindingsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := snapshot()
		s.Endpoints[0].Ports = s.Endpoints[0].Ports[:1] // UDP goes, TCP stays
		h.set(s)
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := snapshot().Endpoints[0].Ports
		want := fmt.Sprintf("[[] -> %v %v -> %v]", all, all, all[:1])
		if got := fmt.Sprint(h.flows); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
