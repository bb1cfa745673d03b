package iptables

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// policies draws valid policies of up to eight networks, their ports and openings: few, and
// so many that there are indexes.
func policies() *rapid.Generator[firewall.Policy] { return after(firewall.Policy{}) }

// after draws policies of which many networks are as they were.
func after(was firewall.Policy) *rapid.Generator[firewall.Policy] {
	return firewalltest.Policies(firewalltest.Sizes{Networks: []int{4, 8}, Ports: []int{0, 1, 3, 9}, Openings: []int{0, 1, 3, 6}}, was)
}

// With and without Docker, from any policy to any other: a difference and the whole
// end alike, and doing it again does nothing.
func TestDeltaEqualsFull(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		small := 0
		rapid.Check(t, func(r *rapid.T) {
			a := policies().Draw(r, "a")
			b := after(a).Draw(r, "b")
			if rapid.Bool().Draw(r, "ports alone") { // as most requests, and always a difference
				b = a
				b.Ports = a.Ports[:rapid.IntRange(0, len(a.Ports)).Draw(r, "ports")]
				b.Openings = a.Openings[rapid.IntRange(0, len(a.Openings)).Draw(r, "openings"):]
			}
			if k.commutes(a, b) {
				small++
			}
			docker := rapid.Bool().Draw(r, "docker")
			end := func(steps ...firewall.Policy) (save string) {
				h.Fresh(func(h *nettest.Host) {
					if docker {
						k.Docker2010(h)
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
				k.Docker2010(h)
				b := k.backend(t)
				firewalltest.Apply(t, b, nil, p)
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
		k.Docker2010(h)
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
			cmd := exec.Command(filepath.Join(k.Dir, k.command+"-restore"), "--test", "--noflush")
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
			layout := rapid.SampledFrom([]func(*nettest.Host){k.Docker2010, k.Docker285}).Draw(r, "docker")
			h.Fresh(func(h *nettest.Host) {
				layout(h)
				k.Do(h, `
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
					firewalltest.Apply(t, b, have, steps[i])
					if got := foreign(k.save(h)); got != before {
						r.Fatalf("was\n%s\nis\n%s", before, got)
					}
					if have = &steps[i]; rapid.Bool().Draw(r, "unknown") {
						have = nil
					}
				}
				firewalltest.Apply(t, b, have, firewall.Policy{})
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
