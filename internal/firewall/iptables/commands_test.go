package iptables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/fault"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/nettest"
)

// counted is a kind whose commands are listed in a file when they are run.
func counted(t *testing.T) (k kind, ran func() string) {
	t.Helper()
	k = kind{Stand: firewalltest.Stand{Name: "nft", Dir: t.TempDir()}}.with(ipv4())
	log := filepath.Join(k.Dir, "log")
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"", "-nft", "-legacy"} {
			for _, suffix := range []string{"", "-save", "-restore"} {
				path, err := lookPath("", command+variant+suffix)
				if variant == "" {
					path, err = lookPath("", command+"-nft"+suffix)
				}
				if err != nil {
					t.Fatal(err)
				}
				script := fmt.Sprintf("#!/bin/sh\necho %s%s >>%s\nexec %s \"$@\"\n", command, suffix, log, path)
				if err := os.WriteFile(filepath.Join(k.Dir, command+variant+suffix), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return k, func() string {
		data, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		_ = os.Remove(log)
		return strings.Join(strings.Fields(string(data)), " ")
	}
}

// What a change costs, in commands.
func TestCommands(t *testing.T) {
	h := nettest.New(t)
	k, ran := counted(t)
	k.Docker2010(h)
	six := k.with(ipv6())
	six.Docker2010(h)
	b := k.backend(t)
	ran()
	open := firewalltest.Network("br0", "172.18.0.0/16")
	open.V4.Direct = firewall.DirectOpenings
	one := firewalltest.Dual(firewall.Policy{Networks: []firewall.Network{open}})
	with := func(p firewall.Policy, change func(*firewall.Policy)) firewall.Policy {
		p.Networks, p.Ports, p.Openings = slices.Clone(p.Networks), slices.Clone(p.Ports), slices.Clone(p.Openings)
		change(&p)
		return p
	}
	two := with(one, func(p *firewall.Policy) {
		p.Networks = append(p.Networks, firewalltest.Dual(firewall.Policy{Networks: []firewall.Network{firewalltest.Network("br1", "172.19.0.0/16")}}).Networks...)
	})
	v4 := with(two, func(p *firewall.Policy) {
		p.Ports = []firewall.Port{firewalltest.Port(open, "tcp 0.0.0.0:8080 172.18.0.2:80", 1)}
	})
	v6 := with(v4, func(p *firewall.Policy) {
		p.Ports = append(p.Ports, firewalltest.Port(open, "tcp [::]:8080 [fd00:18::2]:80", 1))
	})
	opened := with(v6, func(p *firewall.Policy) {
		p.Openings = []firewall.Opening{firewalltest.Opening("tcp 172.18.0.2", 80, 1, "")}
	})
	routed := with(opened, func(p *firewall.Policy) { p.Networks[1].V6.Direct = firewall.DirectRouted })
	const (
		all  = "iptables-save iptables-save ip6tables-save ip6tables-save iptables-restore ip6tables-restore"
		look = "iptables-save iptables-save ip6tables-save ip6tables-save"
	)
	var have *firewall.Policy
	for _, step := range []struct {
		name string
		want firewall.Policy
		ran  string
	}{
		{"first network", one, all},
		{"second network", two, "iptables-restore ip6tables-restore"},
		{"IPv4 port", v4, "iptables-restore"},
		{"IPv6 port", v6, "ip6tables-restore"},
		{"no change", v6, ""},
		{"first opening", opened, "iptables-restore"},
		{"mode of a family", routed, "ip6tables-save ip6tables-save ip6tables-restore"},
		{"back", opened, "ip6tables-save ip6tables-save ip6tables-restore"},
		{"no opening", v6, "iptables-restore"},
		{"no ports", two, "iptables-restore ip6tables-restore"},
		{"first network alone", one, "iptables-restore ip6tables-restore"},
		{"nothing", firewall.Policy{}, all},
		{"nothing again", firewall.Policy{}, ""},
	} {
		firewalltest.Apply(t, b, have, step.want)
		if got := ran(); got != step.ran {
			t.Errorf("%s: ran %q instead of %q", step.name, got, step.ran)
		}
		have = &step.want
	}
	firewalltest.Apply(t, b, nil, firewall.Policy{})
	if got := ran(); got != look {
		t.Errorf("a look: ran %q", got)
	}
}

// A start asks each program for its version once, whatever names it has, and others by each
// name.
func TestProgramsAreAskedOnce(t *testing.T) {
	h := nettest.New(t)
	nft, legacy := programOf(strings.TrimSpace(h.Run("which", "iptables-nft"))), programOf(strings.TrimSpace(h.Run("which", "iptables-legacy")))
	for _, c := range []struct {
		name          string
		of            func(dir, command string) string // what a command is a link to
		asked         int
		first, second bool // whether the variants found are the legacy one
	}{
		{"iptables' own programs", func(_, command string) string {
			if strings.HasSuffix(command, "-legacy") {
				return legacy
			}
			return nft
		}, 2, false, true},
		{"others", func(dir, command string) string {
			path := filepath.Join(dir, "own-"+command)
			write(t, path, "echo 'v1.8.9 (nf_tables)'")
			return path
		}, 6, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, command := range []string{"iptables", "iptables-nft", "iptables-legacy", "ip6tables", "ip6tables-nft", "ip6tables-legacy"} {
				if err := os.Symlink(c.of(dir, command), filepath.Join(dir, command)); err != nil {
					t.Fatal(err)
				}
			}
			ran := &commands{}
			asked := 0
			defer fault.Set(func(point string) error {
				if strings.HasPrefix(point, "iptables: before ") {
					asked++
				}
				return nil
			})()
			for _, fam := range []family{ipv4(), ipv6()} {
				found, err := findVariants(ran, dir, fam)
				if err != nil {
					t.Fatal(err)
				}
				if found[0].legacy != c.first || len(found) == 2 != c.second || found[0].command != filepath.Join(dir, fam.command) {
					t.Errorf("%s: %v", fam.command, found)
				}
			}
			if asked != c.asked {
				t.Errorf("%d commands were run, want %d", asked, c.asked)
			}
		})
	}
}

// Commands that run side by side have each its own outcome, in the order in which they were
// given, and what fails keeps none of the others from running.
func TestSideBySide(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"first":  "read x; until [ -e " + dir + "/second-ran ]; do :; done; echo first $x",
		"second": "touch " + dir + "/second-ran; echo no >&2; exit 3",
	} {
		write(t, filepath.Join(dir, name), script)
	}
	printed, errs := (&commands{}).runAll(t.Context(), []call{
		{"input\n", filepath.Join(dir, "first"), nil}, {"", filepath.Join(dir, "second"), nil}, {"", filepath.Join(dir, "none"), nil},
	})
	if printed[0] != "first input\n" || errs[0] != nil || errs[1] == nil || errs[1].Error() != "exit status 3: no" || !errors.Is(errs[2], os.ErrNotExist) {
		t.Errorf("%q, %v", printed, errs)
	}
}
