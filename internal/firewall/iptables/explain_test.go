package iptables

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// unprotected is a policy with one unprotected network, and one that isn't.
func unprotected() firewall.Policy {
	p := firewalltest.TwoNetworks()
	p.Networks[0].V4.Direct, p.Networks[0].V6.Direct = firewall.DirectAll, firewall.DirectAll
	return p
}

// What is explained is what the kernel has, beside every Docker.
func TestExplainOnThisHost(t *testing.T) {
	for _, layout := range []string{"20.10", "20.10, no DOCKER-USER", "20.10, DOCKER-USER behind", "28.5", "29"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
				if strings.Contains(layout, "behind") {
					k.Docker2010(h)
					k.Do(h, "-D FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-USER")
				} else {
					k.Dockers()[layout](h)
				}
				b := k.backend(t)
				firewalltest.Apply(t, b, nil, unprotected())
				var explained []string
				for _, r := range b.Explain(unprotected()) {
					if r.Command == k.command {
						explained = append(explained, fmt.Sprintf("%s %s %s", r.Table, r.Chain, r.Rule))
					}
				}
				var there []string
				for _, table := range parseSave(k.save(h)).tables {
					for _, c := range table.chains {
						for _, r := range c.rules {
							if strings.HasPrefix(c.name, ownPrefix) || ownTarget(r) {
								there = append(there, fmt.Sprintf("%s %s %s", table.name, c.name, r))
							}
						}
					}
				}
				slices.Sort(explained)
				slices.Sort(there)
				if !slices.Equal(explained, there) {
					t.Errorf("explained\n%s\nthere\n%s", strings.Join(explained, "\n"), strings.Join(there, "\n"))
				}
			})
		})
	}
}

// A bridge that Docker 29 makes is kept out of unprotected networks from the next change
// of mybr's on.
func TestNewBridgeOfDocker(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker29(h)
		b := k.backend(t)
		p := unprotected()
		firewalltest.Apply(t, b, nil, p)
		k.Do(h, `
			-A DOCKER-BRIDGE -o br-theirs -j DOCKER
			-A DOCKER-CT -o br-theirs -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
			-A DOCKER-FORWARD -i br-theirs -j ACCEPT`)
		less := firewall.Policy{Networks: p.Networks}
		firewalltest.Apply(t, b, &p, less)
		kept := func() (n int) {
			for _, r := range k.rules(h, "filter", chainIsolate) {
				if strings.HasPrefix(r, "-i br-theirs ") {
					n++
				}
			}
			return n
		}
		if kept() != 1 {
			t.Errorf("%s is %q", chainIsolate, k.rules(h, "filter", chainIsolate))
		}
		k.Do(h, "-D DOCKER-BRIDGE -o br-theirs -j DOCKER")
		firewalltest.Apply(t, b, &less, p)
		if kept() != 0 {
			t.Errorf("the bridge has gone, and %s is %q", chainIsolate, k.rules(h, "filter", chainIsolate))
		}
		if before := k.side(b).state; k.Family == model.IPv4 && !before.ready {
			t.Error("looks for Docker for ever")
		}
	})
}

// The endpoint's link is for errors only.
func TestLinkIsNoChange(t *testing.T) {
	nettest.New(t)
	b := kindOf(t, "nft", ipv4()).backend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	other := firewalltest.Dual(p)
	other.Networks, other.Ports = p.Networks, slices.Clone(p.Ports)
	other.Ports[0].Link = "veth9"
	for _, have := range []*firewall.Policy{&p, nil} {
		if steps, err := b.Plan(t.Context(), have, other); err != nil || len(steps) > 0 {
			t.Errorf("planned %q, %v", steps.Changes(), err)
		}
	}
}
