package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/reconcile"
)

// snapshots draws records as the driver makes them, of up to twenty networks.
func snapshots() *rapid.Generator[model.Snapshot] {
	return rapid.Custom(func(t *rapid.T) (s model.Snapshot) {
		names := rapid.SliceOfNDistinct(linkNames(), 1, 20, rapid.ID).Draw(t, "bridges")
		for i, name := range names {
			n := drawRecord(t, i, name)
			s.Networks = append(s.Networks, n)
			for j := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
				e := drawEndpoint(t, n, i, j)
				s.Endpoints = append(s.Endpoints, &e)
			}
		}
		return s
	})
}

// linkNames draws names that the driver lets a bridge have.
func linkNames() *rapid.Generator[string] {
	return rapid.StringMatching(`[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}`).Filter(func(s string) bool {
		return !slices.Contains([]string{".", "..", "lo", "all", "default"}, s)
	})
}

func drawRecord(t *rapid.T, i int, bridge string) model.Network {
	modes := []model.Mode{model.ModeNAT, model.ModeNATUnprotected, model.ModeRouted}
	n := model.Network{ID: fmt.Sprintf("%064x", i), Bridge: bridge, Owned: true, ICC: rapid.Bool().Draw(t, "icc"), IfacePrefix: "eth"}
	if n.Internal = rapid.IntRange(0, 3).Draw(t, "internal") == 0; n.Internal {
		modes = append(modes, model.ModeIsolated)
	}
	n.Trusted = rapid.SliceOfNDistinct(linkNames(), 0, 3, rapid.ID).Draw(t, "trusted")
	on := rapid.IntRange(1, 3).Draw(t, "families")
	for _, f := range model.Families() {
		if on&(1<<f) == 0 {
			continue
		}
		prefix := netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i))
		source := netip.MustParseAddr("192.0.2.1")
		if f == model.IPv6 {
			prefix, source = netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/64", i)), netip.MustParseAddr("2001:db8::1")
		}
		s := n.Subnet(f)
		*s = model.Subnet{Prefix: prefix, Masquerade: rapid.Bool().Draw(t, "masquerade"), Mode: rapid.SampledFrom(modes).Draw(t, "mode")}
		if s.Mode != model.ModeIsolated && rapid.Bool().Draw(t, "address") {
			s.Address = netip.PrefixFrom(prefix.Addr().Next(), prefix.Bits())
		}
		if rapid.IntRange(0, 2).Draw(t, "snat") == 0 {
			s.SNAT = source
		}
	}
	return n
}

func drawEndpoint(t *rapid.T, n model.Network, i, j int) model.Endpoint {
	e := model.Endpoint{ID: fmt.Sprintf("%04x%04x%056x", i, j, 0), NetworkID: n.ID}
	for f, spans := range map[model.Family]*[]model.PortSpan{model.IPv4: &e.OpenV4, model.IPv6: &e.OpenV6} {
		s := n.Subnet(f)
		if !s.Prefix.IsValid() {
			continue
		}
		a := s.Prefix.Addr().Next()
		for range j + 1 {
			a = a.Next()
		}
		*e.Address(f) = netip.PrefixFrom(a, s.Prefix.Bits())
		first := rapid.Uint16Range(1, 65000).Draw(t, "port")
		span := model.PortSpan{Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto"), First: first, Count: rapid.Uint16Range(1, 535).Draw(t, "count")}
		if s.Mode == model.ModeRouted {
			*spans = []model.PortSpan{span}
			continue
		}
		host := rapid.SampledFrom([]netip.Addr{f.Unspecified(), map[model.Family]netip.Addr{
			model.IPv4: netip.MustParseAddr("192.0.2.9"), model.IPv6: netip.MustParseAddr("2001:db8::9")}[f]}).Draw(t, "host")
		// Host ports that no other endpoint has.
		b := model.PortBinding{Proto: span.Proto, Count: span.Count, Host: netip.AddrPortFrom(host, uint16(600*(3*i+j)+1)), Container: netip.AddrPortFrom(a, first)}
		e.Ports = append(e.Ports, b)
	}
	return e
}

// test has iptables-restore read what brings a policy about, without changing anything.
func (k kind) test(h *nettest.Host, b *Backend, p firewall.Policy) error {
	var changes []change
	var err error
	h.In(func() { changes, _, err = k.side(b).changes(context.Background(), nil, p, defaults{}) })
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.input != "" {
			h.Feed(c.input, c.on.command+"-restore", "--test", "--noflush", "--wait")
		}
	}
	return nil
}

