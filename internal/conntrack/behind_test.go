package conntrack

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/model"
)

// What went is looked for later, unless it is in the way of what comes.
func TestBehind(t *testing.T) {
	a, b := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("172.18.0.3")
	v6 := netip.MustParseAddr("fd00::2")
	one, two := Endpoint{ID: "1", V4: a}, Endpoint{ID: "2", V4: b}
	dns := udp("0.0.0.0:53 172.18.0.2:53", 1)
	web := dns
	web.Proto = model.TCP
	relayed := udp("[::]:53 172.18.0.2:53", 1)
	for name, c := range map[string]struct {
		have, want Set
		gone       []model.PortBinding
		left       []netip.Addr
		now        bool
	}{
		"nothing":                          {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{one, two}}},
		"a container":                      {have: Set{Endpoints: []Endpoint{one, two}}, want: Set{Endpoints: []Endpoint{two}}, left: []netip.Addr{a}},
		"an address":                       {have: Set{Endpoints: []Endpoint{{ID: "1", V4: a, V6: v6}}}, want: Set{Endpoints: []Endpoint{one}}, left: []netip.Addr{v6}},
		"another container":                {have: Set{Endpoints: []Endpoint{two}, Left: []netip.Addr{a}}, want: Set{}, left: []netip.Addr{a, b}},
		"an address that is another's now": {have: Set{Endpoints: []Endpoint{one}}, want: Set{Endpoints: []Endpoint{{ID: "3", V4: a}}}, now: true},
		"one that was put off":             {have: Set{Left: []netip.Addr{a}}, want: Set{Endpoints: []Endpoint{{ID: "3", V4: a}}}, now: true},
		"a UDP port":                       {have: Set{Bindings: ports(dns)}, want: Set{}, gone: ports(dns)},
		"a TCP port":                       {have: Set{Bindings: ports(web)}, want: Set{}},
		"a port that is back":              {have: Set{Gone: ports(dns)}, want: Set{Bindings: ports(dns)}, now: true},
		"a port comes":                     {have: Set{Left: []netip.Addr{a}}, want: Set{Bindings: ports(web)}, now: true},
		"a port that is relayed comes":     {have: Set{Left: []netip.Addr{a}}, want: Set{Bindings: ports(relayed)}, left: []netip.Addr{a}},
		"the network":                      {have: Set{Endpoints: []Endpoint{one}, Subnets: []Subnet{{Prefix: netip.MustParsePrefix("172.18.0.0/16")}}}, want: Set{}, now: true},
		"the network, later":               {have: Set{Left: []netip.Addr{a}, Subnets: []Subnet{{Prefix: netip.MustParsePrefix("172.18.0.0/16")}}}, want: Set{}, now: true},
		"rules may have been missing":      {have: Set{Endpoints: []Endpoint{one}, Unsure: true}, want: Set{}, now: true},
	} {
		first := Behind(c.have, c.want)
		if !slices.Equal(first.Gone, c.gone) || !slices.Equal(first.Left, c.left) {
			t.Errorf("%s: put off %v and %v, want %v and %v", name, first.Gone, first.Left, c.gone, c.left)
		}
		if now := first.Equal(c.want); now != (len(c.gone)+len(c.left) == 0) {
			t.Errorf("%s: all is done at once: %t", name, now)
		}
		then := difference(&first, c.want)
		if !c.now && (!slices.Equal(then.gone, c.gone) || !slices.Equal(then.left, c.left)) {
			t.Errorf("%s: later %v and %v are looked for", name, then.gone, then.left)
		}
		if len(c.gone)+len(c.left) == 0 {
			continue
		}
		// Where the kernel were asked, this would fail without a network namespace of its own.
		if p, err := new(Applier).Plan(context.Background(), &c.have, first); err != nil || len(p) > 0 {
			t.Errorf("%s: at once: %v %v", name, p, err)
		}
	}
}

// An endpoint that keeps its address keeps its flows, whatever else was known of it.
func TestAddressThatStays(t *testing.T) {
	a, v6 := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd00::2")
	now := Endpoint{ID: "1", V4: a, V6: v6}
	have := Set{Endpoints: []Endpoint{{ID: "1", V4: a}, now, {ID: "2", V4: netip.MustParseAddr("172.18.0.9")}}}
	c := difference(&have, Set{Endpoints: []Endpoint{now}})
	if len(c.left) != 1 || c.left[0] != netip.MustParseAddr("172.18.0.9") {
		t.Errorf("looked for are flows of %v", c.left)
	}
}
