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

// policies draws valid policies of up to four networks and their ports.
func policies() *rapid.Generator[firewall.Policy] {
	return rapid.Custom(func(t *rapid.T) firewall.Policy {
		var p firewall.Policy
		for i := range 4 {
			if rapid.Bool().Draw(t, "there") {
				p.Networks = append(p.Networks, drawNetwork(t, i))
			}
		}
		free := map[model.Proto]int{model.TCP: 1, model.UDP: 1, model.SCTP: 1}
		for _, n := range p.Networks {
			for range rapid.IntRange(0, 4).Draw(t, "ports") {
				p.Ports = append(p.Ports, drawPort(t, n, free))
			}
		}
		return p
	})
}

func drawNetwork(t *rapid.T, i int) firewall.Network {
	n := network(fmt.Sprintf("br%d", i), fmt.Sprintf("172.%d.0.0/16", 18+i))
	for _, b := range []*bool{&n.Internal, &n.ICC, &n.V4.Masquerade, &n.V4.Hairpin} {
		*b = rapid.Bool().Draw(t, "option")
	}
	if rapid.IntRange(0, 3).Draw(t, "snat") == 0 {
		n.V4.SNAT = netip.MustParseAddr("192.0.2.1")
	}
	return n
}

// drawPort draws a binding behind all that were drawn before, so that none overlap.
func drawPort(t *rapid.T, n firewall.Network, free map[model.Proto]int) firewall.Port {
	proto := rapid.SampledFrom([]model.Proto{model.TCP, model.UDP, model.SCTP}).Draw(t, "proto")
	first := free[proto] + rapid.IntRange(0, 5000).Draw(t, "gap")
	count := rapid.SampledFrom([]int{1, 1, 2, 100}).Draw(t, "count")
	free[proto] = first + count
	to := rapid.SampledFrom([]int{first, 1, 65536 - count}).Draw(t, "to")
	host := rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1"}).Draw(t, "host")
	return firewall.Port{Bridge: n.Bridge, ICC: n.ICC, PortBinding: model.PortBinding{
		Proto: proto, Count: uint16(count),
		Host:      netip.AddrPortFrom(netip.MustParseAddr(host), uint16(first)),
		Container: netip.AddrPortFrom(n.V4.Prefix.Addr().Next().Next(), uint16(to)),
	}}
}

// With and without Docker, from any policy to any other: the small way and the full
// way end alike, and doing it again does nothing.
func TestDeltaEqualsFull(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		rapid.Check(t, func(r *rapid.T) {
			a, b := policies().Draw(r, "a"), policies().Draw(r, "b")
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
					save = k.save(h)
				})
				return save
			}
			full, small := normal(end(b)), normal(end(a, b))
			if full != small {
				r.Errorf("at once:\n%s\nin two steps:\n%s", full, small)
			}
		})
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
					v.command, v.ipt = withoutWriting(t, v.command), nil
				}
				if err := b.Apply(context.Background(), nil, p); err != nil {
					r.Errorf("a second full pass writes: %v", err)
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
			var input strings.Builder
			for _, t := range k.render(p, facts{stage2: rapid.Bool().Draw(r, "docker")}) {
				var lines strings.Builder
				for _, c := range t.chains {
					fmt.Fprintf(&lines, ":%s - [0:0]\n", c.name)
				}
				for _, c := range t.chains {
					for _, rule := range c.rules {
						fmt.Fprintf(&lines, "-A %s %s\n", c.name, rule.text)
					}
				}
				section(&input, t.name, lines.String())
			}
			cmd := exec.Command(filepath.Join(k.dir, k.command+"-restore"), "--test", "--noflush")
			cmd.Stdin = strings.NewReader(input.String())
			if out, err := cmd.CombinedOutput(); err != nil {
				r.Errorf("%v: %s\n%s", err, out, input.String())
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
			h.Fresh(func(h *nettest.Host) {
				k.docker2010(h)
				k.do(h, `
					-P INPUT DROP
					-N MYBRIDGE
					-A FORWARD -j MYBRIDGE
					-I FORWARD -s 203.0.113.7/32 -j DROP
					-A FORWARD -j DROP
					-I DOCKER-USER -i eth0 -p tcp -m comment --comment x -j ACCEPT
					-A DOCKER-USER -j LOG
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
					if have = &steps[i]; rapid.Bool().Draw(r, "forget") {
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
		if err := validate(p); err != nil {
			r.Fatal(err)
		}
		for _, port := range p.Ports {
			if !slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Bridge == port.Bridge }) {
				r.Fatal(port)
			}
		}
	})
}