// What is recorded is rendered to rules that iptables-restore takes, whatever options mybr
// was started with and whichever Docker is there.
func TestRecordsRestore(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		b := k.backend(t)
		dockers := k.Dockers()
		names := slices.Sorted(func(yield func(string) bool) {
			for name := range dockers {
				if !yield(name) {
					return
				}
			}
		})
		rapid.Check(t, func(r *rapid.T) {
			s := snapshots().Draw(r, "records")
			o := reconcile.Options{
				DirectRouting: rapid.Bool().Draw(r, "direct"), FixedSettings: rapid.Bool().Draw(r, "fixed"),
				DefaultDrop: firewall.Families{V4: rapid.Bool().Draw(r, "drop"), V6: true},
				Accept:      firewall.Mark{Value: rapid.Uint32().Draw(r, "value"), Mask: 1<<32 - 1},
			}
			p := reconcile.Render(s, o).Firewall
			if err := p.Validate(); err != nil {
				r.Fatal(err)
			}
			docker := rapid.SampledFrom(names).Draw(r, "docker")
			h.Fresh(func(h *nettest.Host) {
				dockers[docker](h)
				if err := k.test(h, b, p); err != nil {
					r.Fatal(err)
				}
			})
		})
	})
}

// oddNames draws names that the kernel may take, and that mean something to some reader.
func oddNames() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"br0 -j ACCEPT", "br0\nCOMMIT", "br0\x00", "eth+", "+", "!br0", "! br0", "-j", "--help", `"br0"`, "'br0'", `br\0`, "a/b", "a:1", "#br0", "*nat", ":X", "COMMIT", "$(id)", "`id`", "%s%n", "a;b", "a|b", "\x1b[2J", "\x7f", "\xff\xfe", "é", "\u202eab", "\u00a0", "\u2028", strings.Repeat("x", 16), ""}),
		rapid.StringOfN(rapid.RuneFrom([]rune("ab0+-!\"'\\/:;#$%&*()<>|?~`^=@,.[]{}\t\n \u00a0é")), 1, 15, 15),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 15), func(b []byte) string { return string(b) }),
	)
}

// A name that would be something else in a rule is refused, and every other one is in the
// rules as it is: what is read back is what was wanted.
func TestOddNames(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		taken := 0
		rapid.Check(t, func(r *rapid.T) {
			var p firewall.Policy
			for i, name := range rapid.SliceOfNDistinct(oddNames(), 1, 30, rapid.ID).Draw(r, "names") {
				n := firewalltest.Network(name, fmt.Sprintf("172.%d.0.0/16", 18+i))
				n.V4.Direct = firewall.DirectRouted
				one := firewalltest.Dual(firewall.Policy{Networks: []firewall.Network{n}})
				o := firewall.Opening{Bridge: name, Addr: n.V4.Prefix.Addr().Next(), From: name, PortSpan: model.PortSpan{Proto: model.TCP, First: 80, Count: 1}}
				if one.Openings = []firewall.Opening{o}; one.Validate() == nil {
					p.Networks, p.Openings = append(p.Networks, one.Networks...), append(p.Openings, o)
				}
			}
			taken += len(p.Networks)
			slices.SortFunc(p.Networks, func(a, b firewall.Network) int { return strings.Compare(a.Bridge, b.Bridge) })
			slices.SortFunc(p.Openings, func(a, b firewall.Opening) int { return strings.Compare(a.Bridge, b.Bridge) })
			h.Fresh(func(h *nettest.Host) {
				b := k.backend(t)
				if err := b.Apply(context.Background(), nil, p); err != nil {
					r.Fatal(err)
				}
				if again, err := b.Plan(context.Background(), nil, p); err != nil || len(again) > 0 {
					r.Errorf("what is read back is otherwise: %q, %v", again.Changes(), err)
				}
			})
		})
		if taken == 0 {
			t.Error("no name was ever taken")
		}
	})
}

