package iptables

import (
	"fmt"
	"testing"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

// One grant more is a rule more in either table, however many there are; a container's first one
// comes with its chains.
func TestOneMoreGrant(t *testing.T) {
	for _, containers := range []int{2, 500} {
		have, want := firewalltest.Granted(containers, 8)
		if err := want.Validate(); err != nil {
			t.Fatal(err)
		}
		h, w := ipv4().differing(have, want, facts{})
		if c := difference(nil, h, w); len(c.text) != 2 {
			t.Errorf("%d containers: %q", containers, c.text)
		}
		first := have
		first.Grants = have.Grants[:len(have.Grants)-8]
		h, w = ipv4().differing(first, have, facts{})
		if c := difference(nil, h, w); len(c.text) > 60 { // two chains of nine rules, what leads there, and a level of the index that is split
			t.Errorf("%d containers: %d changes for the first of one: %q", containers, len(c.text), c.text)
		}
	}
}

// What a packet meets that begins a flow does not hang on how many containers have been granted
// something.
func TestRulesBesideGrants(t *testing.T) {
	for _, containers := range []int{1, 50, 500} {
		have, _ := firewalltest.Granted(containers, 8)
		rules := ipv4().render(have, facts{})
		to := have.Grants[len(have.Grants)-1]
		of := probe{in: "br0", out: "eth0", src: to.Addr, dst: to.To, chosen: to.To, chosenTo: 22, port: 22, proto: "tcp", state: "NEW"}
		led := walk{chains: ruleTable(rules[1], nil, nil), probe: of}
		through := walk{chains: ruleTable(rules[0], nil, nil), probe: of}
		if verdict := led.through(chainLed) + through.through(chainListed); verdict != "" {
			t.Fatalf("%d containers: what was granted is %q", containers, verdict)
		}
		if t.Logf("%d containers: %d rules where it is led, %d where it passes", containers, led.met, through.met); led.met > 90 || through.met > 90 {
			t.Errorf("%d containers: a packet meets %d rules, and %d", containers, led.met, through.met)
		}
	}
}

// What it costs to open a way, or to close it, with the command and the kernel: one more of a
// container that has some, and the first of one, which comes with its chains.
func BenchmarkGrant(b *testing.B) {
	for _, beside := range []string{"alone", "docker"} {
		for _, containers := range []int{1, 100, 1000} {
			more, most := firewalltest.Granted(containers, 8)
			none := more
			none.Grants = more.Grants[:len(more.Grants)-8]
			for name, between := range map[string][2]firewall.Policy{"more": {more, most}, "first": {none, more}} {
				b.Run(fmt.Sprintf("%s/%s/%dx8", beside, name, containers), func(b *testing.B) {
					h := nettest.New(b)
					if beside == "docker" {
						firewalltest.Stand{IP: model.IPv4}.Docker285(h)
					}
					backend, err := New(firewall.Config{})
					if err != nil {
						b.Fatal(err)
					}
					firewalltest.BenchBetween(b, backend, between[0], between[1])
				})
			}
		}
	}
}
