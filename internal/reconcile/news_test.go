package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
	"github.com/mybr/mybr/internal/sysctl"
)

// sync makes a pass and compares the events that it makes.
func (h *harness) sync(t *testing.T, want ...string) {
	t.Helper()
	if err := h.r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if have := h.events(); have != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", have, strings.Join(want, "\n"))
	}
}

// What comes and goes is told in an order that makes sense, once; what was there at the start
// is no news.
func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		h.set(snapshot())
		h.run(t)
		<-h.r.Ready()
		synctest.Wait()
		if have := h.events(); have != "started" {
			t.Errorf("at the start: %s", have)
		}
		h.sync(t)

		s := snapshot()
		s.Networks = append(s.Networks, model.Network{ID: "z", Bridge: "mybr1", V4: model.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24")},
			V6: model.Subnet{Prefix: netip.MustParsePrefix("fd00::/64")}})
		binding := model.PortBinding{Proto: model.TCP, Host: netip.MustParseAddrPort("0.0.0.0:99"), Container: netip.MustParseAddrPort("10.0.0.2:80"), Count: 1}
		s.Endpoints = append(s.Endpoints, &model.Endpoint{ID: "y", NetworkID: "z", V4: netip.MustParsePrefix("10.0.0.2/24"), Ports: []model.PortBinding{binding}})
		h.set(s)
		h.sync(t, "network-created mybr1 10.0.0.0/24; fd00::/64", "endpoint-created mybr1 10.0.0.2/24",
			"port-published mybr1 tcp 0.0.0.0:99 -> 10.0.0.2:80")

		other := binding
		other.Host = netip.MustParseAddrPort("0.0.0.0:98")
		changed := s
		changed.Endpoints = append([]*model.Endpoint{}, s.Endpoints...)
		moved := *s.Endpoints[1]
		moved.Ports = []model.PortBinding{other}
		changed.Endpoints[1] = &moved
		h.set(changed)
		h.sync(t, "port-withdrawn mybr1 tcp 0.0.0.0:99 -> 10.0.0.2:80", "port-published mybr1 tcp 0.0.0.0:98 -> 10.0.0.2:80")

		h.set(snapshot())
		h.sync(t, "port-withdrawn mybr1 tcp 0.0.0.0:98 -> 10.0.0.2:80", "endpoint-removed mybr1 10.0.0.2/24", "network-removed mybr1 10.0.0.0/24; fd00::/64")
	})
}

// What mybr changes is told as a change; what it heals as that, with who it was; what fails
// once, and that it has ended.
func TestNewsOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		synctest.Wait()
		s.events()
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		changed := snapshot()
		changed.Networks[0].MTU = 1300
		plans(&s.links, step(bridge, "MTU"))
		s.set(changed)
		s.sync(t, "changed links MTU")

		plans(&s.links, step(veth, "bring it up"))
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
		wait(debounce)
		if have, want := s.events(), "healed links bring it up ip (pid 7)"; have != want {
			t.Errorf("%q, want %q", have, want)
		}

		var works atomic.Bool
		plans(&s.links, plan.Plan{{Subject: veth, Changes: []string{"alias"}, Do: func(context.Context) error {
			if !works.Load() {
				return errors.New("no such link")
			}
			return nil
		}}})
		changed = snapshot() // what was given once isn't changed any more
		changed.Networks[0].MTU = 1200
		s.set(changed)
		if err := s.r.Sync(t.Context(), veth); err == nil {
			t.Error("no error")
		}
		wait(4 * firstRetry)
		if have, want := s.events(), "failed no such link"; have != want {
			t.Errorf("%q, want %q", have, want)
		}
		works.Store(true)
		wait(lastRetry)
		if have, want := s.events(), "changed links alias\nrecovered"; have != want {
			t.Errorf("%q, want %q", have, want)
		}
	})
}

// A change that was asked for is a line in the log, and those that are too many a number; one
// that heals is not among them.
func TestLogOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		synctest.Wait()
		s.changes = nil
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		changed := snapshot()
		changed.Networks[0].MTU = 1300
		const most = 50 // lines of an event
		var many plan.Plan
		for i := range most + 2 {
			many = append(many, step(bridge, fmt.Sprint("change ", i))...)
		}
		plans(&s.links, many)
		s.set(changed)
		if err := s.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		plans(&s.links, step(veth, "bring it up"))
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
		wait(debounce)
		if have := len(s.changes); have != most+1 {
			t.Fatalf("%d lines: %q", have, s.changes)
		}
		for i, want := range map[int]string{0: "map[aspect:links change:change 0]", most - 1: "map[aspect:links change:change 49]", most: "map[aspect:links more:2]"} {
			if s.changes[i] != want {
				t.Errorf("line %d is %s, want %s", i, s.changes[i], want)
			}
		}
	})
}

