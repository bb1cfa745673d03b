package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
)

// What is made of a difference of grants is what rendering all rules of both policies has shown to
// differ, in either family.
func TestGrantsDifferingAreTheDifference(t *testing.T) {
	seen, narrow := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		all := policies().Filter(func(p firewall.Policy) bool { return len(p.Grants) > 0 }).Draw(t, "policy")
		some := func(name string) firewall.Policy {
			p := all
			p.Grants = nil
			for i, g := range all.Grants {
				if rapid.IntRange(0, 3).Draw(t, fmt.Sprint(name, " has grant ", i)) > 0 {
					p.Grants = append(p.Grants, g)
				}
			}
			return p
		}
		have, want := some("have"), some("want")
		for _, fam := range []family{ipv4(), ipv6()} {
			f := facts{user: true}
			if !fam.commutes(have, want) {
				continue
			}
			h, w := fam.differing(have, want, f)
			v := &variant{}
			whole, wanted := fam.render(have, f), fam.render(want, f)
			one, all := difference(v, h, w), difference(v, whole, wanted)
			if one.input != all.input || !slices.Equal(one.text, all.text) {
				t.Errorf("%s: the difference is\n%s\nwant\n%s", fam.command, one.input, all.input)
			}
			if all.input != "" {
				seen++
			}
			if len(h[0].chains) < len(whole[0].chains) {
				narrow++
			}
		}
	})
	if seen == 0 || narrow == 0 {
		t.Errorf("%d differences were seen, of %d something was left out", seen, narrow)
	}
}

// The same where many containers have been granted something, a few come and go, and their addresses
// have more or less in common.
func TestFirstGrantsAmongMany(t *testing.T) {
	narrow, whole := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		all, _ := firewalltest.Granted(40, 1)
		for i := range all.Grants {
			bytes := [4]byte{10, 0, byte(rapid.SampledFrom([]int{0, 0, 0, 1, 200}).Draw(t, "part")), byte(rapid.IntRange(2, 250).Draw(t, "address"))}
			all.Grants[i].Addr = netip.AddrFrom4(bytes)
		}
		slices.SortFunc(all.Grants, func(a, b firewall.Grant) int { return firewall.CompareGrants(&a, &b) })
		all.Grants = slices.Compact(all.Grants)
		most := rapid.SampledFrom([]int{3, 6, 12, 40}).Draw(t, "containers")
		all.Grants = all.Grants[:min(most, len(all.Grants))]
		without := func(name string) firewall.Policy {
			p := all
			gone := rapid.IntRange(0, 3).Draw(t, name)
			p.Grants = slices.Clone(all.Grants)
			for range min(gone, len(p.Grants)) {
				i := rapid.IntRange(0, len(p.Grants)-1).Draw(t, "which")
				p.Grants = slices.Delete(p.Grants, i, i+1)
			}
			return p
		}
		have, want := without("not yet"), without("not any more")
		fam, f, v := ipv4(), facts{}, &variant{}
		h, w := fam.differing(have, want, f)
		one, both := difference(v, h, w), difference(v, fam.render(have, f), fam.render(want, f))
		if one.input != both.input || !slices.Equal(one.text, both.text) {
			t.Errorf("the difference is\n%s\nwant\n%s", one.input, both.input)
		}
		for _, r := range fam.regrants(have, want) {
			if r.near != nil {
				narrow++
			} else {
				whole++
			}
		}
	})
	if narrow == 0 || whole == 0 {
		t.Errorf("of %d differences a part of the index was looked at, and of %d all", narrow, whole)
	}
}

// A grant more of a container that has some costs nothing that hangs on how many others have.
func TestGrantsOfOthersCostNothing(t *testing.T) {
	cost := func(containers int) float64 {
		have, want := firewalltest.Granted(containers, 8)
		return testing.AllocsPerRun(5, func() {
			h, w := ipv4().differing(have, want, facts{})
			if c := difference(nil, h, w); len(c.text) != 2 {
				t.Fatalf("%q", c.text)
			}
		})
	}
	// A collection of garbage between two runs empties what fmt keeps, and maps grow as their seeds
	// have it: some allocations more. One for each other container would be a thousand.
	if few, many := cost(2), cost(1000); many > few+100 {
		t.Errorf("%.0f allocations beside 1000 containers, %.0f beside two", many, few)
	}
}
