package firewall_test

import (
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/plan"
)

// What can't be rendered is refused by an error that names what and which value.
func TestValidate(t *testing.T) {
	n, apart := network("br0", "172.18.0.0/16"), network("br1", "172.19.0.0/16")
	networks := func(change func(*firewall.Network)) firewall.Policy {
		n := network("br0", "172.18.0.0/16")
		change(&n)
		return firewall.Policy{Networks: []firewall.Network{n}}
	}
	name := func(bridge string) firewall.Policy {
		return networks(func(n *firewall.Network) { n.Bridge = bridge })
	}
	ports := func(n firewall.Network, spec string, count uint16) firewall.Policy {
		return firewall.Policy{Networks: networks(func(*firewall.Network) {}).Networks, Ports: []firewall.Port{port(n.Bridge, spec, count)}}
	}
	openings := func(o firewall.Opening, change func(*firewall.Network)) firewall.Policy {
		p := networks(func(n *firewall.Network) { n.V4.Direct = firewall.DirectOpenings; change(n) })
		p.Openings = []firewall.Opening{o}
		return p
	}
	same := func(*firewall.Network) {}
	names := func(to egress.Allowed) firewall.Policy {
		p := networks(func(n *firewall.Network) { n.Listed, n.Names = true, true })
		p.Egress = []firewall.Egress{{Bridge: "br0", Link: "br0", To: to, Names: true}}
		return p
	}
	for _, c := range []struct {
		says string
		p    firewall.Policy
	}{
		{`bridge "br+"`, name("br+")},
		{`bridge "a b"`, name("a b")},
		{`bridge "!br0"`, name("!br0")},
		{`bridge "a\nCOMMIT"`, name("a\nCOMMIT")},
		{`bridge "a123456789012345"`, name("a123456789012345")},
		{"br0: conflict", firewall.Policy{Networks: []firewall.Network{n, n}}},
		{"subnet 2001:db8::/64: invalid IPv4", networks(func(n *firewall.Network) { n.V4.Prefix = netip.MustParsePrefix("2001:db8::/64") })},
		{"subnet 172.18.0.0/16: invalid IPv6", networks(func(n *firewall.Network) { n.V6.Prefix = n.V4.Prefix })},
		{"subnet ::ffff:10.0.0.0/104: invalid IPv6", networks(func(n *firewall.Network) { n.V6.Prefix = netip.MustParsePrefix("::ffff:10.0.0.0/104") })},
		{"subnet 172.18.0.1/16: invalid", networks(func(n *firewall.Network) { n.V4.Prefix = netip.MustParsePrefix("172.18.0.1/16") })},
		{`input "no-advertisements" in IPv4: invalid`, networks(func(n *firewall.Network) { n.V4.Input = firewall.InputNoAdvertisements })},
		{`input "some" in IPv6: invalid`, networks(func(n *firewall.Network) { n.V6.Input = "some" })},
		{"source address 2001:db8::1: invalid IPv4", networks(func(n *firewall.Network) { n.V4.SNAT = netip.MustParseAddr("2001:db8::1") })},
		{"source address 192.0.2.1: invalid IPv6", networks(func(n *firewall.Network) { n.V6.SNAT = netip.MustParseAddr("192.0.2.1") })},
		{"source address ::: invalid IPv6", networks(func(n *firewall.Network) { n.V6.SNAT = netip.IPv6Unspecified() })},
		{`direct access "some" in IPv6: invalid`, networks(func(n *firewall.Network) { n.V6.Direct = "some" })},
		{`no network has the bridge "br1"`, ports(apart, "tcp 0.0.0.0:80 172.18.0.2:80", 1)},
		{"[::]:80", ports(n, "tcp [::]:80 172.18.0.2:80", 1)},
		{"0.0.0.0:80", ports(n, "tcp 0.0.0.0:80 [fd00::2]:80", 1)},
		{"loopback", ports(n, "tcp 127.0.0.1:80 172.18.0.2:80", 1)},
		{"loopback", ports(n, "tcp [::1]:80 [fd00::2]:80", 1)},
		{"1 to 65535", ports(n, "tcp 0.0.0.0:0 172.18.0.2:80", 1)},
		{"1 to 65535", ports(n, "tcp 0.0.0.0:80 172.18.0.2:65535", 2)},
		{"no ports that can be published", ports(n, "icmp 0.0.0.0:80 172.18.0.2:80", 1)},
		{"accept mark 0x5/0x3: invalid", firewall.Policy{Accept: firewall.Mark{Value: 5, Mask: 3}}},
		{"accept mark 0x1/0x0: invalid", firewall.Policy{Accept: firewall.Mark{Value: 1}}},
		{`opening 172.19.0.2: invalid: no network has the bridge "br1"`, openings(opening("br1", "tcp 172.19.0.2", 80, 1, ""), same)},
		{"opening 172.18.0.2: invalid: the network id-br0 takes none", openings(opening("br0", "tcp 172.18.0.2", 80, 1, ""), func(n *firewall.Network) { n.V4.Direct = firewall.DirectNone })},
		{"takes none", openings(opening("br0", "tcp 172.18.0.2", 80, 1, ""), func(n *firewall.Network) { n.V4.Direct = firewall.DirectAll })},
		{"takes none", openings(opening("br0", "tcp 172.18.0.2", 80, 1, ""), func(n *firewall.Network) { n.Internal = true })},
		{"opening 172.18.0.2: invalid: the network's subnet is 172.20.0.0/16", openings(opening("br0", "tcp 172.18.0.2", 80, 1, ""), func(n *firewall.Network) { n.V4.Prefix = netip.MustParsePrefix("172.20.0.0/16") })},
		{"subnet is off", openings(opening("br0", "tcp 172.18.0.2", 80, 1, ""), func(n *firewall.Network) { n.V4.Prefix = netip.Prefix{} })},
		{"ports 65535, 2 of them: invalid", openings(opening("br0", "tcp 172.18.0.2", 65535, 2, ""), same)},
		{"ports 0, 1 of them: invalid", openings(opening("br0", "tcp 172.18.0.2", 0, 1, ""), same)},
		{`from interface "eth+": invalid`, openings(opening("br0", "tcp 172.18.0.2", 80, 1, "eth+"), same)},
		{"no ports that can be published", openings(opening("br0", "icmp 172.18.0.2", 80, 1, ""), same)},
		{"egress list of br0: invalid: everything is allowed, and there are names", names("")},
		{"egress list of br0: invalid: it is only watched, and there are names", names(egress.Nothing.Audited())},
	} {
		if err := c.p.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v instead of %q", err, c.says)
		}
	}
}

