package iptables

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// Without a command for it, without IPv6 in the kernel, or where the kernel takes none
// of the rules, IPv6 is left alone, and the reason is told.
func TestNoIPv6(t *testing.T) {
	t.Run("no command", func(t *testing.T) {
		h := nettest.New(t)
		k := kindOf(t, "nft", ipv4())
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Remove(filepath.Join(k.Dir, "ip6tables"+suffix)); err != nil {
				t.Fatal(err)
			}
		}
		save := h.Run("which", "ip6tables-save")
		t.Setenv("PATH", t.TempDir())
		b, err := New(firewall.Config{Dir: k.Dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.IPv6(); err == nil || !strings.Contains(err.Error(), "neither ip6tables nor ip6tables-nft nor ip6tables-legacy is installed") {
			t.Errorf("error %v", err)
		}
		p := firewalltest.TwoNetworks()
		firewalltest.Apply(t, b, nil, p)
		if !strings.Contains(k.save(h), chainPorts) {
			t.Error("no rules for IPv4")
		}
		if got := h.Run(strings.TrimSpace(save)); strings.Contains(got, ownPrefix) {
			t.Errorf("rules for IPv6: %s", got)
		}
		firewalltest.Apply(t, b, &p, firewall.Policy{})
	})
	t.Run("no IPv6", func(t *testing.T) {
		nettest.New(t)
		if _, err := usableIPv6(&commands{}, "", t.TempDir()); err == nil || !strings.Contains(err.Error(), "the kernel has no IPv6") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no rules", func(t *testing.T) {
		nettest.New(t)
		k := kindOf(t, "nft", ipv6())
		for _, suffix := range []string{"", "-nft", "-legacy"} {
			write(t, filepath.Join(k.Dir, "ip6tables"+suffix), "echo 'ip6tables v1.8.9 (nf_tables)'")
			write(t, filepath.Join(k.Dir, "ip6tables"+suffix+"-save"), "echo no such family >&2; exit 3")
		}
		b, err := New(firewall.Config{Dir: k.Dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.IPv6(); err == nil || !strings.Contains(err.Error(), "ip6tables-save -t filter: exit status 3: no such family") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("there", func(t *testing.T) {
		nettest.New(t)
		if err := kindOf(t, "legacy", ipv6()).backend(t).IPv6(); err != nil {
			t.Error(err)
		}
	})
}

// write makes a command of a shell script.
func write(t *testing.T, path, script string) {
	t.Helper()
	_ = os.Remove(path) // it may be a link to the real one
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// What fails in one family is done in the other all the same, and told.
func TestOneFamilyFails(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		other := k
		if k = other.with(ipv4()); other.Family == model.IPv4 {
			k = other.with(ipv6())
		}
		b, err := New(firewall.Config{Dir: k.Dir})
		if err != nil {
			t.Fatal(err)
		}
		p := firewalltest.TwoNetworks()
		one := firewall.Policy{Networks: p.Networks[:1]}
		firewalltest.Apply(t, b, nil, one)
		broken := other.side(b)
		broken.variants = broken.variants[:1] // there is none to go to
		broken.variants[0].command = filepath.Join(k.Dir, "gone")
		for _, have := range []*firewall.Policy{&one, nil} {
			err := b.Apply(context.Background(), have, p)
			if err == nil || !strings.Contains(err.Error(), "gone") || strings.Contains(err.Error(), k.command) {
				t.Errorf("error %v", err)
			}
			if save := k.save(h); !strings.Contains(save, "--dport 8080") {
				t.Errorf("%s has not been applied: %s", k.family, save)
			}
			firewalltest.Apply(t, kindOf(t, k.Name, k.family).backend(t), nil, one)
		}
	})
}

// IPv6 goes by IPv4 as to the variant, and as to whether Docker has made its chains.
func TestIPv6FollowsIPv4(t *testing.T) {
	for _, c := range []struct {
		name  string
		six   func(kind, *nettest.Host)
		ready bool
	}{
		{"no Docker", func(kind, *nettest.Host) {}, true},
		{"20.10", func(k kind, h *nettest.Host) { k.Dockers()["20.10, no DOCKER-USER"](h) }, true},
		{"28.5", func(k kind, h *nettest.Host) { k.Docker285(h) }, true},
		{"Docker not ready", func(k kind, h *nettest.Host) { k.Do(h, "-N DOCKER\n-N DOCKER-FORWARD") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := nettest.New(t)
			mine, docker := kindOf(t, "nft", ipv6()), kindOf(t, "legacy", ipv4())
			docker.Docker2010(h)
			docker = docker.with(ipv6())
			c.six(docker, h)
			b := mine.backend(t)
			p := firewalltest.TwoNetworks()
			firewalltest.Apply(t, b, nil, p)
			if strings.Contains(mine.save(h), ownPrefix) || !strings.Contains(docker.save(h), chainPorts) {
				t.Error("IPv6 is not where IPv4 is")
			}
			if got := b.v6.state.ready; got != c.ready {
				t.Errorf("ready: %t", got)
			}
		})
	}
}

// As IPv4 finds Docker later, in another variant, IPv6 follows with its next change.
func TestIPv6FollowsLater(t *testing.T) {
	h := nettest.New(t)
	mine, docker := kindOf(t, "nft", ipv6()), kindOf(t, "legacy", ipv4())
	b := mine.backend(t)
	p := firewalltest.TwoNetworks()
	one := firewall.Policy{Networks: p.Networks[:1]}
	firewalltest.Apply(t, b, nil, one)
	if !strings.Contains(mine.save(h), ownPrefix) {
		t.Fatal("without Docker, the command ip6tables is not what is used")
	}
	docker.Docker2010(h)
	firewalltest.Apply(t, b, &one, p)
	docker = docker.with(ipv6())
	if strings.Contains(mine.save(h), ownPrefix) || !strings.Contains(docker.save(h), chainPorts) {
		t.Error("IPv6 is not where IPv4 is")
	}
}
