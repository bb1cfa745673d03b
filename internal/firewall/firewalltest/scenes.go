package firewalltest

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
)

// Scene is a policy whose rules are in the golden file of that name. Scenes with one
// name differ in options that must not matter; the name's words behind commas say which.
type Scene struct {
	Golden string
	Policy firewall.Policy
	Docker bool // there is a Docker whose rules are iptables'
}

// Ranges is how many ports the ranges of the Scenes have.
type Ranges struct{ Same, Shifted, Open uint16 }

// Scenes are policies of every kind.
func Scenes(r Ranges) []Scene {
	n := func(change ...func(*firewall.Network)) firewall.Network {
		out := Network("br0", "172.18.0.0/16")
		for _, c := range change {
			c(&out)
		}
		return out
	}
	one := func(n firewall.Network, ports ...firewall.Port) firewall.Policy {
		return Dual(firewall.Policy{Networks: []firewall.Network{n}, Ports: ports})
	}
	internal := func(n *firewall.Network) { n.Internal = true }
	plain := func(n *firewall.Network) { n.V4.Masquerade = false }
	snat := func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.1") }
	bare := func(n *firewall.Network) { n.V4.Hairpin = false }
	apart := func(n *firewall.Network) { n.ICC = false }
	other := func(n *firewall.Network) { n.ID = "other" }
	publish := func(n firewall.Network) firewall.Policy {
		return one(n,
			Port(n, "tcp 0.0.0.0:8000 172.18.0.2:8000", r.Same),
			Port(n, "tcp 0.0.0.0:8080 172.18.0.2:80", 1),
			Port(n, "tcp 0.0.0.0:9000 172.18.0.3:80", r.Shifted),
			Port(n, "tcp 192.0.2.1:443 172.18.0.2:443", 1),
			Port(n, "udp 0.0.0.0:53 172.18.0.2:53", 1),
			Port(n, "sctp 192.0.2.1:3868 172.18.0.2:3868", 1),
		)
	}
	two := Dual(firewall.Policy{Networks: []firewall.Network{n(), Network("br1", "172.19.0.0/16")}})
	return append(modeScenes(r.Open), []Scene{
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
		{"limits", withLimits(publish(n()), Limit("172.18.0.2", 80, 1, Clients("192.0.2.0/24")), Limit("172.18.0.2", 443, 1, Clients())), true},
		{"limits-routed", routedLimits(), true},
		{"interfaces", withLimits(publish(n()), By("eth1,wg0", Limit("172.18.0.2", 80, 1, "")), By("eth1", Limit("172.18.0.2", 443, 1, Clients("192.0.2.0/24")))), true},
		{"egress", withEgress(publish(n()), Egress("br0", "", "192.0.2.7,192.0.2.8:443,192.0.2.9:8000-8009/tcp,192.0.2.2/icmp,host:53,0.0.0.0/0:123/udp")), true},
		{"egress-of-containers", withEgress(one(n()), Egress("br0", "", "none"), Egress("br0", "172.18.0.2", "192.0.2.7:443/tcp"), Egress("br0", "172.18.0.3", "all")), true},
		{"egress-internal", withEgress(one(n(internal)), Egress("br0", "", "host:53/udp")), true},
		{"egress-by-name", withGrants(withNames(publish(n()), Named(Egress("br0", "", "192.0.2.7:443,host:53"), "80,443,5000-5009")),
			"172.18.0.2 192.0.2.9 tcp 22 22", "172.18.0.2 192.0.2.9 tcp 8000 8009", "172.18.0.2 192.0.2.9 udp 0 0", "172.18.0.2 192.0.2.9 icmp 0 0"), true},
		{"egress-by-name-of-containers", withGrants(withNames(one(n()), Egress("br0", "", "none"), Named(Egress("br0", "172.18.0.2", "none"), "443"), Egress("br0", "172.18.0.3", "192.0.2.7")),
			"172.18.0.2 192.0.2.9 tcp 22 22"), true},
		{"nothing,any-docker", firewall.Policy{}, true},
		{"nothing,any-docker", firewall.Policy{}, false},
	}...)
}

