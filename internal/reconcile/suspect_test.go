package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// messages is a logrus.Hook that keeps what is logged.
type messages struct {
	mu  sync.Mutex
	all []string
}

func (m *messages) Levels() []logrus.Level { return logrus.AllLevels }

func (m *messages) Fire(e *logrus.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, e.Level.String()+": "+e.Message)
	return nil
}

// took returns the messages since the last time.
func (m *messages) took() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := strings.Join(m.all, "\n")
	m.all = nil
	return text
}

// suspicious is a harness whose links can be looked at.
type suspicious struct {
	*harness
	log     *messages
	mu      sync.Mutex
	finding map[string]plan.Finding
	looked  []string
}

// known is a harness that knows of a snapshot's links.
func known(t *testing.T) *suspicious {
	s := &suspicious{harness: prepare(), log: &messages{}, finding: map[string]plan.Finding{}}
	for _, a := range s.r.Aspects {
		if a, ok := a.(*aspect[link.Set]); ok {
			a.Look = s.look
		}
	}
	s.r.log.(*logrus.Logger).AddHook(s.log)
	s.r.log.(*logrus.Logger).SetLevel(logrus.DebugLevel)
	s.set(snapshot())
	s.run(t)
	<-s.r.Ready()
	s.took()
	return s
}

func (s *suspicious) look(_ context.Context, _ link.Set, name string) plan.Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = append(s.looked, name)
	return s.finding[name]
}

// find has looks at a link find something from now on.
func (s *suspicious) find(name string, f plan.Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finding[name] = f
}

// step is one that changes a link.
func step(subject, change string) plan.Plan {
	return plan.Plan{{Subject: subject, Changes: []string{change}, Do: func(context.Context) error { return nil }}}
}

// plans has an applier find something to do from now on.
func plans[T any](a *recorder[T], p plan.Plan) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.plan = p
}

// wait lets the bubble's time pass.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// What is suspected is looked at once, a short time later; what is as it was made costs no
// pass, and what is none of mybr's costs nothing.
func TestSuspectThatMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		bridge := snapshot().Networks[0].Bridge
		for range 100 {
			s.r.Suspect(LinkAspect, "", bridge)
			s.r.Suspect(LinkAspect, "", "docker0")
		}
		wait(debounce)
		if got := s.took(); got != "" {
			t.Errorf("calls: %s", got)
		}
		if want := []string{bridge}; !slices.Equal(s.looked, want) {
			t.Errorf("looked at %v, want %v", s.looked, want)
		}
	})
}

func TestSuspectThatDiffers(t *testing.T) {
	bridge, veth := snapshot().Networks[0].Bridge, snapshot().Endpoints[0].HostIface()
	for _, c := range []struct {
		name     string
		aspect   string
		subjects []string
		finding  plan.Finding
		calls    string
		log      string
	}{
		{"a link", LinkAspect, []string{veth}, plan.Differs, "links delta, ports full", "warning: healed: bring it up; changed by a tester (pid 7)"},
		{"one that is gone", LinkAspect, []string{bridge}, plan.Gone, "links full, ports full", "warning: healed: bring it up; changed by a tester (pid 7)"},
		{"all links", LinkAspect, nil, plan.Same, "links full, ports full", "warning: healed: bring it up; changed by a tester (pid 7)"},
		{"rules", FirewallAspect, nil, plan.Same, "firewall full", ""},
		{"a setting", SysctlAspect, []string{forwarding4}, plan.Same, "sysctls delta", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := known(t)
				for _, name := range c.subjects {
					s.find(name, c.finding)
				}
				if c.log != "" {
					plans(&s.links, step(append(c.subjects, veth)[0], "bring it up"))
				}
				s.r.Suspect(c.aspect, "a tester (pid 7)", c.subjects...)
				wait(debounce)
				if got := s.took(); got != c.calls {
					t.Errorf("calls: %s, want %s", got, c.calls)
				}
				if got := s.log.took(); got != c.log {
					t.Errorf("log: %q, want %q", got, c.log)
				}
				h := s.r.Healings()[c.aspect]
				if want := min(len(c.log), 1); h.Found != want || h.Changes != want {
					t.Errorf("counted %+v, want %d", h, want)
				}
				plans(&s.links, nil)
				s.find(veth, plan.Same)
				s.find(bridge, plan.Same)
				wait(time.Minute)
				if got := s.took(); got != "" {
					t.Errorf("calls later: %s", got)
				}
			})
		})
	}
}