// two is a policy of two networks, each with a port and an opening of one endpoint.
func two() firewall.Policy {
	a, b := network("br0", "172.18.0.0/16"), network("br1", "172.19.0.0/16")
	a.V4.Direct, b.V4.Direct = firewall.DirectOpenings, firewall.DirectRouted
	a.V4.Input, a.V6.Input = firewall.InputNone, firewall.InputNoAdvertisements
	return firewall.Policy{
		Networks:    []firewall.Network{a, b},
		Ports:       []firewall.Port{port("br0", "tcp 0.0.0.0:80 172.18.0.2:80", 1), port("br1", "udp 0.0.0.0:53 172.19.0.2:53", 1)},
		Openings:    []firewall.Opening{opening("br0", "tcp 172.18.0.2", 80, 1, "eth0"), opening("br1", "tcp 172.19.0.2", 80, 1, "")},
		DefaultDrop: firewall.Families{V6: true},
	}
}

// An error of a network, a port or an opening names its link, and no other part's.
func TestValidateBlames(t *testing.T) {
	if err := two().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change  func(*firewall.Policy)
		subject string
		kind    error
	}{
		{func(p *firewall.Policy) { p.Networks[1].V4.Direct = "some" }, "br1", model.ErrInvalid},
		{func(p *firewall.Policy) { p.Ports[1].Count = 0 }, "veth-br1", model.ErrInvalid},
		{func(p *firewall.Policy) { p.Openings[0].Count = 0 }, "veth-br0", model.ErrInvalid},
		{func(p *firewall.Policy) { p.Networks = append(p.Networks, p.Networks[0]) }, "br0", model.ErrConflict},
	} {
		p := two()
		c.change(&p)
		subjects, rest := plan.Blame(p.Validate())
		if rest != nil || len(subjects) != 1 || subjects[0].Subject != c.subject || !errors.Is(subjects[0], c.kind) {
			t.Errorf("%v and %v, want one of %s, %v", subjects, rest, c.subject, c.kind)
		}
	}
	p := two()
	p.Accept = firewall.Mark{Value: 1}
	if subjects, rest := plan.Blame(p.Validate()); subjects != nil || !errors.Is(rest, model.ErrInvalid) {
		t.Errorf("the mark is of no single subject: %v, %v", subjects, rest)
	}
}

