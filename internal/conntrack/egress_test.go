package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// An egress list that comes ends flows that a container has begun through the host and may not
// begin any more, and no others.
func TestPastList(t *testing.T) {
	ap, addr := netip.MustParseAddrPort, netip.MustParseAddr
	e := Egress{ID: "e", Addr: addr("172.18.0.2"), Own: netip.MustParsePrefix("172.18.0.0/16"), To: "192.0.2.0/24:443/tcp,host:8080"}
	there := []Endpoint{{ID: "e", V4: e.Addr}}
	c := difference(&Set{Endpoints: there}, Set{Endpoints: there, Egress: []Egress{e}})
	for what, have := range map[string]*Set{"the same list": {Endpoints: there, Egress: []Egress{e}}, "a new endpoint": {}} {
		if again := difference(have, Set{Endpoints: there, Egress: []Egress{e}}); len(again.egress) > 0 {
			t.Errorf("%s: %v is looked for", what, again.egress)
		}
	}
	for what, have := range map[string]*Set{"nothing known": nil, "unsure": {Endpoints: there, Egress: []Egress{e}, Unsure: true}} {
		if all := difference(have, Set{Endpoints: there, Egress: []Egress{e}}); len(all.egress) != 1 || all.canWait(have, Set{}) {
			t.Errorf("%s: nothing is looked for", what)
		}
	}
	f := c.filter(model.IPv4)
	f.local = map[netip.Addr]bool{addr("198.51.100.1"): true, addr("172.18.0.1"): true}
	for _, flow := range []struct {
		what                 string
		proto                model.Proto
		from, asked, answers string
		stale                bool
	}{
		{"what is allowed", model.TCP, "172.18.0.2:4000", "192.0.2.9:443", "192.0.2.9:443", false},
		{"another port", model.TCP, "172.18.0.2:4000", "192.0.2.9:80", "192.0.2.9:80", true},
		{"another address", model.TCP, "172.18.0.2:4000", "203.0.113.9:443", "203.0.113.9:443", true},
		{"another protocol", 47, "172.18.0.2:0", "192.0.2.9:0", "192.0.2.9:0", true},
		{"a published port that is allowed", model.TCP, "172.18.0.2:4000", "198.51.100.1:8080", "172.19.0.2:80", false},
		{"one that is not", model.TCP, "172.18.0.2:4000", "198.51.100.1:8081", "172.19.0.2:80", true},
		{"a neighbour's", model.TCP, "172.18.0.2:4000", "198.51.100.1:8081", "172.18.0.3:80", false},
		{"the host itself", model.TCP, "172.18.0.2:4000", "198.51.100.1:22", "198.51.100.1:22", false},
		{"a client", model.TCP, "203.0.113.9:4000", "198.51.100.1:8080", "172.18.0.2:80", false},
		{"a neighbour", model.TCP, "172.18.0.3:4000", "203.0.113.9:443", "203.0.113.9:443", false},
	} {
		if got := f.stale(flowOf(flow.proto, ap(flow.from), ap(flow.asked), ap(flow.answers))); got != flow.stale {
			t.Errorf("%s: stale %t", flow.what, got)
		}
	}
	if all := (Egress{ID: "e", Addr: e.Addr, To: egress.Allowed("")}); len(leavingOf(model.IPv4, []Egress{all}, nil)) > 0 || len(leavingOf(model.IPv6, []Egress{e}, nil)) > 0 {
		t.Error("who may begin everything, or has no address of the family, is looked for")
	}
}
