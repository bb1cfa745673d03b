package iptables

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// What Docker does when it makes and removes a network of its own, step by step as 20.10 does
// it, has mybr follow: nothing of that is something that somebody has undone. What somebody
// has undone is, also where Docker has worked meanwhile.
func TestFollowsDocker(t *testing.T) {
	const toFront = "-D FORWARD -j DOCKER-ISOLATION-STAGE-1\n-I FORWARD -j DOCKER-ISOLATION-STAGE-1\n-D FORWARD -j DOCKER-USER|-I FORWARD -j DOCKER-USER"
	docker := strings.Split(`-I FORWARD -i br-d0 ! -o br-d0 -j ACCEPT
-I FORWARD -i br-d0 -o br-d0 -j ACCEPT
-I FORWARD -o br-d0 -j DOCKER|-I FORWARD -o br-d0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT|-I DOCKER-ISOLATION-STAGE-2 -o br-d0 -j DROP
-I DOCKER-ISOLATION-STAGE-1 -i br-d0 ! -o br-d0 -j DOCKER-ISOLATION-STAGE-2|`+toFront+`|-D FORWARD -o br-d0 -j DOCKER
-D FORWARD -i br-d0 ! -o br-d0 -j ACCEPT
-D FORWARD -i br-d0 -o br-d0 -j ACCEPT|-D FORWARD -o br-d0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT|-D DOCKER-ISOLATION-STAGE-2 -o br-d0 -j DROP
-D DOCKER-ISOLATION-STAGE-1 -i br-d0 ! -o br-d0 -j DOCKER-ISOLATION-STAGE-2`, "|")
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		step := func(do string) (healed []string, followed int) {
			t.Helper()
			k.Do(h, do)
			steps, err := b.Plan(context.Background(), nil, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range steps {
				for _, c := range s.Changes {
					if !slices.Contains(s.Follows, c) {
						healed = append(healed, c)
					}
				}
				followed += len(s.Follows)
			}
			if err := steps.Do(context.Background()); err != nil {
				t.Fatal(err)
			}
			return healed, followed
		}
		total := 0
		for _, do := range docker {
			healed, followed := step(do)
			if healed != nil {
				t.Errorf("%s: taken for damage: %q", do, healed)
			}
			total += followed
		}
		if total == 0 {
			t.Error("nothing has followed: the test shows nothing")
		}
		const made = "-I FORWARD -i br-d1 -o br-d1 -j ACCEPT\n-I FORWARD -o br-d1 -j DOCKER\n"
		for do, want := range map[string]string{
			"-D FORWARD -j MYBR-FORWARD":                                " -j MYBR-FORWARD",
			"-D FORWARD -j MYBR-FORWARD\n-I FORWARD -j MYBR-FORWARD":    " -j MYBR-FORWARD",
			made + "-D MYBR-FORWARD -j MYBR-ISOLATE":                    "-A MYBR-FORWARD -j MYBR-ISOLATE",
			"-t nat -F MYBR-PORTS\n-I FORWARD -i br-d2 -j ACCEPT":       "-A MYBR-PORTS ",
			"-D FORWARD -j MYBR-FORWARD\n-A FORWARD -o br-d3 -j DOCKER": "-j MYBR-FORWARD",
		} {
			if healed, _ := step(do); !slices.ContainsFunc(healed, func(c string) bool { return strings.Contains(c, want) }) {
				t.Errorf("%s: healed %q, want %s among it", do, healed, want)
			}
		}
	})
}
