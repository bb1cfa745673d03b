package iptables

import (
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// Docker 20.10 leaves FORWARD so when firewalld has reloaded; its next start puts it
// right.
func TestDockerUserBehindItsBridges(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		if got := k.rules(h, "filter", dockerStage1); slices.Contains(got, "-j "+chainIsolate) {
			t.Errorf("in order, %s is %q", dockerStage1, got)
		}
		k.Do(h, `
			-D FORWARD -j DOCKER-USER
			-D FORWARD -j MYBR-FORWARD
			-A FORWARD -j DOCKER-USER`)
		for range 2 {
			firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
			if got := k.rules(h, "filter", dockerStage1); len(got) == 0 || got[0] != "-j "+chainIsolate {
				t.Errorf("in disorder, %s is %q", dockerStage1, got)
			}
		}
		k.Do(h, `
			-D FORWARD -j DOCKER-USER
			-I FORWARD -j DOCKER-USER`)
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		if got := k.rules(h, "filter", dockerStage1); slices.Contains(got, "-j "+chainIsolate) {
			t.Errorf("in order again, %s is %q", dockerStage1, got)
		}
	})
}

// Nor has it put back what keeps its bridges apart.
func TestDockerLosesItsBridges(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		isolated := func() (to []string) {
			for _, r := range k.rules(h, "filter", chainEgress) {
				if strings.Contains(r, "-o docker0 ") {
					to = append(to, r)
				}
			}
			return to
		}
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		if got := isolated(); got != nil {
			t.Errorf("in order, %s has %q", chainEgress, got)
		}
		k.Do(h, "-F DOCKER-ISOLATION-STAGE-2")
		for range 2 {
			firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
			if got := isolated(); len(got) != 1 || !strings.HasSuffix(got[0], "-j DROP") {
				t.Errorf("in disorder, %s has %q", chainEgress, got)
			}
		}
		k.Do(h, "-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP")
		firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
		if got := isolated(); got != nil {
			t.Errorf("in order again, %s has %q", chainEgress, got)
		}
	})
}

// What is out of place without networks needs nothing, also with a default drop.
func TestMissingJumpsWithoutNetworks(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		k.Do(h, "-D FORWARD -j DOCKER-USER")
		b := k.backend(t)
		dropping := firewalltest.TwoNetworks()
		dropping.DefaultDrop = firewall.Families{V4: true, V6: true}
		none := firewall.Policy{DefaultDrop: dropping.DefaultDrop}
		firewalltest.Apply(t, b, nil, dropping)
		for _, have := range []*firewall.Policy{&dropping, nil} {
			firewalltest.Apply(t, b, have, none)
			if saved := k.save(h); strings.Contains(saved, chainIsolate) || !strings.Contains(saved, chainForwardDrop) {
				t.Errorf("without networks:\n%s", saved)
			}
		}
	})
}

// In IPv6, Docker 20.10 makes its chains when it starts, and jumps there with its first
// network, in front of everything, as are the rules that let that network out.
func TestDockerJumpsLater(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		k.Do(h, `
			-D FORWARD -j DOCKER-USER
			-D FORWARD -j DOCKER-ISOLATION-STAGE-1`)
		firewalltest.Apply(t, k.backend(t), nil, firewalltest.TwoNetworks())
		if got := k.rules(h, "filter", dockerStage1); len(got) == 0 || got[0] != "-j "+chainIsolate {
			t.Errorf("%s is %q", dockerStage1, got)
		}
	})
}
