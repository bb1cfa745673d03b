package iptables

import (
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// Where mybr has the host forward, the last rule of FORWARD drops what no other accepts,
// whoever else adds rules, and as long as that is so: with networks or without.
func TestDefaultDrop(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		const jump = "-j " + chainForwardDrop
		ends := func(when string, want bool) {
			t.Helper()
			rules := k.rules(h, "filter", "FORWARD")
			if at := slices.Index(rules, jump); (at >= 0) != want || want && at != len(rules)-1 {
				t.Errorf("%s: FORWARD is %q", when, rules)
			}
			if drops := k.rules(h, "filter", chainForwardDrop); want != slices.Equal(drops, []string{"-j DROP"}) {
				t.Errorf("%s: %s is %q", when, chainForwardDrop, drops)
			}
		}
		b := k.backend(t)
		open, dropping := firewalltest.TwoNetworks(), firewalltest.TwoNetworks()
		dropping.DefaultDrop = firewall.Families{V4: k.Family == model.IPv4, V6: k.Family == model.IPv6}
		firewalltest.Apply(t, b, nil, open)
		ends("open", false)
		firewalltest.Apply(t, b, &open, dropping)
		ends("dropping", true)
		one := dropping
		one.Networks, one.Ports = dropping.Networks[:1], nil
		firewalltest.Apply(t, b, &dropping, one)
		ends("a network less", true)
		k.Do(h, "-A FORWARD -i wg0 -j ACCEPT")
		for range 2 {
			firewalltest.Apply(t, b, nil, one)
			ends("a rule is added", true)
		}
		rules := k.rules(h, "filter", "FORWARD")
		if slices.Index(rules, "-j "+chainForward) > slices.Index(rules, "-i wg0 -j ACCEPT") {
			t.Errorf("FORWARD is %q", rules)
		}
		none := firewall.Policy{DefaultDrop: dropping.DefaultDrop}
		firewalltest.Apply(t, b, &one, none)
		ends("without networks", true)
		if saved := k.save(h); strings.Contains(saved, chainIsolate) || strings.Contains(saved, chainPorts) {
			t.Errorf("without networks:\n%s", saved)
		}
		firewalltest.Apply(t, b, &none, dropping)
		ends("networks again", true)
		firewalltest.Apply(t, b, &dropping, firewall.Policy{})
		ends("not any more, and no networks", false)
		if saved := k.save(h); strings.Contains(saved, ownPrefix) {
			t.Errorf("left:\n%s", saved)
		}
	})
}

// The jump to MYBR-FORWARD is behind Docker's, wherever the one to MYBR-FORWARD-DROP was:
// Docker puts its own in front again, or mybr's was moved.
func TestForwardBehindDockerWhereDropWasInFront(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		k.Do(h, "-A FORWARD -j LOG")
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		p.DefaultDrop = firewall.Families{V4: true, V6: true}
		firewalltest.Apply(t, b, nil, p)
		k.Docker2010(h)
		k.Do(h, `
			-F FORWARD
			-A FORWARD -j MYBR-FORWARD-DROP
			-A FORWARD -j DOCKER-USER
			-A FORWARD -j DOCKER-ISOLATION-STAGE-1
			-A FORWARD -o docker0 -j DOCKER`)
		firewalltest.Apply(t, b, nil, p)
		want := []string{"-j DOCKER-USER", "-j DOCKER-ISOLATION-STAGE-1", "-j MYBR-FORWARD", "-o docker0 -j DOCKER", "-j MYBR-FORWARD-DROP"}
		if got := k.rules(h, "filter", "FORWARD"); !slices.Equal(got, want) {
			t.Errorf("FORWARD is %q", got)
		}
		if got := k.planned(t, b, nil, p); got != nil {
			t.Errorf("still to be done: %q", got)
		}
	})
}

// The chain had another name once. At no moment of the change is there no drop.
func TestDropUnderItsFormerName(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		b := k.backend(t)
		p := firewalltest.TwoNetworks()
		p.DefaultDrop = firewall.Families{V4: true, V6: true}
		firewalltest.Apply(t, b, nil, p)
		missing := k.watch(h, func(save string) bool {
			return strings.Contains(save, "-A FORWARD -j MYBR-CLOSED") && strings.Contains(save, "-A MYBR-CLOSED -j DROP") ||
				strings.Contains(save, "-A FORWARD -j MYBR-FORWARD-DROP") && strings.Contains(save, "-A MYBR-FORWARD-DROP -j DROP")
		})
		for range 10 {
			k.Do(h, `
				-N MYBR-CLOSED
				-A MYBR-CLOSED -j DROP
				-A FORWARD -j MYBR-CLOSED
				-D FORWARD -j MYBR-FORWARD-DROP
				-F MYBR-FORWARD-DROP
				-X MYBR-FORWARD-DROP`)
			steps, err := b.Plan(t.Context(), nil, p)
			if err != nil || len(steps) != 1 {
				t.Fatalf("%d steps: %v", len(steps), err)
			}
			if err := steps.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if save := k.save(h); strings.Contains(save, "MYBR-CLOSED") || !strings.Contains(save, "-A FORWARD -j MYBR-FORWARD-DROP") {
				t.Fatalf("left:\n%s", save)
			}
		}
		if save := missing(); save != "" {
			t.Errorf("nothing drops at the end:\n%s", save)
		}
	})
}

// Where it can't be told whether mybr has the host forward, the rule stays if it is there,
// and is not made.
func TestDefaultDropInDoubt(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		chosen := firewall.Families{V4: k.Family == model.IPv4, V6: k.Family == model.IPv6}
		there := func() bool { return slices.Contains(k.rules(h, "filter", "FORWARD"), "-j "+chainForwardDrop) }
		doubt, dropping := firewalltest.TwoNetworks(), firewalltest.TwoNetworks()
		doubt.DropInDoubt, dropping.DefaultDrop = chosen, chosen
		firewalltest.Apply(t, k.backend(t), nil, doubt)
		if there() {
			t.Error("the rule is made in doubt")
		}
		firewalltest.Apply(t, k.backend(t), nil, dropping)
		b := k.backend(t)
		firewalltest.Apply(t, b, nil, doubt)
		less := doubt
		less.Networks, less.Ports = doubt.Networks[:1], nil
		firewalltest.Apply(t, b, &doubt, less)
		if !there() {
			t.Error("the rule goes in doubt")
		}
		firewalltest.Apply(t, b, &less, firewall.Policy{DropInDoubt: chosen})
		if !there() {
			t.Error("the rule goes in doubt, with the last network")
		}
		firewalltest.Apply(t, b, &firewall.Policy{DropInDoubt: chosen}, firewall.Policy{})
		if there() {
			t.Error("the rule stays without doubt")
		}
	})
}
