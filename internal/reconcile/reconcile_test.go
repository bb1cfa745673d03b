package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/event"
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
	plan plan.Plan // what it finds to do
	last T         // what was wanted last
}

func (a *recorder[T]) Plan(_ context.Context, have *T, want T) (plan.Plan, error) {
	kind := "delta"
	if have == nil {
		kind = "full"
	}
	a.h.note(a.name + " " + kind)
	a.h.mu.Lock()
	fail, p := a.fail, a.plan
	a.last = want
	a.h.mu.Unlock()
	if fail != nil {
		return nil, fail(have, want)
	}
	return p, nil
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
	flows    []flowChange
	warned   []string
	changes  []string // as the log has them
	told     []string // events

	flowsFail atomic.Bool

	firewalld recorder[firewalld.Set]
	firewall  recorder[firewall.Policy]
	links     recorder[link.Set]
	sysctls   recorder[sysctl.Set]
	ports     recorder[hostport.Set]
	r         *Reconciler
}

// flowChange is what the applier of flows was called with.
type flowChange struct{ have, want conntrack.Set }

// Plan makes the harness the applier of flows.
func (h *harness) Plan(_ context.Context, have *conntrack.Set, want conntrack.Set) (plan.Plan, error) {
	if have != nil {
		h.flows = append(h.flows, flowChange{*have, want})
	}
	if h.flowsFail.Load() {
		return nil, errors.New("conntrack: interrupted")
	}
	return nil, nil
}

// unsure returns what was known of the flows, and that rules may have been missing.
func unsure(s conntrack.Set) conntrack.Set {
	s.Unsure = true
	return s
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

// prepare makes a reconciler that does not run yet.
func prepare() *harness {
	h := &harness{}
	h.firewalld = recorder[firewalld.Set]{name: "firewalld", h: h}
	h.firewall = recorder[firewall.Policy]{name: "firewall", h: h}
	h.links = recorder[link.Set]{name: "links", h: h}
	h.sysctls = recorder[sysctl.Set]{name: "sysctls", h: h}
	h.ports = recorder[hostport.Set]{name: "ports", h: h}
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.AddHook(h)
	h.r = New(Config{
		Snapshot: func() model.Snapshot {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.snapshot
		},
		Aspects: h.aspects(model.Snapshot{}),
		Log:     log,
		Tell:    h.tell,
	})
	return h
}

// tell notes an event in one line.
func (h *harness) tell(e event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fields := []string{e.Kind, e.Aspect, e.Bridge}
	for _, list := range [][]string{e.Addresses, e.Ports, e.Changes, {e.By}, {e.Error}} {
		fields = append(fields, strings.Join(list, "; "))
	}
	h.told = append(h.told, strings.Join(strings.Fields(strings.Join(fields, " ")), " "))
}

// events returns the events since the last time.
func (h *harness) events() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.told, "\n")
	h.told = nil
	return s
}

func (h *harness) aspects(known model.Snapshot) []Aspect {
	return Appliers{
		Firewalld: &h.firewalld, Firewall: &h.firewall, Links: &h.links, Sysctls: &h.sysctls, Flows: h, Ports: &h.ports,
		FirewallHint: "does another program hold /run/xtables.lock?",
	}.Aspects(known)
}

// Levels makes the harness a logrus.Hook.
func (h *harness) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel, logrus.InfoLevel} }

// Fire keeps a warning's error, and what is said of changes.
func (h *harness) Fire(e *logrus.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Level == logrus.InfoLevel {
		if e.Message == "host changed" {
			h.changes = append(h.changes, fmt.Sprint(e.Data))
		}
		return nil
	}
	h.warned = append(h.warned, fmt.Sprint(e.Data[logrus.ErrorKey]))
	return nil
}

// warnings counts those with an error.
func (h *harness) warnings(err string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.warned {
		if w == err {
			n++
		}
	}
	return n
}

// run has the reconciler run in the test's bubble of time until the test ends.
func (h *harness) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func start(t *testing.T) *harness {
	h := prepare()
	h.run(t)
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
		if got, want := h.took(), "firewall delta, links delta, ports delta"; got != want {
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

// What others change between reading and writing, as when they flush all rules, is no
// request's failure.
func TestHostThatChangesMeanwhile(t *testing.T) {
	for name, fails := range map[string]int{"once": 1, "again and again": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t)
				<-h.r.Ready()
				h.r.mark(FirewallAspect)
				h.took()
				flushed := errors.New("index of insertion too big")
				left := fails
				h.firewall.failWith(func(*firewall.Policy, firewall.Policy) error {
					if left--; left >= 0 {
						return flushed
					}
					return nil
				})
				h.set(snapshot())
				err := h.r.Sync(t.Context())
				if (fails == 1) != (err == nil) || err != nil && !errors.Is(err, flushed) {
					t.Fatalf("failed %s: %v", name, err)
				}
				if got := strings.Count(h.took(), "firewall full"); got != 2 {
					t.Errorf("%d plans, want 2", got)
				}
			})
		})
	}
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
			if got := h.took(); got != "firewall full" { // what it guards waits
				t.Fatalf("after %v: %q", delay, got)
			}
			if !errors.Is(h.r.LastError(), broken) {
				t.Fatalf("LastError: %v", h.r.LastError())
			}
		}
		h.firewall.failWith(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if got := h.took(); got != "firewall full, links delta, sysctls delta, ports delta" || h.r.LastError() != nil {
			t.Fatalf("mended: %q, %v", got, h.r.LastError())
		}
		time.Sleep(10 * lastRetry)
		synctest.Wait()
		if got := h.took(); got != "" {
			t.Fatalf("still trying: %q", got)
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

// Events that come together share a pass, and events that never end don't put it off.
func TestEventsShareAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		begun := time.Now()
		for time.Since(begun) < 10*debounce {
			h.r.Invalidate("", LinkAspect)
			time.Sleep(debounce / 10) // in the bubble's time
		}
		time.Sleep(2 * debounce)
		synctest.Wait()
		passes := strings.Count(h.took(), "links full")
		if passes < 8 || passes > 11 {
			t.Errorf("%d passes", passes)
		}
	})
}

// Resync is Sync with nothing known of the host.
func (r *Reconciler) Resync(ctx context.Context) error {
	r.mark()
	return r.Sync(ctx)
}