// routedLimits is one of a port that is open at the container's own address.
func routedLimits() firewall.Policy {
	n := Network("br0", "172.18.0.0/16")
	n.V4.Direct, n.V4.Masquerade, n.V4.Hairpin = firewall.DirectRouted, false, false
	p := Dual(firewall.Policy{Networks: []firewall.Network{n}, Openings: []firewall.Opening{Opening("tcp 172.18.0.2", 80, 1, "")}})
	return withLimits(p, Limit("172.18.0.2", 80, 1, Clients("192.0.2.7/32", "198.51.100.0/24")))
}

// modeScenes are scenes of what may enter, and of single families.
func modeScenes(count uint16) []Scene {
	with := func(direct firewall.Direct, openings ...firewall.Opening) firewall.Policy {
		n := Network("br0", "172.18.0.0/16")
		n.V4.Direct = direct
		if direct == firewall.DirectRouted {
			n.V4.Masquerade, n.V4.Hairpin = false, false
		}
		return Dual(firewall.Policy{Networks: []firewall.Network{n}, Openings: openings})
	}
	but := func(p firewall.Policy, change func(p *firewall.Policy, n *firewall.Network)) firewall.Policy {
		p.Networks, p.Openings = slices.Clone(p.Networks), slices.Clone(p.Openings)
		change(&p, &p.Networks[0])
		return p
	}
	ports := []firewall.Opening{Opening("tcp 172.18.0.2", 80, 1, ""), Opening("udp 172.18.0.2", 7000, count, "")}
	plain, routed, open := with(firewall.DirectNone), with(firewall.DirectRouted, ports...), with(firewall.DirectAll)
	internal := func(_ *firewall.Policy, n *firewall.Network) { n.Internal = true }
	return []Scene{
		{"routed", with(firewall.DirectRouted), true},
		{"routed-open", routed, true},
		{"routed-open", but(routed, func(p *firewall.Policy, _ *firewall.Network) { p.Openings = append(p.Openings, p.Openings[3]) }), true},
		{"unprotected", open, true},
		{"unprotected-before-docker", open, false},
		{"unprotected-beside-others", but(open, func(p *firewall.Policy, _ *firewall.Network) {
			p.Networks = append(p.Networks, Dual(firewall.Policy{Networks: []firewall.Network{Network("br1", "172.19.0.0/16")}}).Networks...)
		}), true},
		{"trusted", with(firewall.DirectOpenings, Opening("tcp 172.18.0.2", 80, 1, "eth0"), Opening("tcp 172.18.0.2", 80, 1, "eth1")), true},
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
			n.V4, p.Openings = Network("br0", "172.18.0.0/16").V4, p.Openings[2:]
		}), true},
	}
}

// Golden compares the rules of scenes with their golden files, or, where update says so,
// writes these anew.
func Golden(t *testing.T, scenes []Scene, ext string, update bool, text func(Scene) string) {
	written := map[string]bool{}
	for _, s := range scenes {
		got := text(s)
		path := filepath.Join("testdata", s.Golden+ext)
		if update && !written[path] {
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
			t.Errorf("%s: rules are\n%s\nand in the golden file\n%s", s.Golden, got, want)
		}
	}
	files, _ := filepath.Glob("testdata/*" + ext)
	for _, f := range files {
		if !written[f] {
			t.Errorf("%s belongs to no scene", f)
		}
	}
}

// GoldenDiffer checks the names of golden files: they say that options don't matter; where a
// file is not shared, they must.
func GoldenDiffer(t *testing.T, scenes []Scene, text func(Scene) string) {
	seen := map[string]string{}
	for _, s := range scenes {
		text := text(s)
		if other, ok := seen[text]; ok && other != s.Golden {
			t.Errorf("%s and %s have the same rules", other, s.Golden)
		}
		seen[text] = s.Golden
	}
}

// Explained checks that every rule says in whole sentences what it is for.
func Explained(t *testing.T, scenes []Scene, rules func(Scene) []firewall.ExplainedRule) {
	for _, s := range scenes {
		for _, r := range rules(s) {
			if !strings.HasSuffix(r.Why, ".") || r.Table == "" || r.Chain == "" || r.Rule == "" {
				t.Errorf("%s: %+v", s.Golden, r)
			}
		}
	}
}

// Valid checks that every scene's policy is one that Validate takes.
func Valid(t *testing.T, scenes []Scene) {
	for _, s := range scenes {
		if err := s.Policy.Validate(); err != nil {
			t.Errorf("%s: %v", s.Golden, err)
		}
	}
}
