package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// policies draws valid policies of up to eight networks, their ports and openings: few, and
// so many that there are indexes.
func policies() *rapid.Generator[firewall.Policy] { return after(firewall.Policy{}) }

// after draws policies of which many networks are as they were.
func after(was firewall.Policy) *rapid.Generator[firewall.Policy] {
	return rapid.Custom(func(t *rapid.T) firewall.Policy {
		var p firewall.Policy
		old := len(was.Networks) > 0 && rapid.IntRange(0, 3).Draw(t, "old") > 0
		for i := range rapid.SampledFrom([]int{4, 8}).Draw(t, "networks") {
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
				for range rapid.SampledFrom([]int{0, 1, 3, 9}).Draw(t, "ports") {
					p.Ports = append(p.Ports, drawPort(t, n, f, free))
				}
				if f.Direct == firewall.DirectOpenings || f.Direct == firewall.DirectRouted {
					for range rapid.SampledFrom([]int{0, 1, 3, 6}).Draw(t, "openings") {
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

// With and without Docker, from any policy to any other: a difference and the whole
// end alike, and doing it again does nothing.
func TestDeltaEqualsFull(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		small := 0
		rapid.Check(t, func(r *rapid.T) {
			a := policies().Draw(r, "a")
			b := after(a).Draw(r, "b")
			if k.commutes(a, b) {
				small++
			}
			docker := rapid.Bool().Draw(r, "docker")
			end := func(steps ...firewall.Policy) (save string) {
				h.Fresh(func(h *nettest.Host) {
					if docker {
						k.docker2010(h)
					}
					be := k.backend(t)
					var have *firewall.Policy
					for i := range steps {
						if err := be.Apply(context.Background(), have, steps[i]); err != nil {
							r.Fatal(err)
						}
						have = &steps[i]
					}
					// The order in which differences came is no difference.
					if p, err := be.Plan(context.Background(), nil, *have); err != nil || len(p) > 0 {
						r.Errorf("after %d steps there is %q to do: %v", len(steps), p.Changes(), err)
					}
					save = k.save(h)
				})
				return save
			}
			if once, twice := normal(end(b)), normal(end(a, b)); once != twice {
				r.Errorf("at once:\n%s\nin two steps:\n%s", once, twice)
			}
		})
		if small == 0 {
			t.Error("no difference was ever applied")
		}
	})
}

// What is as it should be is left alone, counters included.
func TestAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		rapid.Check(t, func(r *rapid.T) {
			p := policies().Draw(r, "policy")
			h.Fresh(func(h *nettest.Host) {
				k.docker2010(h)
				b := k.backend(t)
				apply(t, b, nil, p)
				for _, v := range slices.Concat(b.v4.variants, b.v6.variants) {
					v.command = withoutWriting(t, v.command)
				}
				if again, err := b.Plan(context.Background(), nil, p); err != nil || len(again) > 0 {
					r.Errorf("a second full pass writes %q: %v", again.Changes(), err)
				}
				b.v4.variants, b.v6.variants = nil, nil // nothing can be run at all
				if err := b.Apply(context.Background(), &p, p); err != nil {
					r.Error(err)
				}
			})
		})
	})
}

// withoutWriting returns a command beside which there is only its -save.
func withoutWriting(t *testing.T, command string) string {
	dir := t.TempDir()
	path, err := exec.LookPath(command + "-save")
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, filepath.Base(command))
	if err := os.Symlink(path, out+"-save"); err != nil {
		t.Fatal(err)
	}
	return out
}

// iptables takes every policy, whatever the host.
func TestEveryPolicyIsTaken(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.docker2010(h)
		rapid.Check(t, func(r *rapid.T) {
			p := policies().Draw(r, "policy")
			f := facts{stages: rapid.Bool().Draw(r, "stages")}
			if !f.stages {
				f.bridges = []string{"docker0"}
			}
			out := &script{on: &variant{}}
			for _, t := range k.render(p, f) {
				out.begin(t.name)
				out.rewrite(saved{}, t)
				out.end()
			}
			cmd := exec.Command(filepath.Join(k.dir, k.command+"-restore"), "--test", "--noflush")
			cmd.Stdin = strings.NewReader(out.input.String())
			if output, err := cmd.CombinedOutput(); err != nil {
				r.Errorf("%v: %s\n%s", err, output, out.input.String())
			}
		})
	})
}

// Whatever happens, what others have made stays as it was, byte for byte, and when
// the last network is gone nothing of mybr's is left.
func TestForeignUntouched(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		rapid.Check(t, func(r *rapid.T) {
			steps := rapid.SliceOfN(policies(), 1, 3).Draw(r, "steps")
			layout := rapid.SampledFrom([]func(*nettest.Host){k.docker2010, k.docker285}).Draw(r, "docker")
			h.Fresh(func(h *nettest.Host) {
				layout(h)
				k.do(h, `
					-P INPUT DROP
					-N MYBRIDGE
					-A FORWARD -j MYBRIDGE
					-I FORWARD -s 203.0.113.7/32 -j DROP
					-A FORWARD -j DROP
					-I DOCKER-USER -i eth0 -p tcp -m comment --comment x -j ACCEPT
					-A DOCKER-USER -j LOG
					-A DOCKER-ISOLATION-STAGE-2 -j LOG
					-t nat -I POSTROUTING -s 172.18.0.0/16 -d 10.0.0.0/8 -j ACCEPT
					-t nat -A PREROUTING -p tcp --dport 2222 -j DNAT --to-destination 172.18.0.9:22
					-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
					-t raw -A PREROUTING -i eth9 -j DROP
				`)
				before := k.save(h)
				b := k.backend(t)
				var have *firewall.Policy
				for i := range steps {
					apply(t, b, have, steps[i])
					if got := foreign(k.save(h)); got != before {
						r.Fatalf("was\n%s\nis\n%s", before, got)
					}
					if have = &steps[i]; rapid.Bool().Draw(r, "unknown") {
						have = nil
					}
				}
				apply(t, b, have, firewall.Policy{})
				if got := k.save(h); got != before {
					r.Fatalf("was\n%s\nis, with nothing of mybr's\n%s", before, got)
				}
			})
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
