package nftables

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
	"github.com/mybr/mybr/internal/nettest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scene is a policy whose rules are in the golden file of that name. Scenes with one
// name differ in options that must not matter; the name's words behind commas say which.
type scene struct {
	golden string
	policy firewall.Policy
	docker bool // iptables has a table, and Docker a bridge
}

// host is one beside a Docker that uses iptables, or one without.
func (s scene) host() Host {
	if s.docker || strings.Contains(s.golden, "docker-29") {
		return Host{Beside: firewall.Families{V4: true, V6: true}, Bridges: []string{"docker0"}}
	}
	return Host{}
}

func scenes() []scene {
	n := func(change ...func(*firewall.Network)) firewall.Network {
		out := network("br0", "172.18.0.0/16")
		for _, c := range change {
			c(&out)
		}
		return out
	}
	internal := func(n *firewall.Network) { n.Internal = true }
	plain := func(n *firewall.Network) { n.V4.Masquerade = false }
	snat := func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("192.0.2.1") }
	bare := func(n *firewall.Network) { n.V4.Hairpin = false }
	apart := func(n *firewall.Network) { n.ICC = false }
	other := func(n *firewall.Network) { n.ID = "other" }
	publish := func(n firewall.Network) firewall.Policy {
		return one(n,
			binding(n, "tcp 0.0.0.0:8000 172.18.0.2:8000", 3),
			binding(n, "tcp 0.0.0.0:8080 172.18.0.2:80", 1),
			binding(n, "tcp 0.0.0.0:9000 172.18.0.3:80", 2),
			binding(n, "tcp 192.0.2.1:443 172.18.0.2:443", 1),
			binding(n, "udp 0.0.0.0:53 172.18.0.2:53", 1),
			binding(n, "sctp 192.0.2.1:3868 172.18.0.2:3868", 1),
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
	ports := []firewall.Opening{opening("tcp 172.18.0.2", 80, 1, ""), opening("udp 172.18.0.2", 7000, 3, "")}
	plain, routed, open := with(firewall.DirectNone), with(firewall.DirectRouted, ports...), with(firewall.DirectAll)
	internal := func(_ *firewall.Policy, n *firewall.Network) { n.Internal = true }
	return []scene{
		{"routed", with(firewall.DirectRouted), true},
		{"routed-open", routed, true},
		{"routed-open", but(routed, func(p *firewall.Policy, _ *firewall.Network) { p.Openings = append(p.Openings, p.Openings[3]) }), true},
		{"unprotected", open, true},
		{"unprotected-before-docker", open, false},
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

// text is a ruleset as nft(8) lists it; with why there is a comment above each rule and
// element that says what it is for.
func (fam family) text(all ruleset, why bool) string {
	if len(all.chains)+len(all.sets) == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "table %s {\n", fam.name())
	for i, s := range all.sets {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "\t%s %s {\n\t\t%s\n", s.word(), s.name, s.declaration())
		if s.interval {
			out.WriteString("\t\tflags interval\n")
		}
		if s.counter {
			out.WriteString("\t\tcounter\n")
		}
		if len(s.elements) > 0 {
			out.WriteString("\t\telements = {\n")
			for i, e := range s.elements {
				if why && (i == 0 || s.elements[i-1].why != e.why) {
					fmt.Fprintf(&out, "\t\t\t# %s\n", e.why)
				}
				fmt.Fprintf(&out, "\t\t\t%s,\n", s.text(e))
			}
			out.WriteString("\t\t}\n")
		}
		out.WriteString("\t}\n")
	}
	for _, c := range all.chains {
		fmt.Fprintf(&out, "\n\tchain %s {\n", c.name)
		if h := c.hook; h != nil {
			fmt.Fprintf(&out, "\t\ttype %s hook %s priority %d; policy accept;\n", h.kind, h.name, h.priority)
		}
		for _, r := range c.rules {
			if why {
				fmt.Fprintf(&out, "\t\t# %s\n", r.why)
			}
			fmt.Fprintf(&out, "\t\t%s\n", r.text)
		}
		out.WriteString("\t}\n")
	}
	out.WriteString("}\n")
	return out.String()
}

// annotated is a scene's rules in both families as a person reads them: elements, and the
// chains where they are not those of one network in both families beside a Docker.
func (s scene) annotated() string {
	var out strings.Builder
	h := s.host()
	usual := one(network("br0", "172.18.0.0/16"))
	for _, fam := range []family{ipv4(), ipv6()} {
		all := fam.render(s.policy, h.Beside.V4, h.Bridges)
		all.sets = slices.DeleteFunc(all.sets, func(s set) bool { return len(s.elements) == 0 })
		if s.golden != "network,any-id" && fam.layout(s.policy, h.Beside.V4) == fam.layout(usual, true) {
			all.chains = nil
		}
		out.WriteString(fam.text(all, true))
	}
	return out.String()
}

// one is a policy of one network.
func one(n firewall.Network, ports ...firewall.Port) firewall.Policy {
	return dual(firewall.Policy{Networks: []firewall.Network{n}, Ports: ports})
}

// plainly is a list of rules with what nft(8) writes otherwise at times in one way.
func plainly(text string) string {
	for _, same := range [][2]string{
		{"priority filter - 1", "priority -1"}, {"priority filter + 1", "priority 1"}, {"priority dstnat + 1", "priority -99"}, {"priority srcnat - 1", "priority 99"},
		{" counter :", " :"}, {"icmpv6", "ipv6-icmp"}, {"ipv6-icmp type", "icmpv6 type"},
	} {
		text = strings.ReplaceAll(text, same[0], same[1])
	}
	var out, elements []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "elements = {") {
			inside, elements = true, nil
			line = strings.TrimPrefix(line, "elements = {")
		}
		if inside {
			line, ended := strings.CutSuffix(line, "}")
			for e := range strings.SplitSeq(line, ",") {
				if e = strings.TrimSpace(e); e != "" {
					elements = append(elements, e)
				}
			}
			if inside = !ended; ended {
				slices.Sort(elements)
				out = append(out, elements...)
			}
			continue
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// differences is the lines that only one of two texts has.
func differences(have, want string) string {
	var out strings.Builder
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range max(len(h), len(w)) {
		a, b := "", ""
		if i < len(h) {
			a = h[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			fmt.Fprintf(&out, "- %s\n+ %s\n", a, b)
		}
	}
	return out.String()
}

// What the kernel is told is what the text of each rule and element says: nft(8) lists it so.
func TestKernelHasTheText(t *testing.T) {
	h := nettest.New(t)
	for _, s := range scenes() {
		h.Fresh(func(h *nettest.Host) {
			b := newBackend(t)
			if s.host().Beside.V4 { // as a table of iptables is made
				for _, fam := range []family{ipv4(), ipv6()} {
					h.Run("nft", "add", "table", fam.word, "filter")
					h.Run("nft", "add", "chain", fam.word, "filter", "FORWARD", "{ type filter hook forward priority 0; policy drop; }")
					h.Run("nft", "add", "chain", fam.word, "filter", "DOCKER")
					h.Run("nft", "add", "rule", fam.word, "filter", "FORWARD", "oifname", "docker0", "counter", "jump", "DOCKER")
				}
			}
			apply(t, b, nil, s.policy)
			for _, fam := range []family{ipv4(), ipv6()} {
				want := fam.text(fam.render(s.policy, s.host().Beside.V4, s.host().Bridges), false)
				if have := list(h, fam); plainly(have) != plainly(want) {
					t.Errorf("%s: the kernel and the text differ:\n%s", s.golden, differences(plainly(have), plainly(want)))
				}
			}
		})
	}
}

// nft(8) takes the texts, too.
func TestCommandTakesTheText(t *testing.T) {
	h := nettest.New(t)
	for _, s := range scenes() {
		for _, fam := range []family{ipv4(), ipv6()} {
			h.Feed(fam.text(fam.render(s.policy, s.host().Beside.V4, s.host().Bridges), true), "nft", "--check", "--file", "-")
		}
	}
}

func TestGolden(t *testing.T) {
	written := map[string]bool{}
	for _, s := range scenes() {
		got := s.annotated()
		path := filepath.Join("testdata", s.golden+".nft")
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
	files, _ := filepath.Glob("testdata/*.nft")
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
		text := s.annotated()
		if other, ok := seen[text]; ok && other != s.golden {
			t.Errorf("%s and %s have the same rules", other, s.golden)
		}
		seen[text] = s.golden
	}
}

// Every rule says in whole sentences what it is for.
func TestExplain(t *testing.T) {
	for _, s := range scenes() {
		for _, r := range Explain(s.policy, s.host()) {
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
