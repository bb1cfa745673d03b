package reconcile

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
)

// without is a snapshot without its endpoints.
func without(s model.Snapshot) model.Snapshot {
	s.Endpoints = nil
	return s
}

// What only takes the kernel time is done behind the answer, and only then; what is needed at
// once is done at once.
func TestRemovalIsAnsweredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.took()
		h.flows = nil
		h.set(without(snapshot()))
		begun := time.Now()
		if err := h.r.Sync(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Fatal(err, time.Since(begun))
		}
		if got, want := h.took(), "firewall delta, links delta, sysctls delta, ports delta"; got != want {
			t.Errorf("at once: %s, want %s", got, want)
		}
		if len(h.leaving()) != 1 || len(h.flows) != 1 || h.flows[0].want.Left == nil {
			t.Errorf("nothing is put off: %+v, %+v", h.links.last, h.flows)
		}
		h.flows = nil
		if _, err := h.r.DiffNow(t.Context()); !errors.Is(err, ErrPassing) {
			t.Errorf("the host can be compared: %v", err)
		}
		time.Sleep(behindQuiet) // in the bubble's time
		synctest.Wait()
		if got, want := h.took(), "links delta"; got != want {
			t.Errorf("behind: %s, want %s", got, want)
		}
		var left []netip.Addr
		for _, e := range snapshot().Endpoints {
			left = append(left, e.V4.Addr())
		}
		if len(h.flows) != 1 || !slices.Equal(h.flows[0].have.Left, left) || h.flows[0].want.Left != nil {
			t.Errorf("flows were looked for by %+v, want addresses %v", h.flows, left)
		}
		time.Sleep(time.Hour)
		if got := h.took(); got != "" {
			t.Errorf("done again: %s", got)
		}
	})
}

// Whoever compares the host, or needs all to be done, and who stops mybr, waits for what was
// put off.
func TestWhatWasPutOffIsWaitedFor(t *testing.T) {
	for what, ask := range map[string]func(*testing.T, *harness){
		"compare": func(t *testing.T, h *harness) { _, _ = h.r.Diff(t.Context()) },
		"settle":  func(t *testing.T, h *harness) { _ = h.r.Settle(t.Context()) },
		"mend":    func(t *testing.T, h *harness) { _, _ = h.r.Mend(t.Context()) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t)
				<-h.r.Ready()
				h.set(snapshot())
				_ = h.r.Sync(t.Context())
				h.set(without(snapshot()))
				_ = h.r.Sync(t.Context())
				begun := time.Now()
				ask(t, h)
				if len(h.links.last.Veths)+len(h.leaving()) > 0 || time.Since(begun) != 0 {
					t.Errorf("after %s links were made to match %+v last", time.Since(begun), h.links.last)
				}
			})
		})
	}
}

// Requests that go on coming put off what was put off, but not for long.
func TestWhatWasPutOffIsDoneWhileRequestsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		_ = h.r.Sync(t.Context())
		h.set(without(snapshot()))
		begun := time.Now()
		for len(h.leaving()) > 0 || begun.Equal(time.Now()) {
			_ = h.r.Sync(t.Context())
			time.Sleep(behindQuiet / 2)
		}
		if took := time.Since(begun); took < behindQuiet || took > behindLatest+behindQuiet {
			t.Errorf("it took %s", took)
		}
	})
}

// leaving are the pairs that links were made to match last with.
func (h *harness) leaving() []link.Veth {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links.last.Leaving
}

// What goes wrong with what was put off is tried again, and is no request's failure.
func TestWhatWasPutOffIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.set(snapshot())
		_ = h.r.Sync(t.Context())
		busy := errors.New("the kernel refuses")
		h.links.failWith(func(_ *link.Set, want link.Set) error {
			if len(want.Leaving) > 0 {
				return nil
			}
			return busy
		})
		h.set(without(snapshot()))
		if err := h.r.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(behindQuiet)
		synctest.Wait()
		if err := h.r.LastError(); !errors.Is(err, busy) {
			t.Errorf("the last error is %v", err)
		}
		h.links.failWith(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if err := h.r.LastError(); err != nil || len(h.leaving()) > 0 {
			t.Errorf("the last error is %v, and links were made to match %+v", err, h.links.last)
		}
	})
}
