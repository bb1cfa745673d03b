package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// policies draws valid policies of up to four networks, their ports and openings.
func policies() *rapid.Generator[firewall.Policy] { return after(firewall.Policy{}) }

// after draws policies of which many networks are as they were.
func after(was firewall.Policy) *rapid.Generator[firewall.Policy] {
	return rapid.Custom(func(t *rapid.T) firewall.Policy {
		var p firewall.Policy
		old := len(was.Networks) > 0 && rapid.IntRange(0, 3).Draw(t, "old") > 0
		for i := range 4 {
			if !rapid.Bool().Draw(t, "there") {
				continue
			}
			n := drawNetwork(t, i)
			if j := slices.IndexFunc(was.Networks, func(w firewall.Network) bool { return w.Bridge == n.Bridge }); j >= 0 && old {
				n = was.Networks[j]
			}
			p.Networks = append(p.Networks, n)
		}
		if p.DefaultDrop = was.DefaultDrop; !old && rapid.IntRange(0, 4).Draw(t, "close") == 0 {
			p.DefaultDrop = firewall.Families{V4: rapid.Bool().Draw(t, "close IPv4"), V6: rapid.Bool().Draw(t, "close IPv6")}
		}
		if p.Accept = was.Accept; !old && rapid.IntRange(0, 4).Draw(t, "mark") == 0 {
			p.Accept = firewall.Mark{Value: 1, Mask: rapid.SampledFrom([]uint32{1, 1<<32 - 1}).Draw(t, "mask")}
		}
		free := map[model.Proto]int{model.TCP: 1, model.UDP: 1, model.SCTP: 1}
		for _, n := range p.Networks {
			for _, f := range []firewall.Family{n.V4, n.V6} {
				if n.Internal || !f.Prefix.IsValid() {
					continue
				}
				for range rapid.IntRange(0, 3).Draw(t, "ports") {
					p.Ports = append(p.Ports, drawPort(t, n, f, free))
				}
				if f.Direct == firewall.DirectOpenings || f.Direct == firewall.DirectRouted {
					for range rapid.IntRange(0, 3).Draw(t, "openings") {
						p.Openings = append(p.Openings, drawOpening(t, n, f))
					}
				}
			}
		}
		slices.SortFunc(p.Openings, func(a, b firewall.Opening) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		p.Openings = slices.Compact(p.Openings)
		return p
	})
}

func drawNetwork(t *rapid.T, i int) firewall.Network {
	n := network(fmt.Sprintf("br%d", i), fmt.Sprintf("172.%d.0.0/16", 18+i))
	n = dual(firewall.Policy{Networks: []firewall.Network{n}}).Networks[0]
	n.Internal, n.ICC = rapid.Bool().Draw(t, "internal"), rapid.Bool().Draw(t, "icc")
	off := rapid.SampledFrom([]int{0, 0, 0, 4, 6}).Draw(t, "off")
	for which, f := range map[int]*firewall.Family{4: &n.V4, 6: &n.V6} {
		if which == off {
			*f = firewall.Family{}
		}
	}
	n.V6.Input = rapid.SampledFrom([]firewall.Input{firewall.InputAll, firewall.InputAll, firewall.InputNoAdvertisements, firewall.InputNone}).Draw(t, "input")
	for _, f := range []*firewall.Family{&n.V4, &n.V6} {
		if !f.Prefix.IsValid() {
			continue
		}
		f.Direct = rapid.SampledFrom([]firewall.Direct{firewall.DirectNone, firewall.DirectOpenings, firewall.DirectRouted, firewall.DirectAll}).Draw(t, "direct")
		f.Masquerade, f.Hairpin = rapid.Bool().Draw(t, "masquerade"), rapid.Bool().Draw(t, "hairpin")
		if rapid.IntRange(0, 3).Draw(t, "snat") == 0 {
			f.SNAT = netip.MustParseAddr("192.0.2.1")
			if f.Prefix.Addr().Is6() {
				f.SNAT = sixth(f.SNAT)
			}
		}
	}
	return n
}

// drawPort draws a binding behind all that were drawn before, so that none overlap.
func drawPort(t *rapid.T, n firewall.Network, f firewall.Family, free map[model.Proto]int) firewall.Port {
	proto := rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto")
	first := free[proto] + rapid.IntRange(0, 5000).Draw(t, "gap")%(65000-free[proto])
	count := rapid.SampledFrom([]int{1, 1, 2, 100}).Draw(t, "count")
	free[proto] = first + count
	to := rapid.SampledFrom([]int{first, 1, 65536 - count}).Draw(t, "to")
	host := netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1"}).Draw(t, "host"))
	if f.Prefix.Addr().Is6() {
		host = sixth(host)
	}
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, Link: drawLink(t), PortBinding: model.PortBinding{
		Proto: proto, Count: uint16(count),
		Host:      netip.AddrPortFrom(host, uint16(first)),
		Container: netip.AddrPortFrom(f.Prefix.Addr().Next().Next(), uint16(to)),
	}}
}

// drawLink draws an endpoint's link, on which no rule depends.
func drawLink(t *rapid.T) string {
	return rapid.SampledFrom([]string{"veth1", "veth2"}).Draw(t, "link")
}

func drawOpening(t *rapid.T, n firewall.Network, f firewall.Family) firewall.Opening {
	return firewall.Opening{Bridge: n.Bridge, Link: drawLink(t), Addr: f.Prefix.Addr().Next().Next(),
		From: rapid.SampledFrom([]string{"", "eth0", "wg0"}).Draw(t, "from"),
		PortSpan: model.PortSpan{
			Proto: rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto"),
			First: rapid.SampledFrom([]uint16{1, 80, 65535}).Draw(t, "first"), Count: 1,
		}}
}

// From any policy to any other: a difference and the whole end alike, doing it again does
// nothing, and the kernel has what was rendered.
func TestDeltaEqualsFull(t *testing.T) {
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
				out = [2]string{plainly(list(h, ipv4())), plainly(list(h, ipv6()))}
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
			mended = [2]string{plainly(list(h, ipv4())), plainly(list(h, ipv6()))}
		})
		h.Fresh(func(h *nettest.Host) {
			if err := newBackend(t).Apply(context.Background(), nil, b); err != nil {
				r.Fatal(err)
			}
			fresh = [2]string{plainly(list(h, ipv4())), plainly(list(h, ipv6()))}
		})
		if mended != fresh {
			r.Errorf("mended and fresh differ:\n%s%s", differences(mended[0], fresh[0]), differences(mended[1], fresh[1]))
		}
	})
}

// What others have made stays as it was, and when the last network is gone nothing of
// mybr's is left.
func TestForeignUntouched(t *testing.T) {
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
				apply(t, b, have, steps[i])
				if got := foreign(h); got != before {
					r.Fatalf("was\n%s\nis\n%s", before, got)
				}
				if have = &steps[i]; rapid.Bool().Draw(r, "unknown") {
					have = nil
				}
			}
			apply(t, b, have, firewall.Policy{})
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
