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
	"github.com/mybr/mybr/internal/nettest"
)

// A full pass finds the jumps in their places, whatever was done to the
// chains of others meanwhile.
func TestJumpsFindTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, before, after, forward, user string }{
		{"docker", "", "",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-j MYBR-ISOLATE|-j RETURN"},
		{"docker starts again", "", `
			-D FORWARD -j DOCKER-USER
			-D FORWARD -j DOCKER-ISOLATION-STAGE-1
			-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
			-I FORWARD -o docker0 -j DOCKER
			-I FORWARD -j DOCKER-ISOLATION-STAGE-1
			-I FORWARD -j DOCKER-USER`,
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -j", "-j MYBR-ISOLATE|-j RETURN"},
		{"jump in front", "", "-I FORWARD -j MYBR-FORWARD",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-j MYBR-ISOLATE|-j RETURN"},
		{"jumps of other shapes", "", "-A FORWARD -i eth0 -j MYBR-FORWARD\n-A INPUT -j MYBR-ISOLATE\n-N MYBR-OLD\n-A MYBR-OLD -j MYBR-ISOLATE\n-A FORWARD -j MYBR-OLD",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-j MYBR-ISOLATE|-j RETURN"},
		{"swarm", "", "-N DOCKER-INGRESS\n-I FORWARD 2 -j DOCKER-INGRESS\n-I FORWARD 3 -i eth0 -j LOG",
			"-j DOCKER-USER|-j DOCKER-INGRESS|-i eth0 -j LOG|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-j MYBR-ISOLATE|-j RETURN"},
		{"user rules flushed", "", "-F DOCKER-USER",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-j MYBR-ISOLATE"},
		{"user rules appended", "-D DOCKER-USER -j RETURN", "-A DOCKER-USER -i eth0 -j DROP",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-i eth0 -j DROP|-j MYBR-ISOLATE"},
		{"user rules inserted", "", "-I DOCKER-USER -i eth0 -j DROP",
			"-j DOCKER-USER|-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", "-i eth0 -j DROP|-j MYBR-ISOLATE|-j RETURN"},
		{"no user chain", "-D FORWARD -j DOCKER-USER\n-F DOCKER-USER\n-X DOCKER-USER", "",
			"-j DOCKER-ISOLATION-STAGE-1|-j MYBR-FORWARD|-o docker0 -m", ""},
		{"forward flushed", "", "-F FORWARD", "-j MYBR-FORWARD", "-j MYBR-ISOLATE|-j RETURN"},
		{"drop before and after", "-F FORWARD\n-A FORWARD -j DROP", "-A FORWARD -j DROP", "-j MYBR-FORWARD|-j DROP|-j DROP", "-j MYBR-ISOLATE|-j RETURN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
				k.Docker2010(h)
				k.Do(h, c.before)
				b := k.backend(t)
				firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
				nat := k.rules(h, "nat", "PREROUTING")
				k.Do(h, c.after)
				firewalltest.Apply(t, b, nil, firewalltest.TwoNetworks())
				for chain, want := range map[string]string{"FORWARD": c.forward, dockerUser: c.user} {
					got := strings.Join(k.rules(h, "filter", chain), "|") + "|"
					if !strings.HasPrefix(got, want) || want != "" && strings.Count(got, ownPrefix) != 1 {
						t.Errorf("%s is %s instead of %s", chain, got, want)
					}
				}
				if got := k.rules(h, "nat", "PREROUTING"); !slices.Equal(got, nat) || len(got) != 2 {
					t.Errorf("nat PREROUTING was %q, is %q", nat, got)
				}
				if save := k.save(h); strings.Contains(save, "MYBR-OLD") || strings.Contains(save, "INPUT -j MYBR") {
					t.Error("leftovers:", save)
				}
			})
		})
	}
}

// Docker may come later than mybr. As long as it has not, every change looks for it.
func TestDockerComesLater(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		want := firewalltest.TwoNetworks()
		one := firewall.Policy{Networks: want.Networks[:1]}
		b := k.backend(t)
		firewalltest.Apply(t, b, nil, one)
		k.Do(h, "-N DOCKER-USER") // an administrator prepares
		firewalltest.Apply(t, b, &one, want)
		k.docker2010Late(h)
		firewalltest.Apply(t, b, &want, one)
		forward := k.rules(h, "filter", "FORWARD")
		if i := slices.Index(forward, "-j MYBR-FORWARD"); i != 2 {
			t.Errorf("FORWARD: %q", forward)
		}
		if user := k.rules(h, "filter", dockerUser); len(user) != 2 || user[0] != "-j MYBR-ISOLATE" {
			t.Errorf("DOCKER-USER: %q", user)
		}
		if own := strings.Join(k.rules(h, "filter", chainEgress), "\n"); !strings.Contains(own, dockerStage2) {
			t.Errorf("no use of Docker's isolation:\n%s", own)
		}
		if !k.side(b).state.ready {
			t.Error("looks for Docker for ever")
		}
	})
}

