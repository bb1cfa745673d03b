package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/plan"
)

// planned is a plan's changes of the family that the test is about.
func (k kind) planned(t *testing.T, b *Backend, have *firewall.Policy, want firewall.Policy) (changes []string) {
	t.Helper()
	p, err := b.Plan(context.Background(), have, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Changes() {
		if strings.HasPrefix(c, k.command+" ") {
			changes = append(changes, c)
		}
	}
	return changes
}

// What was changed in the rules is printed rule by rule, and nothing else is; the
// plan mends it, and behind that there is nothing to do.
func TestPlanPrintsWhatDiffers(t *testing.T) {
	for _, c := range []struct{ name, done, planned string }{
		{"nothing", "", ""},
		{"deleted", "-D MYBR-EGRESS-NAT -m conntrack --ctstate INVALID -j DROP",
			"filter: -A MYBR-EGRESS-NAT -m conntrack --ctstate INVALID -j DROP"},
		{"an empty rule", "-A MYBR-FORWARD", "filter: delete -A MYBR-FORWARD "},
		{"added", "-I MYBR-FORWARD 3 -i eth9 -j ACCEPT", "filter: delete -A MYBR-FORWARD -i eth9 -j ACCEPT"},
		{"moved", "-D MYBR-FORWARD -j MYBR-ISOLATE\n-A MYBR-FORWARD -j MYBR-ISOLATE", "filter: move -A MYBR-FORWARD -j MYBR-ISOLATE"},
		{"flushed", "-t nat -F MYBR-PORTS",
			"nat: -A MYBR-PORTS SOURCE-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80"},
		{"jump deleted", "-D FORWARD -j MYBR-FORWARD", "filter: -I FORWARD 3 -j MYBR-FORWARD"},
		{"jump moved", "-D FORWARD -j MYBR-FORWARD\n-I FORWARD -j MYBR-FORWARD",
			"filter: delete -A FORWARD -j MYBR-FORWARD|filter: -I FORWARD 3 -j MYBR-FORWARD"},
		{"chain of another time", "-N MYBR-OLD\n-A MYBR-OLD -j DROP\n-A FORWARD -j MYBR-OLD",
			"filter: delete -A FORWARD -j MYBR-OLD|filter: delete -A MYBR-OLD -j DROP|filter: -X MYBR-OLD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
				k.Docker2010(h)
				b := k.backend(t)
				p := firewalltest.TwoNetworks()
				firewalltest.Apply(t, b, nil, p)
				clean := k.save(h)
				k.Do(h, c.done)
				source := ""
				if k.Family == model.IPv6 {
					source = "! -s fe80::/10 "
				}
				var want []string
				for change := range strings.SplitSeq(k.In(strings.ReplaceAll(c.planned, "SOURCE", source)), "|") {
					if change != "" {
						want = append(want, k.command+" "+change)
					}
				}
				before := k.save(h)
				if got := k.planned(t, b, nil, p); !slices.Equal(got, want) {
					t.Errorf("planned\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				if got := k.save(h); got != before {
					t.Errorf("a plan has changed\n%s\nto\n%s", before, got)
				}
				firewalltest.Apply(t, b, nil, p)
				if got := k.save(h); got != clean {
					t.Errorf("was\n%s\nis\n%s", clean, got)
				}
				if got := k.planned(t, b, nil, p); got != nil {
					t.Errorf("still to be done: %q", got)
				}
			})
		})
	}
}

// A difference is printed as it is made.
func TestPlanOfADifference(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		less := firewall.Policy{Networks: p.Networks}
		want := k.command + k.In(" nat: delete -A MYBR-PORTS SOURCE-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80")
		if want = strings.Replace(want, "SOURCE", "", 1); k.Family == model.IPv6 {
			want = strings.Replace(want, "-p tcp", "! -s fe80::/10 -p tcp", 1)
		}
		if got := k.planned(t, b, &p, less); !slices.Equal(got, []string{want}) {
			t.Errorf("planned %q, want %q", got, want)
		}
	})
}

// What is asked for operators on a live host doesn't confuse the differences that are
// made meanwhile: a plan that isn't carried out has changed nothing, in memory either.
func TestPlanThatIsNotDone(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		one := firewall.Policy{Networks: p.Networks[:1]}
		firewalltest.Apply(t, b, nil, one)
		before := k.side(b).state
		k.Docker2010(h) // everything is to be rendered otherwise now
		if got := k.planned(t, b, nil, p); len(got) == 0 {
			t.Fatal("Docker has come, and nothing is to be done")
		}
		if got := k.side(b).state; fmt.Sprint(got) != fmt.Sprint(before) || b.Variant() == "" {
			t.Errorf("remembered %+v, was %+v", got, before)
		}
		firewalltest.Apply(t, b, &one, p)
		end := normal(k.save(h))
		firewalltest.Apply(t, b, nil, p)
		if got := normal(k.save(h)); got != end {
			t.Errorf("by the difference:\n%s\nafterwards:\n%s", end, got)
		}
	})
}

