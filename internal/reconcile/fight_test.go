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

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/plan"
)

// Who undoes things again and again is answered later and later, and named once.
func TestFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		plans(&s.firewall, plan.Plan{{Changes: []string{"-A MYBR-PORTS"}, Do: func(context.Context) error {
			s.r.Suspect(FirewallAspect, "fighter (pid 7)") // at once
			return nil
		}}})
		s.r.Suspect(FirewallAspect, "fighter (pid 7)")
		wait(time.Minute)
		passes := strings.Count(s.took(), "firewall full")
		if passes < allowance || passes > allowance+8 {
			t.Errorf("%d passes in a minute", passes)
		}
		if got := s.r.Healings()[FirewallAspect].Found; got != passes {
			t.Errorf("%d of %d passes are counted", got, passes)
		}
		if h := s.r.Healings()[FirewallAspect]; !h.Fights || h.By != "fighter (pid 7)" {
			t.Errorf("while it is fought about: %+v", h)
		}
		log := s.log.took()
		want := "warning: healed: -A MYBR-PORTS; changed by fighter (pid 7)\n" +
			"warning: the host is changed again and again; changed by fighter (pid 7); mybr puts it right at longer and longer intervals, up to 30s, until that ends: -A MYBR-PORTS"
		if got := warnings(log); got != want {
			t.Errorf("log:\n%s\nwant\n%s", got, want)
		}

		plans(&s.firewall, nil)
		wait(2 * lastBackoff) // one last look, and quiet
		s.took()
		plans(&s.firewall, step("", "-A MYBR-FORWARD"))
		s.r.Suspect(FirewallAspect, "iptables (pid 8)")
		wait(debounce)
		if got, want := warnings(s.log.took()), "warning: healed: -A MYBR-FORWARD; changed by iptables (pid 8)"; got != want {
			t.Errorf("after a quiet time: %q, want %q", got, want)
		}
		if h := s.r.Healings()[FirewallAspect]; h.Fights || h.By != "iptables (pid 8)" {
			t.Errorf("after a quiet time: %+v", h)
		}
	})
}

// warnings is the part of a log that is not debugging.
func warnings(log string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(log, "\n"), func(l string) bool { return !strings.HasPrefix(l, "warning") }), "\n")
}

// A fight about one aspect keeps no other from being healed.
func TestFightIsAboutOneAspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		plans(&s.firewall, plan.Plan{{Changes: []string{"-A MYBR-PORTS"}, Do: func(context.Context) error {
			s.r.Suspect(FirewallAspect, "fighter (pid 7)")
			return nil
		}}})
		s.r.Suspect(FirewallAspect, "fighter (pid 7)")
		wait(20 * time.Second)
		s.took()
		veth := snapshot().Endpoints[0].HostIface()
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "", veth)
		wait(debounce)
		if got, want := s.took(), "links delta, ports full"; got != want {
			t.Errorf("calls: %s, want %s", got, want)
		}
	})
}

// A fight about one link keeps no other from being healed, and is answered no sooner when
// others are.
func TestFightIsAboutOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		s.find(veth, plan.Differs)
		var fought, healed atomic.Int64
		counted := func(subject string, n *atomic.Int64, then func()) plan.Plan {
			return plan.Plan{{Subject: subject, Changes: []string{"bring " + subject + " up"}, Do: func(context.Context) error {
				n.Add(1)
				then()
				return nil
			}}}
		}
		fight := counted(veth, &fought, func() { s.r.Suspect(LinkAspect, "fighter (pid 7)", veth) })
		plans(&s.links, fight)
		s.r.Suspect(LinkAspect, "fighter (pid 7)", veth)
		wait(20 * time.Second)
		before := fought.Load()
		s.find(bridge, plan.Differs)
		plans(&s.links, append(counted(bridge, &healed, func() { s.find(bridge, plan.Same) }), fight...))
		s.find(veth, plan.Same) // as it is until the fighter acts again
		s.log.took()
		s.r.Suspect(LinkAspect, "ip (pid 8)", bridge)
		wait(debounce)
		if healed.Load() == 0 {
			t.Errorf("the bridge is not healed")
		}
		if got, want := warnings(s.log.took()), "warning: healed: bring "+bridge+" up; changed by ip (pid 8)"; got != want {
			t.Errorf("log: %q, want %q", got, want)
		}
		s.find(veth, plan.Differs)
		wait(2 * lastBackoff)
		if fought.Load() > before+8 {
			t.Errorf("the fight is answered %d times in a minute", fought.Load()-before)
		}
		if got := warnings(s.log.took()); got != "" {
			t.Errorf("the fight is told of again: %q", got)
		}
	})
}

// What fails again and again, and is changed by that, is not tried all the time.
func TestFailingIsNoBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		veth := snapshot().Endpoints[0].HostIface()
		tries := 0
		s.links.failWith(func(*link.Set, link.Set) error {
			tries++
			s.r.Suspect(LinkAspect, "", veth)
			return &plan.Error{Subject: veth, Err: errors.New("no such bridge")}
		})
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "", veth)
		wait(5 * time.Minute)
		// A pass tries twice at most. It is tried again every 30 s anyway.
		if most := 2 * (allowance + 12 + 2*14); tries > most {
			t.Errorf("tried %d times in 5 minutes, want %d at most", tries, most)
		}
	})
}

// A burst of changes is answered change by change; one that goes on is not, and looking
// never takes more than its share of the time.
func TestRate(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		every time.Duration // between a healing and the next change
		took  time.Duration
		heals int
		last  time.Duration // from the last change to the look at it
	}{
		{"one", 0, time.Millisecond, 1, debounce},
		{"a burst", 0, time.Millisecond, allowance, debounce},
		{"a fight", 0, time.Millisecond, allowance + 2, firstBackoff},
		{"a long fight", 0, time.Millisecond, allowance + 20, lastBackoff},
		{"a slow fight", quiet / 2, time.Millisecond, 1000, debounce},
		{"a fight with a pause", time.Second, time.Millisecond, 1000, lastBackoff - time.Second},
		{"slow healings", regain, time.Second, 100, debounce},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, now := &rates{}, begin
			var waited time.Duration
			for range c.heals {
				now = now.Add(c.every)
				due := r.due("br0", now)
				r.forgive("br0", now)
				waited = due.Sub(now)
				now = due.Add(c.took)
				r.look(due, now)
				r.spend("br0", now)
			}
			if waited != c.last {
				t.Errorf("looked after %s, want %s", waited, c.last)
			}
			for _, other := range []string{"", "br1"} {
				if due, want := r.due(other, now), now.Add(max(debounce, min(idle*r.took, longestPause))); due != want {
					t.Errorf("%q: looked after %s, want %s", other, due.Sub(now), want.Sub(now))
				}
			}
			now = now.Add(quiet + time.Second)
			if due := r.due("br0", now); due != now.Add(debounce) {
				t.Errorf("after a quiet time: looked after %s", due.Sub(now))
			}
			r.forget(now.Add(lastBackoff))
			if len(r.subjects) > 0 {
				t.Errorf("after a quiet time: remembers %v", r.subjects)
			}
		})
	}
	for took, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: (1 + idle) * 10 * time.Millisecond,
		time.Second:           time.Second + longestPause, // others keep the machine busy
	} {
		r := &rates{}
		r.look(begin, begin.Add(took))
		if due := r.due("br0", begin.Add(took)); due != begin.Add(want) {
			t.Errorf("after a look that took %s and found nothing: %s later, want %s", took, due.Sub(begin), want)
		}
	}
}
