package iptables

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// The kernel takes the rules of many networks and ports, and what comes and goes among them
// is a small difference that leaves the rules as they would be from nothing.
func TestManyNetworks(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		all := big(120, 400)
		less := firewall.Policy{Networks: slices.Delete(slices.Clone(all.Networks), 60, 62)}
		gone := all.Networks[60:62]
		for _, p := range all.Ports {
			if p.Bridge != gone[0].Bridge && p.Bridge != gone[1].Bridge {
				less.Ports = append(less.Ports, p)
			}
		}
		firewalltest.Apply(t, b, nil, all)
		for _, step := range [][2]*firewall.Policy{{&all, &less}, {&less, &all}} {
			p, err := b.Plan(t.Context(), step[0], *step[1])
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.Changes()); n == 0 || n > 150 { // both families; the whole is some 4000 rules
				t.Errorf("two networks and six ports are %d changes", n)
			}
			if err := p.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rest, err := b.Plan(t.Context(), nil, *step[1]); err != nil || len(rest) > 0 {
				t.Fatalf("then there is %q to do: %v", rest.Changes(), err)
			}
		}
	})
}

// A port that comes deletes no rule, which is what takes long, once there are so many that
// they are told apart; a range that is larger than what a chain is for doesn't either.
func TestPortsCome(t *testing.T) {
	for _, fam := range []family{ipv4(), ipv6()} {
		p := big(1, 400)
		rapid.Check(t, func(r *rapid.T) {
			n := rapid.IntRange(17, 390).Draw(r, "ports")
			have, want := firewall.Policy{Networks: p.Networks}, firewall.Policy{Networks: p.Networks}
			all := rapid.Permutation(slices.DeleteFunc(slices.Clone(p.Ports), func(port firewall.Port) bool { return !fam.Has(port.Container.Addr()) })).Draw(r, "order")
			have.Ports, want.Ports = all[:n], slices.Clone(all[:n+5])
			large := all[n+5]
			large.Host, large.Count = netip.AddrPortFrom(large.Host.Addr(), 20000), uint16(rapid.IntRange(1, 30000).Draw(r, "count"))
			want.Ports = append(want.Ports, large)
			c := difference(&variant{}, fam.render(have, facts{}), fam.render(want, facts{}))
			if strings.Contains(c.input, "\n-D ") || strings.Contains(c.input, "\n-X ") || strings.Count(c.input, "\n-A ") < 6 {
				r.Errorf("not only new rules:\n%s", c.input)
			}
		})
	}
}

// Of the rules that mybr wrote before it had a tree of chains nothing is left by one pass,
// during which nothing is open.
func TestFromPlainRules(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		clean := normal(k.save(h))
		out := &script{on: &variant{}}
		have := parseSave(k.save(h), ownTables()...)
		for _, table := range k.plain(p, facts{user: true, stages: true}) {
			var keep []string
			for _, c := range table.chains {
				keep = append(keep, c.name)
			}
			out.begin(table.name)
			out.rewrite(have, table)
			out.remove(have, slices.DeleteFunc(have.own(table.name), func(name string) bool { return slices.Contains(keep, name) }))
			out.end()
		}
		h.Feed(out.input.String(), k.Dir+"/"+k.command+"-restore", "--noflush")
		if plain := k.save(h); strings.Contains(plain, chainTo+" ") {
			t.Fatalf("not plain:\n%s", plain)
		}
		open := k.watch(h, func(save string) bool {
			return strings.Contains(save, "-A DOCKER-USER -j MYBR-ISOLATE") && strings.Contains(save, "-A FORWARD -j MYBR-FORWARD") &&
				(strings.Contains(save, "-A MYBR-ISOLATE ! -i br0 -o br0"+unsolicited+" -j DROP") ||
					strings.Contains(save, "-A MYBR-ISOLATE -j MYBR-TO") && strings.Contains(save, "-A MYBR-TO ! -i br0 -o br0 -j DROP"))
		})
		if err := b.Apply(context.Background(), nil, p); err != nil {
			t.Error(err)
		}
		if save := open(); save != "" {
			t.Errorf("open:\n%s", save)
		}
		if got := normal(k.save(h)); got != clean {
			t.Errorf("was\n%s\nis\n%s", clean, got)
		}
	})
}
