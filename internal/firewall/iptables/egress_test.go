package iptables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewall/firewalltest"
)

// A list is read a few times for a change, however many containers have it: what another
// container costs does not hang on the length of its list.
func TestSharedListsAreReadOnce(t *testing.T) {
	cost := func(containers, entries int) float64 {
		n := firewalltest.Network("br0", "10.0.0.0/16")
		n.Listed = true
		p := firewall.Policy{Networks: []firewall.Network{n}, Egress: []firewall.Egress{{Bridge: n.Bridge, Link: n.Bridge, To: egress.Nothing}}}
		words := make([]string, entries)
		for i := range words {
			words[i] = fmt.Sprintf("192.0.%d.%d:443/tcp", i/250, i%250)
		}
		to := egress.Recorded(strings.Join(words, ","), nil)
		for i := range containers {
			p.Egress = append(p.Egress, firewall.Egress{Bridge: n.Bridge, Link: fmt.Sprint("veth", i), Addr: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), To: to})
		}
		less := p
		less.Egress = p.Egress[:containers]
		return testing.AllocsPerRun(1, func() {
			have, want := ipv4().differing(less, p, facts{})
			if c := difference(nil, have, want); len(c.text) == 0 {
				t.Fatal("a container makes no difference")
			}
		})
	}
	long, short := cost(200, 1000)-cost(100, 1000), cost(200, 2)-cost(100, 2)
	if long > 2*short {
		t.Errorf("100 containers more cost %.0f allocations with a list of 1000 entries, and %.0f with one of 2", long, short)
	}
}
