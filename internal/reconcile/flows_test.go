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
		want := unsure(Render(snapshot(), Options{}).Flows)
		want.Subnets = nil // those that are wanted count
		if fmt.Sprint(last) != fmt.Sprint(want) {
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
		want.Bindings, want.Subnets, want.Partial = nil, nil, true
		if got := h.flows[0].have; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the first pass knows %+v, want %+v", got, want)
		}
	})
}