// docker2010Late is docker2010 where DOCKER-USER is there already.
func (k kind) docker2010Late(h *nettest.Host) {
	k.Do(h, "-F DOCKER-USER\n-E DOCKER-USER GONE")
	k.Docker2010(h)
	k.Do(h, "-F DOCKER-USER") // the jump of the chain that was prepared stays in that
	k.Do(h, "-A DOCKER-USER -j RETURN\n-X GONE")
}

// Docker's variant is the one to use, and when it turns out to be the other one,
// everything moves there.
func TestVariantOfDocker(t *testing.T) {
	for name, other := range map[string]string{"nft": "legacy", "legacy": "nft"} {
		t.Run(name, func(t *testing.T) {
			h := nettest.New(t)
			mine, docker := kindOf(t, name, ipv4()), kindOf(t, other, ipv4())
			b := mine.backend(t)
			want := firewalltest.TwoNetworks()
			one := firewall.Policy{Networks: want.Networks[:1]}
			firewalltest.Apply(t, b, nil, one)
			if !strings.Contains(mine.save(h), chainForward) || strings.Contains(docker.save(h), chainForward) {
				t.Fatal("without Docker, the command iptables is not what is used")
			}
			docker.Docker2010(h)
			before := docker.save(h)
			firewalltest.Apply(t, b, &one, want)
			if strings.Contains(mine.save(h), ownPrefix) {
				t.Error("left behind:", mine.save(h))
			}
			if got := docker.save(h); foreign(got) != before || !strings.Contains(got, chainPorts) {
				t.Error("with Docker:", got)
			}
			firewalltest.Apply(t, b, nil, firewall.Policy{})
			if got := docker.save(h); got != before {
				t.Errorf("was\n%s\nis\n%s", before, got)
			}
		})
	}
}

// To look does not make the legacy tables.
func TestLegacyIsNotWoken(t *testing.T) {
	h := nettest.New(t)
	b := kindOf(t, "nft", ipv4()).backend(t)
	p := firewalltest.TwoNetworks()
	firewalltest.Apply(t, b, nil, p)
	firewalltest.Apply(t, b, &p, firewall.Policy{Networks: p.Networks})
	firewalltest.Apply(t, b, nil, firewall.Policy{})
	for _, fam := range []family{ipv4(), ipv6()} {
		if names := h.Run("cat", fam.inUse); names != "" {
			t.Errorf("legacy tables: %q", names)
		}
	}
}

// If rules are missing that a difference takes for granted, its error says so, with the
// line, and a plan in full mends it.
func TestDeltaFailsFullMends(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		clean := normal(k.save(h))
		k.Do(h, "-F MYBR-FORWARD\n-t nat -F MYBR-PORTS\n-t nat -F POSTROUTING")
		less := firewall.Policy{Networks: p.Networks[:1]}
		err := b.Apply(context.Background(), &p, less)
		if err == nil {
			t.Fatal("no error")
		}
		if !strings.Contains(err.Error(), "(line ") || !strings.Contains(err.Error(), k.command+"-restore") {
			t.Errorf("not a helpful error: %v", err)
		}
		k.Do(h, "-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n-t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE")
		firewalltest.Apply(t, b, nil, p)
		if got := normal(k.save(h)); got != clean {
			t.Errorf("was\n%s\nis\n%s", clean, got)
		}
	})
}

