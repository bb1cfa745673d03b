package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/plan"
)

// What fails for other reasons is not taken for what could not be healed.
func TestHealedBesideAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		failing := plan.Step{Subject: bridge, Changes: []string{"MTU"}, Do: func(context.Context) error { return errors.New("no such MTU") }}
		plans(&s.links, plan.Plan{failing})
		changed := snapshot()
		changed.Networks[0].MTU = 1300
		s.set(changed)
		if err := s.r.Sync(t.Context(), bridge); err == nil {
			t.Fatal("no error")
		}
		s.log.took()
		plans(&s.links, append(plan.Plan{failing}, step(veth, "bring it up")...))
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
		wait(debounce)
		if got, want := warnings(s.log.took()), "warning: healed: bring it up; changed by ip (pid 7)"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if h := s.r.Healings()[LinkAspect]; h.Found != 1 {
			t.Errorf("counted %+v", h)
		}
	})
}

// A link that can't be put right at once is said to be healed when it is.
func TestLinkHealedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		veth := snapshot().Endpoints[0].HostIface()
		var works atomic.Bool
		plans(&s.links, plan.Plan{{Subject: veth, Changes: []string{"bring it up"}, Do: func(context.Context) error {
			if !works.Load() {
				return errors.New("no such bridge")
			}
			return nil
		}}})
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
		wait(debounce)
		if got, want := warnings(s.log.took()), "warning: not all could be healed yet: bring it up; changed by ip (pid 7)\n"+
			"warning: the host does not match what is recorded; trying again"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		works.Store(true)
		wait(firstRetry)
		if got, want := warnings(s.log.took()), "warning: healed: bring it up"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if h := s.r.Healings()[LinkAspect]; h.Found != 1 || h.Unhealed != 1 {
			t.Errorf("counted %+v", h)
		}
	})
}

// What follows what others have made of their own is no damage: it is made at once, however
// often, and nobody is blamed for it.
func TestWhatFollowsOthersIsNotHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		plans(&s.firewall, plan.Plan{{Changes: []string{"-I FORWARD 3"}, Follows: []string{"-I FORWARD 3"}, Do: func(context.Context) error { return nil }}})
		for range 3 * allowance {
			s.r.Suspect(FirewallAspect, "iptables (pid 7)")
			wait(longestPause)
		}
		if passes := strings.Count(s.took(), "firewall full"); passes != 3*allowance {
			t.Errorf("%d passes, want %d", passes, 3*allowance)
		}
		if got := warnings(s.log.took()); got != "" {
			t.Errorf("log: %s", got)
		}
		if h := s.r.Healings()[FirewallAspect]; h.Found != 0 || h.Fights {
			t.Errorf("counted %+v", h)
		}
		plans(&s.firewall, plan.Plan{{Changes: []string{"-I FORWARD 3", "-A MYBR-PORTS"}, Follows: []string{"-I FORWARD 3"}, Do: func(context.Context) error { return nil }}})
		s.r.Suspect(FirewallAspect, "iptables (pid 8)")
		wait(longestPause)
		if got, want := warnings(s.log.took()), "warning: healed: -A MYBR-PORTS; changed by iptables (pid 8)"; got != want {
			t.Errorf("log: %q, want %q", got, want)
		}
	})
}

// A bridge that is deleted may be noticed first by one of its ports: what the pass finds then, when
// it begins from nothing, was changed by others, too.
func TestHealedMoreThanWasSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
		plans(&s.links, append(step(bridge, "make bridge"), step(veth, "put into bridge")...))
		s.links.failWith(func(*link.Set, link.Set) error {
			s.links.failWith(nil) // from nothing it works
			return errors.New("no such device")
		})
		s.find(veth, plan.Differs)
		s.r.Suspect(LinkAspect, "ip (pid 7)", veth)
		wait(debounce)
		if got, want := warnings(s.log.took()), "warning: healed: make bridge; put into bridge; changed by ip (pid 7)"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if h := s.r.Healings()[LinkAspect]; h.Found != 1 || h.Changes != 2 {
			t.Errorf("counted %+v", h)
		}
		if made := s.changes; len(made) > 0 {
			t.Errorf("said to have been asked for: %q", made)
		}
	})
}