// A request does not wait for what is suspected, and what it asks for is not called healed.
func TestSuspectBesideARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		s.r.Suspect(FirewallAspect, "")
		if err := s.r.Sync(t.Context()); err != nil || s.took() != "" {
			t.Errorf("a request: %v, or it looked at the rules", err)
		}
		wait(debounce)
		if got, want := s.took(), "firewall full"; got != want {
			t.Errorf("then: %s, want %s", got, want)
		}

		plans(&s.firewall, step("", "-A MYBR-PORTS"))
		s.r.Invalidate("Docker, as it started", FirewallAspect)
		changed := snapshot()
		changed.Endpoints[0].Ports = nil
		s.set(changed)
		wait(debounce)
		s.log.took()
		// The harness finds the same to do for what was known and for what is wanted.
		if got, want := s.took(), "firewall full, firewall full, links delta, ports delta"; got != want {
			t.Errorf("with a request: %s, want %s: what was known is compared alone, too", got, want)
		}
	})
}

// Behind all events stands a full check.
func TestResyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &suspicious{harness: prepare(), log: &messages{}}
		s.r.ResyncInterval = 5 * time.Minute
		s.r.log.(*logrus.Logger).AddHook(s.log)
		s.run(t)
		<-s.r.Ready()
		s.took()
		plans(&s.links, step("br0", "bring it up"))
		wait(5 * time.Minute)
		if got, want := s.took(), "firewalld full, firewall full, links full, sysctls full, ports full"; got != want {
			t.Errorf("calls: %s, want %s", got, want)
		}
		if got, want := s.log.took(), "warning: healed: bring it up; changed by something that gave no sign"; got != want {
			t.Errorf("log: %q, want %q", got, want)
		}
	})
}

func TestSome(t *testing.T) {
	var all []string
	for i := range maxLogged + 3 {
		all = append(all, fmt.Sprint(i))
	}
	if got, want := some(all[:2]), "0; 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := some(all); !strings.HasSuffix(got, "; 19; and 3 more") {
		t.Errorf("%q", got)
	}
}

// A subject that has failed is tried again when something happens to it.
func TestSuspectWhatHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		bridge := snapshot().Networks[0].Bridge
		failing := func(*link.Set, link.Set) error {
			return &plan.Error{Subject: bridge, Err: model.ErrNotFound}
		}
		s.links.failWith(failing)
		s.find(bridge, plan.Gone)
		s.r.Suspect(LinkAspect, "", bridge)
		wait(2 * lastRetry) // so that the next retry is far away
		s.took()
		s.links.failWith(nil)
		s.r.Suspect(LinkAspect, "", bridge)
		wait(debounce)
		if got := s.took(); !strings.HasPrefix(got, "links delta") {
			t.Errorf("calls: %s", got)
		}
	})
}

// What can't be put right at once is said to be healed when it is.
func TestHealedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := known(t)
		var works atomic.Bool
		plans(&s.firewall, plan.Plan{{Changes: []string{"-A MYBR-PORTS"}, Do: func(context.Context) error {
			if !works.Load() {
				return errors.New("no such chain")
			}
			return nil
		}}})
		s.r.Suspect(FirewallAspect, "iptables (pid 7)")
		wait(debounce)
		if got, want := warnings(s.log.took()), "warning: not all could be healed yet: -A MYBR-PORTS; changed by iptables (pid 7)\n"+
			"warning: the host does not match what is recorded; trying again"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		works.Store(true)
		wait(firstRetry)
		if got, want := warnings(s.log.took()), "warning: healed: -A MYBR-PORTS"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