// At no moment of a full pass that has to write are rules or jumps missing that were
// there before and stay.
func TestNoGap(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		missing := k.watch(h, func(save string) bool {
			for _, want := range []string{"-A FORWARD -j MYBR-FORWARD", "-A DOCKER-USER -j MYBR-ISOLATE", "--dport 8080 -j DNAT",
				"-A MYBR-FORWARD -o br0", "-A MYBR-TO ! -i br0 -o br0 -j DROP", k.In("-A MYBR-POSTROUTING -s 172.18.0.0/16 ! -o br0"), "-A POSTROUTING -j MYBR"} {
				if !strings.Contains(save, want) {
					return false
				}
			}
			return true
		})
		for range 10 {
			// Everything has to be written: other content, and jumps out of place.
			k.Do(h, "-A FORWARD -j MYBR-FORWARD\n-A DOCKER-USER -j MYBR-ISOLATE\n-A MYBR-FORWARD -j LOG\n-t nat -A MYBR-PORTS -j LOG\n-t nat -A MYBR-POSTROUTING -j LOG")
			firewalltest.Apply(t, b, nil, p)
		}
		if save := missing(); save != "" {
			t.Errorf("something is missing in\n%s", save)
		}
	})
}

// watch saves the rules again and again, from before it returns until the function that it
// returns is called, which says what they were when they were not right; "" if they always
// were.
func (k kind) watch(h *nettest.Host, right func(save string) bool) (wrong func() string) {
	found, stop, looking := make(chan string, 1), make(chan struct{}), make(chan struct{})
	h.Go(func() {
		var bad string
		for n := 0; ; n++ {
			if save := k.save(h); bad == "" && !right(save) {
				bad = save
			}
			if n == 0 {
				close(looking)
			}
			select {
			case <-stop:
				found <- bad
				return
			default:
			}
		}
	})
	<-looking
	return func() string { close(stop); return <-found }
}

func TestContextIsHonoured(t *testing.T) {
	nettest.New(t)
	k := kindOf(t, "legacy", ipv4())
	b := k.backend(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the caller went away")
	cancel(cause)
	if err := b.Apply(ctx, nil, firewalltest.TwoNetworks()); !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	// A command that hangs is ended.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "iptables-restore"), []byte("#!/bin/sh\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer end()
	v := variant{commands: &commands{}, command: filepath.Join(dir, "iptables")}
	if err := v.restore(ctx, "*filter\nCOMMIT\n"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// Info tells what is done to the chains of others.
func TestInfo(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Docker2010(h)
		var infos []string
		b, err := New(firewall.Config{Dir: k.Dir, Info: func(f string, a ...any) { infos = append(infos, fmt.Sprintf(f, a...)) }})
		if err != nil {
			t.Fatal(err)
		}
		p := firewalltest.TwoNetworks()
		for _, c := range []struct {
			change string
			want   firewall.Policy
			info   string
		}{
			{"", p, k.command + ": inserted jump to MYBR-FORWARD in FORWARD at 3"},
			{"", p, ""},
			{"-I FORWARD 3 -j LOG\n-D FORWARD -j LOG\n-I FORWARD -j MYBR-FORWARD", p, "moved jump to MYBR-FORWARD in FORWARD to 3"},
			{"", firewall.Policy{}, "removed jump to MYBR-FORWARD from FORWARD"},
		} {
			infos = nil
			k.Do(h, c.change)
			firewalltest.Apply(t, b, nil, c.want)
			if c.info == "" && len(infos) == 0 {
				continue
			}
			if !slices.ContainsFunc(infos, func(s string) bool { return c.info != "" && strings.HasSuffix(s, c.info) }) {
				t.Errorf("reported %q instead of %q", infos, c.info)
			}
		}
	})
}

func TestNoCommands(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := New(firewall.Config{}); err == nil || !strings.Contains(err.Error(), "installed") {
		t.Errorf("error %v", err)
	}
}