// words splits a line as iptables-restore does (add_param_to_argv in its xshared.c): blanks
// separate, quotes keep blanks, and a backslash escapes within them.
func words(line string) (all []string) {
	var word []byte
	open, quoted, escaped := false, false, false
	end := func() {
		if len(word) > 0 || quoted {
			all = append(all, string(word))
		}
		word, quoted = nil, false
	}
	for _, c := range []byte(line) {
		switch {
		case open && escaped:
			word, escaped = append(word, c), false
		case open && c == '\\':
			escaped = true
		case open && c == '"':
			open = false
			end()
		case open:
			word = append(word, c)
		case c == '"':
			open, quoted = true, true
		case strings.IndexByte(" \t\n\v\f\r\x00", c) >= 0:
			end()
		default:
			word = append(word, c)
		}
	}
	end()
	return all
}

// FuzzRules renders a network, a port and an opening of any names and numbers. Whatever is
// valid is rules of the same words as for ordinary names, which stand where those would.
func FuzzRules(f *testing.F) {
	for _, name := range []string{"br0", "br0 -j ACCEPT", "eth+", "!", "-x", `"q"`, "a\nCOMMIT", "\xff", "é", "#", "%s", "a/b"} {
		f.Add(name, name, uint32(1), uint32(1), uint8(6), uint16(80), uint16(1))
	}
	f.Fuzz(func(t *testing.T, bridge, from string, value, mask uint32, proto uint8, first, count uint16) {
		policy := func(bridge, from string) firewall.Policy {
			n := firewalltest.Network(bridge, "172.18.0.0/16")
			n.V4.Direct = firewall.DirectRouted
			p := firewall.Policy{Networks: []firewall.Network{n}, Accept: firewall.Mark{Value: value, Mask: mask}}
			b := model.PortBinding{Proto: model.Proto(proto), Host: netip.AddrPortFrom(netip.IPv4Unspecified(), first), Count: count,
				Container: netip.AddrPortFrom(netip.MustParseAddr("172.18.0.2"), first)}
			p.Ports = []firewall.Port{{Bridge: bridge, ICC: true, PortBinding: b}}
			p.Openings = []firewall.Opening{{Bridge: bridge, Addr: b.Container.Addr(), From: from, PortSpan: model.PortSpan{Proto: b.Proto, First: first, Count: count}}}
			return firewalltest.Dual(p)
		}
		p := policy(bridge, from)
		if p.Validate() != nil {
			return
		}
		ordinary := policy("$BRIDGE", map[bool]string{true: "$FROM"}[from != ""])
		for _, fam := range []family{ipv4(), ipv6()} {
			want := fam.render(ordinary, facts{})
			for i, table := range fam.render(p, facts{}) {
				for j, c := range table.chains {
					for n, text := range c.texts() {
						have := words(text)
						for w, word := range words(want[i].chains[j].rules[n].text) {
							word = strings.NewReplacer("$BRIDGE", bridge, "$FROM", from).Replace(word)
							if w >= len(have) || have[w] != word {
								t.Fatalf("%s: %q", c.name, text)
							}
						}
						if len(have) != len(words(want[i].chains[j].rules[n].text)) {
							t.Errorf("%s: %q", c.name, text)
						}
					}
				}
			}
		}
		for _, name := range []string{bridge, from} {
			if len(name) > 15 || strings.HasPrefix(name, "-") || name == "!" || strings.HasSuffix(name, "+") {
				t.Errorf("the name %q is something else to iptables", name)
			}
		}
	})
}
