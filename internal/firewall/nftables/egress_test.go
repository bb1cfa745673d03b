package nftables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
)

// sharing is a policy of a network with so many containers that share a list of so many entries
// beside a container that has another one.
func sharing(containers, entries int) (p firewall.Policy) {
	n := firewalltest.Network("br0", "10.0.0.0/16")
	n.Listed = true
	p.Networks = append(p.Networks, n)
	words := make([]string, entries)
	for i := range words {
		words[i] = fmt.Sprintf("192.0.%d.%d:443/tcp", i/250, i%250)
	}
	to := egress.Recorded(strings.Join(words, ","), nil)
	p.Egress = append(p.Egress, firewall.Egress{Bridge: n.Bridge, Link: n.Bridge, To: egress.Nothing})
	for i := range containers {
		p.Egress = append(p.Egress, firewall.Egress{Bridge: n.Bridge, Link: fmt.Sprint("veth", i), Addr: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), To: to})
	}
	return p
}

// A list is read a few times for a change, however many containers have it: what another
// container costs does not hang on the length of its list.
func TestSharedListsAreReadOnce(t *testing.T) {
	const entries = 1000
	few, many := sharing(2, entries), sharing(200, entries)
	whole := func(p firewall.Policy) float64 {
		return testing.AllocsPerRun(1, func() {
			if all := ipv4().render(p, true, nil); len(all.sets) == 0 {
				t.Fatal(all)
			}
		})
	}
	if more := whole(many) - whole(few); more > 20*198 {
		t.Errorf("198 containers more that share a list of %d entries cost %.0f allocations more", entries, more)
	}
	less := many
	less.Egress = many.Egress[:len(many.Egress)-1]
	one := testing.AllocsPerRun(1, func() { ipv4().allowanceOf(many.Egress[1].To) })
	for _, step := range [][2]firewall.Policy{{less, many}, {many, less}} {
		got := testing.AllocsPerRun(1, func() {
			gone, came := differing(step[0], step[1])
			c := ipv4().difference(ipv4().sets(gone, nil), ipv4().sets(came, nil))
			c.turnLists(ipv4(), step[0], step[1], gone, came)
			if len(c.text) != 1 || len(c.made.chains)+len(c.gone.chains) != 0 {
				t.Fatal(c.text)
			}
		})
		if got > one+500 {
			t.Errorf("a container with a shared list of %d entries costs %.0f allocations, and to read the list %.0f", entries, got, one)
		}
	}
	// A list that nobody else has comes and goes with its container.
	with := less
	with.Egress = append(less.Egress[:len(less.Egress):len(less.Egress)], firewall.Egress{Bridge: "br0", Link: "veth", Addr: netip.MustParseAddr("10.0.2.1"), To: "192.0.2.1"})
	gone, came := differing(less, with)
	var c change
	c.turnLists(ipv4(), less, with, gone, came)
	if len(c.made.chains) != 2 || len(c.made.sets) != 1 || len(c.gone.chains) != 0 {
		t.Errorf("with a list of its own comes %q", c.text)
	}
}
