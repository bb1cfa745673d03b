package iptables

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
)

var update = flag.Bool("update", false, "write the golden files anew")

type scene = firewalltest.Scene

const beside29 = "unprotected-docker-29"

// scenes are those of every backend, and one beside a Docker without chains for isolation.
func scenes() []scene {
	all := firewalltest.Scenes(firewalltest.Ranges{Same: 1000, Shifted: 11, Open: 100})
	i := slices.IndexFunc(all, func(s scene) bool { return s.Golden == "unprotected" })
	return append(all, scene{Golden: beside29, Policy: all[i].Policy})
}

// rulesOf are those of a scene. Docker's bridge matters only where those chains are not.
func rulesOf(s scene) []firewall.ExplainedRule {
	docker := Docker{V4: s.Docker, V6: s.Docker}
	if s.Golden == beside29 {
		docker = Docker{V4: true, V6: true, NoStages: true, Bridges: []string{"docker0"}}
	}
	return Explain(s.Policy, docker)
}

// annotated is the rules of a scene as a person reads them.
func annotated(s scene) string {
	var out strings.Builder
	head := ""
	for _, r := range rulesOf(s) {
		if h := fmt.Sprintln(r.Command, r.Table, r.Chain); h != head {
			if out.Len() > 0 {
				out.WriteString("\n")
			}
			head = h
			out.WriteString(head)
		}
		fmt.Fprintf(&out, "    # %s\n    %s\n", r.Why, r.Rule)
	}
	return out.String()
}

func TestGolden(t *testing.T) { firewalltest.Golden(t, scenes(), ".rules", *update, annotated) }

func TestGoldenDiffer(t *testing.T) { firewalltest.GoldenDiffer(t, scenes(), annotated) }

func TestExplain(t *testing.T) { firewalltest.Explained(t, scenes(), rulesOf) }

func TestScenesAreValid(t *testing.T) { firewalltest.Valid(t, scenes()) }

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		rules string
		place func([]string) (int, bool)
		at    int
	}{
		{"", behindDocker, 0},
		{"-j DROP", behindDocker, 0},
		{"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-o docker0 -j DOCKER|-j DROP", behindDocker, 2},
		{"-j LOG|-j DOCKER-USER|-i eth0 -j DROP|-j DOCKER-FORWARD|-j DROP", behindDocker, 4},
		{"-j DOCKER-ISOLATION-STAGE-1|-o docker0 -j DOCKER|-j DROP", behindDocker, 1},
		{"-j LOG|-j DOCKER-FORWARD|-j DOCKER-USER|-j DROP", behindDocker, 1},
		{`-m comment --comment "docker's own" -j DOCKER-USER|-j DROP`, behindDocker, 1},
		{"-i eth0 -j DOCKER-USER|-j DROP", behindDocker, 0},
		{"", behindAdministrator, 0},
		{"-i eth0 -j DROP", behindAdministrator, 1},
		{"-i eth0 -j RETURN|-i eth1 -j DROP|-j RETURN|-j DROP", behindAdministrator, 2},
	} {
		var rules []string
		if c.rules != "" {
			rules = strings.Split(c.rules, "|")
		}
		if at, _ := c.place(slices.Clone(rules)); at != c.at {
			t.Errorf("%q: at %d instead of %d", c.rules, at, c.at)
		}
	}
}
