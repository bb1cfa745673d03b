package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// Where containers of a network are not led to each other's published ports any more, flows that
// were end, and no others. A network that has only just come has no such flows.
func TestApart(t *testing.T) {
	ap, own := netip.MustParseAddrPort, netip.MustParsePrefix("172.18.0.0/16")
	subnets := []Subnet{{Prefix: own}}
	want := Set{Subnets: subnets, Relayed: []netip.Prefix{own}}
	for what, c := range map[string]struct {
		have *Set
		n    int
	}{
		"kept apart now": {&Set{Subnets: subnets}, 1}, "nothing known": {nil, 1}, "unsure": {&Set{Subnets: subnets, Relayed: want.Relayed, Unsure: true}, 1},
		"as before": {&want, 0}, "a new network": {&Set{}, 0},
	} {
		of := difference(c.have, want)
		if len(of.apart) != c.n || c.n > 0 && of.canWait(c.have, want) {
			t.Errorf("%s: %v is looked for, and may wait: %t", what, of.apart, of.canWait(c.have, want))
		}
	}
	closed := Set{Subnets: []Subnet{{Prefix: own, Apart: true}}, Relayed: want.Relayed}
	for what, c := range map[string]struct {
		have Set
		n    int
	}{
		"kept apart now": {want, 1}, "as before": {closed, 0}, "a new network": {Set{}, 0}, "unsure": {Set{Subnets: closed.Subnets, Unsure: true}, 1},
	} {
		of := difference(&c.have, closed)
		if len(of.subnets) != c.n || c.n > 0 && of.canWait(&c.have, closed) {
			t.Errorf("through the host, %s: %v is looked for, and may wait: %t", what, of.subnets, of.canWait(&c.have, closed))
		}
	}
	c := difference(&Set{Subnets: subnets}, want)
	f := c.filter(model.IPv4)
	if f.empty() {
		t.Fatal("nothing is looked for")
	}
	f.local = map[netip.Addr]bool{netip.MustParseAddr("172.18.0.1"): true}
	for _, flow := range []struct {
		what                 string
		from, asked, answers string
		stale                bool
	}{
		{"a neighbour's published port", "172.18.0.2:4000", "198.51.100.1:8080", "172.18.0.3:80", true},
		{"its own", "172.18.0.2:4000", "198.51.100.1:8080", "172.18.0.2:80", true},
		{"a neighbour", "172.18.0.2:4000", "172.18.0.3:80", "172.18.0.3:80", false},
		{"a client from outside", "192.0.2.9:4000", "198.51.100.1:8080", "172.18.0.3:80", false},
		{"another network's port", "172.18.0.2:4000", "198.51.100.1:8081", "172.19.0.3:80", false},
		{"mybr's process, which serves a host by its name", "172.18.0.2:4000", "198.51.100.1:443", "172.18.0.1:61443", false},
	} {
		if got := f.stale(flowOf(model.TCP, ap(flow.from), ap(flow.asked), ap(flow.answers))); got != flow.stale {
			t.Errorf("%s: stale %t", flow.what, got)
		}
	}
}
