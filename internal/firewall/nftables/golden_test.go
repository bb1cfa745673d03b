package nftables

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

var update = flag.Bool("update", false, "write the golden files anew")

type scene = firewalltest.Scene

// scenes have few ports in a range: each has an element.
func scenes() []scene {
	return firewalltest.Scenes(firewalltest.Ranges{Same: 3, Shifted: 2, Open: 3})
}

// hostOf is one beside a Docker that uses iptables, or one without.
func hostOf(s scene) Host {
	if s.Docker { // iptables has a table, and Docker a bridge
		return Host{Beside: firewall.Families{V4: true, V6: true}, Bridges: []string{"docker0"}}
	}
	return Host{}
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

// declaration is what nft(8) prints of a set's type, with the word in front.
func (s set) declaration() string {
	names := func(kinds []kind) string {
		var out []string
		for _, k := range kinds {
			out = append(out, k.Name)
		}
		return strings.Join(out, " . ")
	}
	text := "type " + names(s.key)
	switch {
	case s.verdicts:
		text += " : verdict"
	case s.data != nil:
		text += " : " + names(s.data)
	}
	return text
}

// annotated is a scene's rules in both families as a person reads them: elements, and the
// chains where they are not those of one network in both families beside a Docker.
func annotated(s scene) string {
	var out strings.Builder
	h := hostOf(s)
	usual := firewalltest.Dual(firewall.Policy{Networks: []firewall.Network{firewalltest.Network("br0", "172.18.0.0/16")}})
	for _, fam := range []family{ipv4(), ipv6()} {
		all := fam.render(s.Policy, h.Beside.V4, h.Bridges)
		all.sets = slices.DeleteFunc(all.sets, func(s set) bool { return len(s.elements) == 0 })
		if s.Golden != "network,any-id" && fam.layout(s.Policy, h.Beside.V4) == fam.layout(usual, true) {
			all.chains = nil
		}
		out.WriteString(fam.text(all, true))
	}
	return out.String()
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
	t.Parallel()
	h := nettest.New(t)
	for _, s := range scenes() {
		h.Fresh(func(h *nettest.Host) {
			b := newBackend(t)
			if hostOf(s).Beside.V4 { // as a table of iptables is made
				for _, fam := range []family{ipv4(), ipv6()} {
					h.Run("nft", "add", "table", fam.word, "filter")
					h.Run("nft", "add", "chain", fam.word, "filter", "FORWARD", "{ type filter hook forward priority 0; policy drop; }")
					h.Run("nft", "add", "chain", fam.word, "filter", "DOCKER")
					h.Run("nft", "add", "rule", fam.word, "filter", "FORWARD", "oifname", "docker0", "counter", "jump", "DOCKER")
				}
			}
			firewalltest.Apply(t, b, nil, s.Policy)
			for _, fam := range []family{ipv4(), ipv6()} {
				want := fam.text(fam.render(s.Policy, hostOf(s).Beside.V4, hostOf(s).Bridges), false)
				if have := list(h, fam); plainly(have) != plainly(want) {
					t.Errorf("%s: the kernel and the text differ:\n%s", s.Golden, differences(plainly(have), plainly(want)))
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
			h.Feed(fam.text(fam.render(s.Policy, hostOf(s).Beside.V4, hostOf(s).Bridges), true), "nft", "--check", "--file", "-")
		}
	}
}

func TestGolden(t *testing.T) { firewalltest.Golden(t, scenes(), ".nft", *update, annotated) }

func TestGoldenDiffer(t *testing.T) { firewalltest.GoldenDiffer(t, scenes(), annotated) }

func TestExplain(t *testing.T) {
	firewalltest.Explained(t, scenes(), func(s scene) []firewall.ExplainedRule { return Explain(s.Policy, hostOf(s)) })
}

func TestScenesAreValid(t *testing.T) { firewalltest.Valid(t, scenes()) }
