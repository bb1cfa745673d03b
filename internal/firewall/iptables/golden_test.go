package iptables

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scene is a policy whose rules are in the golden file of that name. Scenes with one
// name differ in options that must not matter; the name's words behind commas say which.
type scene struct {
	golden string
	policy firewall.Policy
	docker bool // Docker has its chains for isolation
}

// rules are those of the scene. Docker's bridge matters only where those chains are not.
func (s scene) rules() []firewall.ExplainedRule {
	docker := Docker{V4: s.docker, V6: s.docker}
	if strings.Contains(s.golden, "docker-29") {
		docker = Docker{V4: true, V6: true, NoStages: true, Bridges: []string{"docker0"}}
	}
	return Explain(s.policy, docker)
}

func scenes() []scene {
	n := func(change ...func(*firewall.Network)) firewall.Network {
		out := network("br0", "172.18.0.0/16")
		for _, c := range change {
			c(&out)
		}
		return out
	}
	one := func(n firewall.Network, ports ...firewall.Port) firewall.Policy {
		return dual(firewall.Policy{Networks: []firewall.Network{n}, Ports: ports})
	}
	internal := func(n *firewall.Network) { n.Internal = true }
	plain := func(n *firewall.Network) { n.V4.Masquerade = false }
	snat := func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.1") }
	bare := func(n *firewall.Network) { n.V4.Hairpin = false }
	apart := func(n *firewall.Network) { n.ICC = false }
	other := func(n *firewall.Network) { n.ID = "other" }
	publish := func(n firewall.Network) firewall.Policy {
		return one(n,
			port(n, "tcp 0.0.0.0:8000 172.18.0.2:8000", 1000),
			port(n, "tcp 0.0.0.0:8080 172.18.0.2:80", 1),
			port(n, "tcp 0.0.0.0:9000 172.18.0.3:80", 11),
			port(n, "tcp 192.0.2.1:443 172.18.0.2:443", 1),
			port(n, "udp 0.0.0.0:53 172.18.0.2:53", 1),
			port(n, "sctp 192.0.2.1:3868 172.18.0.2:3868", 1),
		)
	}
	two := dual(firewall.Policy{Networks: []firewall.Network{n(), network("br1", "172.19.0.0/16")}})
	return append(modes(), []scene{
		{"network,any-id", one(n()), true},
		{"network,any-id", one(n(other)), true},
		{"network-before-docker", one(n()), false},
		{"two-networks", two, true},
		{"no-icc,any-hairpin", one(n(apart)), true},
		{"no-icc,any-hairpin", one(n(apart, bare)), true},
		{"no-masquerade-no-bridge-address,any-snat,any-subnet", one(n(plain, bare)), true},
		{"no-masquerade-no-bridge-address,any-snat,any-subnet", one(n(plain, bare, snat)), true},
		{"no-masquerade", one(n(plain)), true},
		{"snat", one(n(snat)), true},
		{"no-bridge-address", one(n(bare)), true},
		{"internal,any-masquerade,any-snat,any-hairpin", one(n(internal)), true},
		{"internal,any-masquerade,any-snat,any-hairpin", one(n(internal, plain)), true},
		{"internal,any-masquerade,any-snat,any-hairpin", one(n(internal, snat)), true},
		{"internal,any-masquerade,any-snat,any-hairpin", one(n(internal, bare)), true},
		{"internal-no-icc", one(n(internal, apart)), true},
		{"ports", publish(n()), true},
		{"ports-no-icc", publish(n(apart)), true},
		{"nothing,any-docker", firewall.Policy{}, true},
		{"nothing,any-docker", firewall.Policy{}, false},
	}...)
}

