// Package firewalltest is what the tests of the packet filter's backends share: hosts with
// the variants of iptables and with Docker's chains, a world of namespaces that send each
// other packets, policies, made and drawn, and Suite, which has every backend do the same to
// the same packets.
//
// Be aware: tests are written in IPv4 addresses, and played in both families (In).
package firewalltest

import (
	"context"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// Main runs the tests of a backend, and then looks for goroutines that they have left.
func Main(m *testing.M) {
	nettest.Parallel(12)
	// Each example makes a namespace and runs dozens of commands.
	checks := "20"
	if testing.Short() {
		checks = "100" // of which rapid takes a fifth then
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.nofailfile": "true"} {
		if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, name) }) {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// Apply has a backend apply a policy, which must go well.
func Apply(t *testing.T, b firewall.Backend, have *firewall.Policy, want firewall.Policy) {
	t.Helper()
	if err := b.Apply(context.Background(), have, want); err != nil {
		t.Fatal(err)
	}
}

// Suite is what backends must do to packets, and what differs between them.
type Suite struct {
	Backend func(t *testing.T, s Stand) firewall.Backend
	Stands  []string          // that the scenarios are played on
	Dockers map[string]string // layouts of Docker's chains (Stand.Dockers), and the variant of iptables that each is in
	// Accepted is who answers where an administrator's rule in DOCKER-USER accepts what
	// mybr would drop: a container's name, or "nothing".
	Accepted string
	// Closed looks at the rules of a world that no longer has an unprotected network; nil:
	// there is nothing to look at.
	Closed func(w *World)
}

// scenario is a test of one world.
type scenario struct {
	name string
	play func(*World)
}

// Run plays every scenario.
func (s Suite) Run(t *testing.T) {
	s.each(t, s.Stands, slices.Concat(packets(), sources(), limited(), listed(), named(), refused(), unlisted()))
	beside := slices.DeleteFunc(slices.Clone(s.Stands), func(name string) bool { return name == Alone })
	s.each(t, beside, packetsBeside())
	for _, c := range modes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s.eachDocker(t, c.play)
		})
	}
	for _, c := range []struct {
		scenario
		names []string
	}{
		{scenario{"link-local clients", linkLocalClients}, s.Stands},
		{scenario{"unprotected in a family without Docker", unprotectedInAFamilyWithoutDocker}, []string{"nft"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range c.names {
				t.Run(name, func(t *testing.T) {
					h := nettest.New(t)
					c.play(s.world(t, h, NewStand(t, name, model.IPv6)))
				})
			}
		})
	}
}

// each plays scenarios on Stands.
func (s Suite) each(t *testing.T, names []string, scenarios []scenario) {
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			Each(t, names, func(t *testing.T, h *nettest.Host, on Stand) { c.play(s.world(t, h, on)) })
		})
	}
}

// eachDocker runs a test in a world with each of the layouts of Docker's chains, in the
// families that families says.
func (s Suite) eachDocker(t *testing.T, test func(*World)) {
	for i, layout := range slices.Sorted(maps.Keys(s.Dockers)) {
		variant := s.Dockers[layout]
		for _, ip := range families(t, i, len(s.Dockers)) {
			t.Run(layout+" "+ip.String(), func(t *testing.T) {
				t.Parallel()
				h := nettest.New(t)
				w := s.world(t, h, NewStand(t, variant, ip))
				w.Stand.Dockers()[layout](h)
				test(w)
			})
		}
	}
}

func (s Suite) world(t *testing.T, h *nettest.Host, on Stand) *World {
	w := NewWorld(t, h, on, s.Backend(t, on))
	w.suite = s
	return w
}