// Where not all can be healed, what is healed is told nevertheless.
func TestNewsOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		synctest.Wait()
		s.events()
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		plans(&s.links, append(step(bridge, "MTU"), plan.Step{Subject: veth, Changes: []string{"alias"}, Do: func(context.Context) error { return errors.New("no such link") }}))
		s.r.Suspect(LinkAspect, "ip (pid 7)")
		wait(debounce)
		if have, want := s.events(), "healed links MTU ip (pid 7)\nfailed no such link"; have != want {
			t.Errorf("%q, want %q", have, want)
		}
	})
}

// Who changes the same again and again is told of as that, once.
func TestNewsOfAFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		synctest.Wait()
		s.events()
		veth := snapshot().Endpoints[0].HostIface()
		plans(&s.links, step(veth, "bring it up"))
		s.find(veth, plan.Differs)
		for range allowance + 2 {
			s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
			wait(debounce)
		}
		wait(lastBackoff)
		have := s.events()
		if strings.Count(have, "fight links bring it up ip (pid 7)") != 1 || strings.Count(have, "healed links bring it up") != allowance+1 {
			t.Errorf("%s", have)
		}
	})
}

// Mend starts everything from nothing and returns what it took, and what could not be done.
func TestMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		if made, err := s.r.Mend(t.Context()); err != nil || len(made) > 0 {
			t.Errorf("%+v %v", made, err)
		}
		if have, want := s.took(), "firewalld full, firewall full, links full, sysctls full, ports full"; have != want {
			t.Errorf("%s, want %s", have, want)
		}
		s.events()
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		plans(&s.links, append(step(bridge, "MTU"), plan.Step{Subject: veth, Changes: []string{"alias"}, Do: func(context.Context) error { return errors.New("no such link") }}))
		plans(&s.firewall, step(bridge, "a rule"))
		made, err := s.r.Mend(t.Context())
		if err != nil || len(made) != 2 || made[0].Aspect != FirewallAspect || strings.Join(made[0].Changes, ";") != "a rule" || made[0].Err != nil ||
			made[1].Aspect != LinkAspect || strings.Join(made[1].Changes, ";") != "MTU" || made[1].Err == nil || made[1].Err.Error() != "no such link" {
			t.Errorf("%+v %v", made, err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		s.r.busy <- struct{}{} // somebody compares
		if _, err := s.r.Mend(ctx); err == nil || err.Error() != "enough" {
			t.Error(err)
		}
		<-s.r.busy
	})
}

// What fails beside the aspects is not lost beside what was changed.
func TestMendTellsEveryFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare()
		var fails, crashes atomic.Bool
		h.r.Config.Forwarding = func(firewall.Families, bool) (firewall.Families, error) {
			if fails.Load() {
				return firewall.Families{}, errors.New("unknown whether the host forwards")
			}
			return firewall.Families{}, nil
		}
		for _, a := range h.r.Aspects {
			if a, ok := a.(*aspect[sysctl.Set]); ok {
				a.Concerns = func(Host, string) []string {
					if crashes.Load() {
						panic("a record")
					}
					return nil
				}
			}
		}
		h.set(snapshot())
		h.run(t)
		<-h.r.Ready()
		plans(&h.firewall, step(snapshot().Networks[0].Bridge, "a rule"))
		fails.Store(true)
		made, err := h.r.Mend(t.Context())
		if err != nil || len(made) != 2 || made[0].Aspect != SysctlAspect || made[0].Err == nil || strings.Join(made[1].Changes, ";") != "a rule" {
			t.Errorf("%+v %v", made, err)
		}
		fails.Store(false)
		crashes.Store(true)
		h.sysctls.failWith(func(*sysctl.Set, sysctl.Set) error { return &plan.Error{Subject: "x", Err: errors.New("no")} })
		if made, err := h.r.Mend(t.Context()); err == nil || !strings.Contains(err.Error(), "a record") {
			t.Errorf("a crash: %+v %v", made, err)
		}
	})
}

// A reconciler that has ended says so.
func TestMendTooLate(t *testing.T) {
	h := prepare()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.r.Run(ctx) }()
	<-h.r.Ready()
	cancel()
	<-done
	if made, err := h.r.Mend(t.Context()); !errors.Is(err, errStopped) || made != nil {
		t.Errorf("%+v %v", made, err)
	}
}
