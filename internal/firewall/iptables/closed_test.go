package iptables

import (
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/nettest"
)

// Where mybr has the host forward, the last rule of FORWARD drops what no other accepts,
// whoever else adds rules, and as long as that is so: with networks or without.
func TestClosed(t *testing.T) {
	eachKind(t, func(t *testing.T, h *nettest.Host, k kind) {
		const jump = "-j " + chainClosed
		ends := func(when string, want bool) {
			t.Helper()
			rules := k.rules(h, "filter", "FORWARD")
			if at := slices.Index(rules, jump); (at >= 0) != want || want && at != len(rules)-1 {
				t.Errorf("%s: FORWARD is %q", when, rules)
			}
			if drops := k.rules(h, "filter", chainClosed); want != slices.Equal(drops, []string{"-j DROP"}) {
				t.Errorf("%s: %s is %q", when, chainClosed, drops)
			}
		}
		b := k.backend(t)
		open, closed := twoNetworks(), twoNetworks()
		closed.Closed = firewall.Families{V4: k.name4(), V6: !k.name4()}
		apply(t, b, nil, open)
		ends("open", false)
		apply(t, b, &open, closed)
		ends("closed", true)
		one := closed
		one.Networks, one.Ports = closed.Networks[:1], nil
		apply(t, b, &closed, one)
		ends("a network less", true)
		k.do(h, "-A FORWARD -i wg0 -j ACCEPT")
		for range 2 {
			apply(t, b, nil, one)
			ends("somebody adds a rule", true)
		}
		rules := k.rules(h, "filter", "FORWARD")
		if slices.Index(rules, "-j "+chainForward) > slices.Index(rules, "-i wg0 -j ACCEPT") {
			t.Errorf("FORWARD is %q", rules)
		}
		none := firewall.Policy{Closed: closed.Closed}
		apply(t, b, &one, none)
		ends("without networks", true)
		if saved := k.save(h); strings.Contains(saved, chainForward) || strings.Contains(saved, chainPorts) {
			t.Errorf("without networks:\n%s", saved)
		}
		apply(t, b, &none, closed)
		ends("networks again", true)
		apply(t, b, &closed, firewall.Policy{})
		ends("open again, and no networks", false)
		if saved := k.save(h); strings.Contains(saved, ownPrefix) {
			t.Errorf("left:\n%s", saved)
		}
	})
}

// name4 reports whether the test is about IPv4.
func (k kind) name4() bool { return k.family.name == ipv4().name }
