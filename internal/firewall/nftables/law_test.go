package nftables

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// policies draws valid policies of up to four networks, their ports and openings.
func policies() *rapid.Generator[firewall.Policy] { return after(firewall.Policy{}) }

// after draws policies of which many networks are as they were.
func after(was firewall.Policy) *rapid.Generator[firewall.Policy] {
	few := []int{0, 1, 2, 3}
	return firewalltest.Policies(firewalltest.Sizes{Networks: []int{4}, Ports: few, Openings: few}, was)
}

// blocks is a list of rules with its chains and sets in one order: what has come later is behind
// the rest, which does not matter.
func blocks(text string) string {
	var all []string
	for line := range strings.SplitSeq(plainly(text), "\n") {
		if word, _, _ := strings.Cut(line, " "); len(all) == 0 || word == "chain" || word == "set" || word == "map" {
			all = append(all, "")
		}
		if line != "}" {
			all[len(all)-1] += line + "\n"
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// From any policy to any other: a difference and the whole end alike, doing it again does
// nothing, and the kernel has what was rendered.
func TestDeltaEqualsFull(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	small := 0
	rapid.Check(t, func(r *rapid.T) {
		a := policies().Draw(r, "a")
		b := after(a).Draw(r, "b")
		if l := ipv4().layout(b, false); l == ipv4().layout(a, false) && !l.none() {
			small++
		}
		end := func(steps ...firewall.Policy) (out [2]string) {
			h.Fresh(func(h *nettest.Host) {
				be := newBackend(t)
				defer be.Close() // there are many
				var have *firewall.Policy
				for i := range steps {
					if err := be.Apply(context.Background(), have, steps[i]); err != nil {
						r.Fatal(err)
					}
					have = &steps[i]
				}
				if p, err := be.Plan(context.Background(), nil, *have); err != nil || len(p) > 0 {
					r.Errorf("after %d steps there is %q to do: %v", len(steps), p.Changes(), err)
				}
				out = [2]string{blocks(list(h, ipv4())), blocks(list(h, ipv6()))}
			})
			return out
		}
		if once, twice := end(b), end(a, b); once != twice {
			r.Errorf("at once and in two steps:\n%s%s", differences(once[0], twice[0]), differences(once[1], twice[1]))
		}
	})
	if small == 0 {
		t.Error("no difference was ever applied")
	}
}

// From any policy to any other with nothing known: only what differs is written, and then it
// is as if it had been written from the beginning.
func TestFullMendsAnything(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	rapid.Check(t, func(r *rapid.T) {
		a, b := policies().Draw(r, "a"), policies().Draw(r, "b")
		var mended, fresh [2]string
		h.Fresh(func(h *nettest.Host) {
			be := newBackend(t)
			for _, p := range []firewall.Policy{a, b} {
				if err := be.Apply(context.Background(), nil, p); err != nil {
					r.Fatal(err)
				}
			}
			mended = [2]string{blocks(list(h, ipv4())), blocks(list(h, ipv6()))}
		})
		h.Fresh(func(h *nettest.Host) {
			if err := newBackend(t).Apply(context.Background(), nil, b); err != nil {
				r.Fatal(err)
			}
			fresh = [2]string{blocks(list(h, ipv4())), blocks(list(h, ipv6()))}
		})
		if mended != fresh {
			r.Errorf("mended and fresh differ:\n%s%s", differences(mended[0], fresh[0]), differences(mended[1], fresh[1]))
		}
	})
}

// What others have made stays as it was, and when the last network is gone nothing of
// mybr's is left.
func TestForeignUntouched(t *testing.T) {
	t.Parallel()
	h := nettest.New(t)
	foreign := func(h *nettest.Host) string {
		text := h.Run("nft", "--stateless", "list", "ruleset")
		for _, fam := range []family{ipv4(), ipv6()} {
			text = strings.Replace(text, list(h, fam), "", 1)
		}
		return text
	}
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(policies(), 1, 3).Draw(r, "steps")
		h.Fresh(func(h *nettest.Host) {
			h.Feed(`
				table ip other { chain forward { type filter hook forward priority 0; policy drop; ip saddr 203.0.113.7 drop; }; }
				table inet mybr { chain keep { type filter hook forward priority 5; ct state invalid counter; }; }
				table ip6 mybr-other { set s { type ipv6_addr; }; }
			`, "nft", "-f", "-")
			before := foreign(h)
			b := newBackend(t)
			var have *firewall.Policy
			for i := range steps {
				firewalltest.Apply(t, b, have, steps[i])
				if got := foreign(h); got != before {
					r.Fatalf("was\n%s\nis\n%s", before, got)
				}
				if have = &steps[i]; rapid.Bool().Draw(r, "unknown") {
					have = nil
				}
			}
			firewalltest.Apply(t, b, have, firewall.Policy{})
			if got := h.Run("nft", "--stateless", "list", "ruleset"); got != before {
				r.Fatalf("was\n%s\nis, with nothing of mybr's\n%s", before, got)
			}
		})
	})
}

// A policy that is drawn here is one that validate takes; otherwise the laws above
// would hold for nothing.
func TestPoliciesAreValid(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := policies().Draw(r, "policy")
		if err := p.Validate(); err != nil {
			r.Fatal(err)
		}
		for _, port := range p.Ports {
			if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Bridge == port.Bridge }) {
				r.Fatal(port)
			}
		}
	})
}
