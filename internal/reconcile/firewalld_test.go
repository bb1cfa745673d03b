package reconcile

import (
	"context"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// Every bridge is in the zone; the way into it is opened for those who need it.
func TestRenderFirewalld(t *testing.T) {
	networks := func(change func(*model.Network)) model.Snapshot {
		s := model.Snapshot{Networks: []model.Network{{ID: "1", Bridge: "br-b"}, {ID: "2", Bridge: "br-a", Internal: true}}}
		change(&s.Networks[0])
		return s
	}
	for _, c := range []struct {
		name    string
		change  func(*model.Network)
		options Options
		forward bool
	}{
		{"nat", func(*model.Network) {}, Options{}, false},
		{"routed", func(n *model.Network) { n.V4.Mode = model.ModeRouted }, Options{}, true},
		{"routed IPv6", func(n *model.Network) { n.V6.Mode = model.ModeRouted }, Options{}, true},
		{"routed IPv6 on a host without", func(n *model.Network) {
			n.V6.Prefix, n.V6.Mode = netip.MustParsePrefix("fd00::/64"), model.ModeRouted
		}, Options{NoIPv6: true}, false},
		{"unprotected", func(n *model.Network) { n.V4.Mode = model.ModeNATUnprotected }, Options{}, true},
		{"trusted interfaces", func(n *model.Network) { n.Trusted = []string{"eth1"} }, Options{}, true},
		{"direct routing", func(*model.Network) {}, Options{DirectRouting: true}, true},
		{"a mark", func(*model.Network) {}, Options{Accept: firewall.Mark{Value: 1, Mask: 1}}, true},
	} {
		want := firewalld.Set{Interfaces: []string{"br-a", "br-b"}, Forward: c.forward}
		if got := Render(networks(c.change), c.options).Firewalld; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, want)
		}
	}
}

// firewalld may have reloaded, in a difference too, which flushes rules that were known to
// be there. Flows may have begun without them.
func TestRulesAreReadAgainBehindFirewalld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		h.firewalld.plan = plan.Plan{{Renews: true, Do: func(context.Context) error { return nil }}}
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewalld delta, firewall full, links delta, sysctls delta, ports delta"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if !h.flows[len(h.flows)-1].have.Unsure {
			t.Error("flows that began without rules are not looked for")
		}
	})
}

// After firewalld's signal the rules are looked at at once and, while Docker puts back its
// own in front of them, again and again.
func TestRulesAreLookedAtAgainWhileDockerRestoresItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		for range 3 { // signals that come together
			h.r.FirewalldChanged()
		}
		time.Sleep(2 * debounce) // in the bubble's time
		synctest.Wait()
		if got, want := h.took(), "firewalld full, firewall full"; got != want {
			t.Errorf("at once: %q, want %q", got, want)
		}
		for _, d := range dockerRestores() {
			time.Sleep(d)
			synctest.Wait()
			if got, want := h.took(), "firewall full"; got != want {
				t.Errorf("after %s: %q, want %q", d, got, want)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := h.took(); got != "" {
			t.Errorf("for ever: %q", got)
		}
	})
}

// A firewalld that hangs concerns networks whose bridge is not in its zone yet, once: other
// requests neither wait for it nor fail.
func TestHungFirewalldConcernsNewNetworksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		hung := &stuck[firewalld.Set]{}
		h.r.Aspects[0].(*aspect[firewalld.Set]).Applier = hung
		h.run(t)
		<-h.r.Ready()
		s := snapshot()
		h.set(s)
		if err := h.r.Sync(t.Context(), s.Networks[0].Bridge); err != nil {
			t.Fatal(err)
		}
		hung.held.Store(true)
		s.Networks = append(s.Networks, model.Network{ID: "2", Bridge: "br-2"})
		h.set(s)
		begun := time.Now()
		if err := h.r.Sync(t.Context(), "br-2"); err == nil || !strings.Contains(err.Error(), "given up after 20s (does `firewall-cmd --state` answer?)") {
			t.Errorf("the new network's request: %v", err)
		}
		if took := time.Since(begun); took != applyWithin {
			t.Errorf("it took %s", took)
		}
		begun = time.Now()
		e := *s.Endpoints[0]
		e.ID = "fedcba9876543210"
		s.Endpoints = append(s.Endpoints, &e)
		h.set(s)
		if err := h.r.Sync(t.Context(), e.HostIface()); err != nil {
			t.Errorf("an endpoint's request: %v", err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the endpoint waited for %s", took)
		}
		hung.held.Store(false)
		time.Sleep(lastRetry)
		synctest.Wait()
		if err := h.r.LastError(); err != nil {
			t.Error(err)
		}
	})
}