// modes are scenes of what may enter, and of single families.
func modes() []scene {
	with := func(direct firewall.Direct, openings ...firewall.Opening) firewall.Policy {
		n := network("br0", "172.18.0.0/16")
		n.V4.Direct = direct
		if direct == firewall.DirectRouted {
			n.V4.Masquerade, n.V4.Hairpin = false, false
		}
		return dual(firewall.Policy{Networks: []firewall.Network{n}, Openings: openings})
	}
	but := func(p firewall.Policy, change func(p *firewall.Policy, n *firewall.Network)) firewall.Policy {
		p.Networks, p.Openings = slices.Clone(p.Networks), slices.Clone(p.Openings)
		change(&p, &p.Networks[0])
		return p
	}
	ports := []firewall.Opening{opening("tcp 172.18.0.2", 80, 1, ""), opening("udp 172.18.0.2", 7000, 100, "")}
	plain, routed, open := with(firewall.DirectNone), with(firewall.DirectRouted, ports...), with(firewall.DirectAll)
	internal := func(_ *firewall.Policy, n *firewall.Network) { n.Internal = true }
	return []scene{
		{"routed", with(firewall.DirectRouted), true},
		{"routed-open", routed, true},
		{"routed-open", but(routed, func(p *firewall.Policy, _ *firewall.Network) { p.Openings = append(p.Openings, p.Openings[3]) }), true},
		{"unprotected", open, true},
		{"unprotected-before-docker", open, false},
		{"unprotected-docker-29", open, false},
		{"unprotected-beside-others", but(open, func(p *firewall.Policy, _ *firewall.Network) {
			p.Networks = append(p.Networks, dual(firewall.Policy{Networks: []firewall.Network{network("br1", "172.19.0.0/16")}}).Networks...)
		}), true},
		{"trusted", with(firewall.DirectOpenings, opening("tcp 172.18.0.2", 80, 1, "eth0"), opening("tcp 172.18.0.2", 80, 1, "eth1")), true},
		{"direct-routing", with(firewall.DirectOpenings, ports...), true},
		{"internal,any-masquerade,any-snat,any-hairpin", but(with(firewall.DirectRouted), internal), true},
		{"internal,any-masquerade,any-snat,any-hairpin", but(open, internal), true},
		{"input-no-advertisements", but(plain, func(_ *firewall.Policy, n *firewall.Network) { n.V6.Input = firewall.InputNoAdvertisements }), true},
		{"input-none", but(plain, func(_ *firewall.Policy, n *firewall.Network) { n.V6 = firewall.Family{Input: firewall.InputNone} }), true},
		{"mark", but(plain, func(p *firewall.Policy, _ *firewall.Network) { p.Accept = firewall.Mark{Value: 1, Mask: 3} }), true},
		{"mark-internal", but(with(firewall.DirectNone), func(p *firewall.Policy, n *firewall.Network) {
			n.Internal, p.Accept = true, firewall.Mark{Value: 16, Mask: 1<<32 - 1}
		}), true},
		{"ipv4-only", but(with(firewall.DirectNone), func(_ *firewall.Policy, n *firewall.Network) { n.V6 = firewall.Family{} }), true},
		{"ipv6-only", but(with(firewall.DirectNone), func(_ *firewall.Policy, n *firewall.Network) { n.V4 = firewall.Family{} }), true},
		{"ipv6-routed", but(with(firewall.DirectRouted, ports...), func(p *firewall.Policy, n *firewall.Network) {
			n.V4, p.Openings = network("br0", "172.18.0.0/16").V4, p.Openings[2:]
		}), true},
	}
}

// annotated is a ruleset as a person reads it.
func annotated(rules []firewall.ExplainedRule) string {
	var out strings.Builder
	head := ""
	for _, r := range rules {
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

func TestGolden(t *testing.T) {
	written := map[string]bool{}
	for _, s := range scenes() {
		got := annotated(s.rules())
		path := filepath.Join("testdata", s.golden+".rules")
		if *update && !written[path] {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		written[path] = true
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: rules are\n%s\nand in the golden file\n%s", s.golden, got, want)
		}
	}
	files, _ := filepath.Glob("testdata/*.rules")
	for _, f := range files {
		if !written[f] {
			t.Errorf("%s belongs to no scene", f)
		}
	}
}

// Names of golden files say that options don't matter; where a file is not shared,
// they must.
func TestGoldenDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, s := range scenes() {
		text := annotated(s.rules())
		if other, ok := seen[text]; ok && other != s.golden {
			t.Errorf("%s and %s have the same rules", other, s.golden)
		}
		seen[text] = s.golden
	}
}

// Every rule says in whole sentences what it is for.
func TestExplain(t *testing.T) {
	for _, s := range scenes() {
		for _, r := range s.rules() {
			if !strings.HasSuffix(r.Why, ".") || r.Table == "" || r.Chain == "" || r.Rule == "" {
				t.Errorf("%s: %+v", s.golden, r)
			}
		}
	}
}

// Every scene's policy is one that Validate takes.
func TestScenesAreValid(t *testing.T) {
	for _, s := range scenes() {
		if err := s.policy.Validate(); err != nil {
			t.Errorf("%s: %v", s.golden, err)
		}
	}
}

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