// A network is its bridge's, a port and an opening are the endpoint's.
func TestSubjects(t *testing.T) {
	p := two()
	all := p.Subjects()
	if got, want := slices.Sorted(maps.Keys(all)), []string{"", "br0", "br1", "veth-br0", "veth-br1"}; !slices.Equal(got, want) {
		t.Fatalf("subjects %q, want %q", got, want)
	}
	q := two()
	q.Networks[1].ICC = false
	q.Ports[0].Host = netip.MustParseAddrPort("0.0.0.0:81")
	var changed []string
	for subject, part := range q.Subjects() {
		if !reflect.DeepEqual(part, all[subject]) {
			changed = append(changed, subject)
		}
	}
	if slices.Sort(changed); !slices.Equal(changed, []string{"br1", "veth-br0"}) {
		t.Errorf("changed: %q", changed)
	}
	if got := (firewall.Policy{}).Subjects(); len(got) != 0 {
		t.Errorf("an empty policy has %v", got)
	}
}

func TestOnly(t *testing.T) {
	p := two()
	all := p.Only(func(string) bool { return true })
	if !reflect.DeepEqual(all, p) {
		t.Errorf("all of it is %+v", all)
	}
	for gone, want := range map[string]struct{ networks, ports, openings int }{
		"br0": {1, 1, 1}, "veth-br0": {2, 1, 1}, "": {2, 2, 2}, "br9": {2, 2, 2},
	} {
		got := p.Only(func(subject string) bool { return subject != gone })
		if len(got.Networks) != want.networks || len(got.Ports) != want.ports || len(got.Openings) != want.openings || got.DefaultDrop != p.DefaultDrop {
			t.Errorf("without %q: %+v", gone, got)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// Neither the endpoint's link nor the network's ID matters to the rules.
func TestEqual(t *testing.T) {
	for what, change := range map[string]func(*firewall.Policy){
		"link of a port":     func(p *firewall.Policy) { p.Ports[0].Link = "veth9" },
		"link of an opening": func(p *firewall.Policy) { p.Openings[0].Link = "veth9" },
		"network's ID":       func(p *firewall.Policy) { p.Networks[0].ID = "other" },
	} {
		p := two()
		if change(&p); !p.Equal(two()) || reflect.DeepEqual(p, two()) {
			t.Errorf("%s is taken for a change", what)
		}
	}
	for what, change := range map[string]func(*firewall.Policy){
		"mark":    func(p *firewall.Policy) { p.Accept.Mask = 1 },
		"drop":    func(p *firewall.Policy) { p.DefaultDrop.V4 = true },
		"network": func(p *firewall.Policy) { p.Networks[0].V6.Input = firewall.InputNone },
		"port":    func(p *firewall.Policy) { p.Ports[1].Bridge = "br0" },
		"opening": func(p *firewall.Policy) { p.Openings = p.Openings[:1] },
	} {
		p := two()
		if change(&p); p.Equal(two()) {
			t.Errorf("%s is taken for none", what)
		}
	}
}

// What a network lets pass follows from its family's prefix, from Internal and Direct.
func TestPredicates(t *testing.T) {
	for _, c := range []struct {
		direct                                 firewall.Direct
		openings, unprotected, keepsBridgesOut bool
	}{
		{firewall.DirectNone, false, false, false},
		{firewall.DirectOpenings, true, false, true},
		{firewall.DirectRouted, true, false, false},
		{firewall.DirectAll, false, true, true},
	} {
		n := network("br0", "172.18.0.0/16")
		n.V4.Direct, n.V6.Direct = c.direct, c.direct
		if !n.Forwards(model.IPv4) || n.TakesOpenings(model.IPv4) != c.openings || n.Unprotected(model.IPv4) != c.unprotected || n.KeepsBridgesOut(model.IPv4) != c.keepsBridgesOut {
			t.Errorf("%q: %t %t %t %t", c.direct, n.Forwards(model.IPv4), n.TakesOpenings(model.IPv4), n.Unprotected(model.IPv4), n.KeepsBridgesOut(model.IPv4))
		}
		internal := n
		internal.Internal = true
		for f, n := range map[model.Family]firewall.Network{model.IPv4: internal, model.IPv6: n} { // IPv6 has no prefix
			if n.Forwards(f) || n.TakesOpenings(f) || n.Unprotected(f) || n.KeepsBridgesOut(f) {
				t.Errorf("%q: nothing passes, but something may in %s", c.direct, f)
			}
		}
	}
	if f := (firewall.Families{V6: true}); f.Has(model.IPv4) || !f.Has(model.IPv6) {
		t.Error("IPv6 alone is chosen")
	}
}
