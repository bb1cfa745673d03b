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
	docker bool
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
		return firewall.Policy{Networks: []firewall.Network{n}, Ports: ports}
	}
	internal := func(n *firewall.Network) { n.Internal = true }
	plain := func(n *firewall.Network) { n.V4.Masquerade = false }
	snat := func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.1") }
	bare := func(n *firewall.Network) { n.V4.Hairpin = false }
	apart := func(n *firewall.Network) { n.ICC = false }
	other := func(n *firewall.Network) { n.ID = "other" }
	off := func(n *firewall.Network) { n.V4 = firewall.Family{} }
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
	two := firewall.Policy{Networks: []firewall.Network{n(), network("br1", "172.19.0.0/16")}}
	return []scene{
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
		{"no-masquerade-no-bridge-address,any-snat,any-subnet", one(n(off)), true},
		{"internal,any-masquerade,any-snat,any-hairpin,any-docker", one(n(internal)), true},
		{"internal,any-masquerade,any-snat,any-hairpin,any-docker", one(n(internal, plain)), true},
		{"internal,any-masquerade,any-snat,any-hairpin,any-docker", one(n(internal, snat)), true},
		{"internal,any-masquerade,any-snat,any-hairpin,any-docker", one(n(internal, bare)), false},
		{"internal-no-icc", one(n(internal, apart)), true},
		{"ports", publish(n()), true},
		{"ports-no-icc", publish(n(apart)), true},
		{"nothing,any-docker", firewall.Policy{}, true},
		{"nothing,any-docker", firewall.Policy{}, false},
	}
}

// annotated is a ruleset as a person reads it.
func annotated(rules []ExplainedRule) string {
	var out strings.Builder
	table, chain := "", ""
	for _, r := range rules {
		if r.Table != table || r.Chain != chain {
			if out.Len() > 0 {
				out.WriteString("\n")
			}
			table, chain = r.Table, r.Chain
			fmt.Fprintf(&out, "%s %s\n", table, chain)
		}
		fmt.Fprintf(&out, "    # %s\n    %s\n", r.Why, r.Rule)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	written := map[string]bool{}
	for _, s := range scenes() {
		got := annotated(Explain(s.policy, s.docker))
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
		text := annotated(Explain(s.policy, s.docker))
		if other, ok := seen[text]; ok && other != s.golden {
			t.Errorf("%s and %s have the same rules", other, s.golden)
		}
		seen[text] = s.golden
	}
}

// Every rule says in whole sentences what it is for.
func TestExplain(t *testing.T) {
	for _, s := range scenes() {
		for _, r := range Explain(s.policy, s.docker) {
			if !strings.HasSuffix(r.Why, ".") || r.Table == "" || r.Chain == "" || r.Rule == "" {
				t.Errorf("%s: %+v", s.golden, r)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	n := network("br0", "172.18.0.0/16")
	for name, p := range map[string]firewall.Policy{
		"wildcard":  {Networks: []firewall.Network{network("br+", "172.18.0.0/16")}},
		"space":     {Networks: []firewall.Network{network("a b", "172.18.0.0/16")}},
		"negation":  {Networks: []firewall.Network{network("!br0", "172.18.0.0/16")}},
		"line":      {Networks: []firewall.Network{network("a\nCOMMIT", "172.18.0.0/16")}},
		"long":      {Networks: []firewall.Network{network("a123456789012345", "172.18.0.0/16")}},
		"twice":     {Networks: []firewall.Network{n, n}},
		"ipv6":      {Networks: []firewall.Network{network("br0", "2001:db8::/64")}},
		"unmasked":  {Networks: []firewall.Network{network("br0", "172.18.0.1/16")}},
		"no bridge": {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(network("br1", "172.19.0.0/16"), "tcp 0.0.0.0:80 172.18.0.2:80", 1)}},
		"host ipv6": {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(n, "tcp [::]:80 172.18.0.2:80", 1)}},
		"loopback":  {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(n, "tcp 127.0.0.1:80 172.18.0.2:80", 1)}},
		"no port":   {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(n, "tcp 0.0.0.0:0 172.18.0.2:80", 1)}},
		"past end":  {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(n, "tcp 0.0.0.0:80 172.18.0.2:65535", 2)}},
		"protocol":  {Networks: []firewall.Network{n}, Ports: []firewall.Port{port(n, "icmp 0.0.0.0:80 172.18.0.2:80", 1)}},
	} {
		if err := validate(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, s := range scenes() {
		if err := validate(s.policy); err != nil {
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
