package byname

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/egress/hosts"
)

// What a list has of a name, and at which ports.
func TestListed(t *testing.T) {
	l := newList(egress.RecordedNames("example.com,*.example.org:8443,*.deep.example.org,udp.test/udp,tcp.test/tcp,many.test:400-500,ping.test/icmp", nil))
	for _, c := range []struct {
		name  string
		ports []uint16 // of those below
		known bool
	}{
		{"example.com", []uint16{80, 443}, true},
		{"www.example.com", nil, false},
		{"xexample.com", nil, false},
		{"com", nil, false},
		{"example.org", nil, false},
		{"a.example.org", []uint16{8443}, true},
		{"a.b.example.org", []uint16{8443}, true},
		{"deep.example.org", []uint16{8443}, true},
		{"a.deep.example.org", []uint16{80, 443, 8443}, true},
		{"udp.test", nil, true},
		{"tcp.test", []uint16{80, 443}, true},
		{"many.test", []uint16{400, 443, 500}, true},
		{"ping.test", nil, true},
		{"", nil, false},
	} {
		if got := l.has(c.name, 0); got != c.known {
			t.Errorf("%q is listed: %t, want %t", c.name, got, c.known)
		}
		var ports []uint16
		for _, port := range []uint16{79, 80, 81, 399, 400, 443, 500, 501, 8443} {
			if l.has(c.name, port) {
				ports = append(ports, port)
			}
		}
		if !slices.Equal(ports, c.ports) {
			t.Errorf("%q is carried at %v, want %v", c.name, ports, c.ports)
		}
	}
}

// Who asks gets what the list has that was said last, whatever was said before; and what is kept
// is what is used.
func TestChangesAreTheWhole(t *testing.T) {
	lists := []egress.Named{"example.com", "*.example.com", "example.org:22"}
	drawSet := func(t *rapid.T) (s Set) {
		for id := range 4 {
			if !rapid.Bool().Draw(t, "there") {
				continue
			}
			c := Client{Endpoint: fmt.Sprint("e", id), Names: rapid.SampledFrom(lists).Draw(t, "list")}
			// An address can become another endpoint's at once.
			c.V4 = netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 1).Draw(t, "address") + 2*id)})
			if rapid.Bool().Draw(t, "next") && id > 0 {
				c.V4 = netip.AddrFrom4([4]byte{10, 0, 0, byte(2*id - 1)})
			}
			if slices.ContainsFunc(s.Clients, func(o Client) bool { return o.V4 == c.V4 }) {
				continue
			}
			if rapid.Bool().Draw(t, "six") {
				c.V6 = netip.AddrFrom16([16]byte{0xfd, 15: byte(id)})
			}
			s.Clients = append(s.Clients, c)
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		var c, whole clients
		var last Set
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			last = drawSet(t)
			c.change(last)
		}
		whole.change(last)
		if len(c.at) != len(whole.at) || !slices.Equal(slices.Sorted(maps.Keys(c.lists)), slices.Sorted(maps.Keys(whole.lists))) {
			t.Fatalf("%d addresses and %d lists are kept, of %d and %d", len(c.at), len(c.lists), len(whole.at), len(whole.lists))
		}
		for _, x := range last.Clients {
			for _, a := range []netip.Addr{x.V4, x.V6} {
				if !a.IsValid() {
					continue
				}
				if got := c.find(a); got == nil || got.Client != x {
					t.Fatalf("%s is %+v, want %+v", a, got, x)
				}
				for name, list := range map[string]egress.Named{"example.com": "example.com", "a.example.com": "*.example.com", "example.org": "example.org:22"} {
					if got := c.Allowed(a, name, 0) == hosts.Allow; got != (x.Names == list) {
						t.Fatalf("%s of %s, whose list is %s: %t", name, a, x.Names, got)
					}
				}
			}
		}
	})
}

// Names that are not listed are let through where a list only watches, and told of.
func TestUnlisted(t *testing.T) {
	var c clients
	a := netip.MustParseAddr("10.0.0.2")
	c.change(Set{Clients: []Client{{Endpoint: "e", V4: a, Names: "example.com", Unlisted: hosts.Audit}}})
	for name, want := range map[string]hosts.Verdict{"example.com": hosts.Allow, "example.org": hosts.Audit} {
		if got := c.Allowed(a, name, 443); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := c.Allowed(netip.MustParseAddr("10.0.0.3"), "example.com", 443); got != hosts.Refuse {
		t.Errorf("somebody else: %s", got)
	}
}

// Addresses of the networks are known, whatever lies between them.
func TestOwn(t *testing.T) {
	var c clients
	s := Set{}
	for _, p := range []string{"10.0.0.0/24", "10.0.2.0/24", "172.18.0.0/16", "fd00:1::/64"} {
		s.Own = append(s.Own, netip.MustParsePrefix(p))
	}
	c.change(s)
	for a, want := range map[string]bool{
		"9.255.255.255": false, "10.0.0.0": true, "10.0.0.255": true, "10.0.1.0": false, "10.0.2.9": true, "10.0.3.0": false,
		"172.18.9.9": true, "192.0.2.1": false, "fd00::1": false, "fd00:1::": true, "fd00:1::9": true, "fd00:1:0:1::": false,
	} {
		if got := c.own(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %t, want %t", a, got, want)
		}
	}
}