// A part of the policy that is not valid is named, and the rest is brought about.
func TestInvalidPart(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		p.Networks[1].Bridge, p.Ports[0].Link = "br+", "veth1"
		err := b.Apply(context.Background(), nil, p)
		subjects, rest := plan.Blame(err)
		if rest != nil || len(subjects) != 1 || subjects[0].Subject != "br+" {
			t.Fatalf("blamed %v, rest %v", subjects, rest)
		}
		if save := k.save(h); !strings.Contains(save, "-o br0 ") || !strings.Contains(save, "--dport 8080") || strings.Contains(save, "br+") {
			t.Errorf("the rest is\n%s", save)
		}
	})
}

// mybr's chains don't leave a variant before the other one has them.
func TestChainsStayUntilTheOtherVariantHasThem(t *testing.T) {
	h := nettest.New(t)
	mine, docker := kindOf(t, "nft", ipv4()), kindOf(t, "legacy", ipv4())
	b := mine.backend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	docker.Docker2010(h)
	i := slices.IndexFunc(b.v4.variants, func(v *variant) bool { return v.legacy })
	right := b.v4.variants[i].command
	steps, err := b.Plan(context.Background(), nil, p)
	if err != nil {
		t.Fatal(err)
	}
	b.v4.variants[i].command = filepath.Join(t.TempDir(), "gone")
	if err := steps.Do(context.Background()); err == nil || !strings.Contains(err.Error(), "mybr's chains stay here until") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(mine.save(h), chainPorts) {
		t.Error("the chains are in no variant")
	}
	b.v4.variants[i].command = right
	if err := steps.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(mine.save(h), ownPrefix) || !strings.Contains(docker.save(h), chainPorts) || b.Variant() != "iptables (legacy)" {
		t.Error("the chains have not moved")
	}
}

// Commands that list Docker's jumps end with the context, as all do.
func TestListingEndsWithTheContext(t *testing.T) {
	h := nettest.New(t)
	k := kindOf(t, "nft", ipv4())
	b := k.backend(t)
	p := firewalltest.TwoNetworks()
	one := firewall.Policy{Networks: p.Networks[:1]}
	firewalltest.Apply(t, b, nil, one)
	begun := filepath.Join(t.TempDir(), "begun")
	write(t, filepath.Join(k.Dir, "iptables"), "echo >"+begun+"\nexec sleep 60")
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("given up")
	done := make(chan error, 1)
	h.Go(func() {
		_, err := b.Plan(ctx, &one, p)
		done <- err
	})
	nettest.Eventually(t, 5*time.Second, func() error { _, err := os.Stat(begun); return err })
	cancel(gaveUp)
	select {
	case err := <-done:
		if !errors.Is(err, gaveUp) {
			t.Errorf("error %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the plan hangs")
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ have, want, deleted, added, moved string }{
		{"", "", "", "", ""},
		{"a b c", "a b c", "", "", ""},
		{"a b c", "a c", "b", "", ""},
		{"a c", "a b c", "", "b", ""},
		{"b c d a", "a b c d", "", "", "a"},
		{"a a b", "a b a", "", "", "a"},
		{"a a b", "a b", "a", "", ""},
		{"x b a y", "a b z", "x y", "z", "b"},
	} {
		d, a, m := compare(strings.Fields(c.have), strings.Fields(c.want))
		if got := fmt.Sprint(d, a, m); got != fmt.Sprint(strings.Fields(c.deleted), strings.Fields(c.added), strings.Fields(c.moved)) {
			t.Errorf("%s to %s: deleted, added, moved %s", c.have, c.want, got)
		}
	}
}

// SCTP has no sockets everywhere; its rules are made all the same.
func TestSCTPRule(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		n := firewalltest.Network("br0", "172.18.0.0/16")
		p := firewalltest.Dual(firewall.Policy{Networks: []firewall.Network{n}, Ports: []firewall.Port{firewalltest.Port(n, "sctp 0.0.0.0:3868 172.18.0.2:3868", 1)}})
		if p.Ports[0].Proto != model.SCTP {
			t.Fatal(p)
		}
		firewalltest.Apply(t, k.backend(t), nil, p)
		if out := h.Run(filepath.Join(k.Dir, k.command), "-t", "nat", "-S", chainPorts); !strings.Contains(out, "-p sctp -m sctp --dport 3868") {
			t.Error(out)
		}
	})
}
