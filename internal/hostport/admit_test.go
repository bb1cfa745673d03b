package hostport

import (
	"net/netip"
	"testing"
	"time"
)

// Neighbours are served, whoever the clients are, unless they are kept apart; the host always is.
func TestAdmit(t *testing.T) {
	m := &Manager{}
	m.links.all = map[uint32]knownLink{3: {"mybr0", time.Now().Add(time.Hour)}, 7: {"eth1", time.Now().Add(time.Hour)}, 8: {"eth0", time.Now().Add(time.Hour)}}
	m.local.all, m.local.at = map[netip.Addr]bool{netip.MustParseAddr("172.18.0.1"): true, netip.MustParseAddr("198.51.100.1"): true}, time.Now().Add(time.Hour)
	net4, net6 := netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fd00:18::/64")
	if m.admit(Limit{}) != nil || m.admit(Limit{Carried: true}) != nil {
		t.Error("without a limit somebody is asked about")
	}
	via := m.admit(Limit{Clients: "192.0.2.0/24", Via: "eth1,wg0", Bridge: "mybr0", V4: net4, V6: net6})
	for _, c := range []struct {
		client string
		link   uint32
		want   bool
	}{
		{"192.0.2.9", 7, true}, {"192.0.2.9", 8, false}, {"192.0.2.9", 0, false}, {"203.0.113.9", 7, false},
		{"172.18.0.2", 3, true}, {"fd00:18::2", 3, true}, {"fe80::2%mybr0", 3, true}, {"172.18.0.1", 8, true},
		{"172.18.0.2", 8, false}, {"172.18.0.2", 7, false}, {"fd00:18::2", 7, false}, {"172.18.0.2", 0, false}, // forged
		{"198.51.100.1", 8, true}, {"127.0.0.1", 1, true}, {"::1", 1, true},
	} {
		if got := via(netip.MustParseAddr(c.client), func() uint32 { return c.link }); got != c.want {
			t.Errorf("by interface: %s by %d is served: %t", c.client, c.link, got)
		}
	}
	from := m.admit(Limit{Clients: "192.0.2.0/24", Bridge: "mybr0", V4: net4, V6: net6})
	for link, want := range map[uint32]bool{0: true, 3: true, 7: false} { // 7: forged
		if got := from(netip.MustParseAddr("172.18.0.2"), func() uint32 { return link }); got != want {
			t.Errorf("a neighbour's address by %d is served: %t", link, got)
		}
	}
	for _, c := range []struct {
		name    string
		limit   Limit
		clients map[string]bool
	}{
		{"clients", Limit{Clients: "192.0.2.0/24", Bridge: "mybr0", V4: net4, V6: net6},
			map[string]bool{"192.0.2.9": true, "203.0.113.9": false, "172.18.0.2": true, "fd00:18::2": true, "fe80::2%mybr0": true, "fe80::2%eth0": false, "127.0.0.1": true, "172.18.0.1": true, "198.51.100.1": true}},
		{"apart", Limit{Bridge: "mybr0", V4: net4, V6: net6, Apart: true},
			map[string]bool{"192.0.2.9": true, "172.18.0.2": false, "fd00:18::2": false, "fe80::2%mybr0": false, "fe80::2%eth0": true, "127.0.0.1": true, "::1": true, "172.18.0.1": true, "198.51.100.1": true}},
		{"both", Limit{Clients: "172.18.0.0/24,192.0.2.0/24", Bridge: "mybr0", V4: net4, V6: net6, Apart: true},
			map[string]bool{"192.0.2.9": true, "172.18.0.2": false, "203.0.113.9": false, "2001:db8::1": false}},
		{"apart, with further addresses", Limit{Bridge: "mybr0", V4: net4, Apart: true, Further: "10.77.0.0/24,2001:db8:77::/64"},
			map[string]bool{"10.77.0.5": false, "2001:db8:77::5": false, "10.78.0.5": true, "172.18.0.2": false, "192.0.2.9": true, "198.51.100.1": true}},
		{"further addresses that are clients", Limit{Clients: "10.77.0.0/24", Bridge: "mybr0", V4: net4, Apart: true, Further: "10.77.0.0/24"},
			map[string]bool{"10.77.0.5": false}},
	} {
		admit := m.admit(c.limit)
		for client, want := range c.clients {
			if got := admit(netip.MustParseAddr(client), func() uint32 { return 0 }); got != want {
				t.Errorf("%s: %s is served: %t", c.name, client, got)
			}
		}
	}
}

// By which interface a client has come is asked only where somebody is served by it: it costs system
// calls.
func TestAdmitWithoutLink(t *testing.T) {
	m := &Manager{}
	m.local.all, m.local.at = map[netip.Addr]bool{netip.MustParseAddr("198.51.100.1"): true}, time.Now().Add(time.Hour)
	net4 := netip.MustParsePrefix("172.18.0.0/16")
	for _, c := range []struct {
		name, client string
		limit        Limit
		want, asks   bool
	}{
		{"a client that is listed", "192.0.2.9", Limit{Clients: "192.0.2.0/24", Bridge: "mybr0", V4: net4}, true, false},
		{"one that is not", "203.0.113.9", Limit{Clients: "192.0.2.0/24", Bridge: "mybr0", V4: net4}, false, false},
		{"one that is not, by any interface", "203.0.113.9", Limit{Clients: "192.0.2.0/24", Via: "eth1", Bridge: "mybr0", V4: net4}, false, false},
		{"loopback", "127.0.0.1", Limit{Clients: "192.0.2.0/24", Via: "eth1", Bridge: "mybr0", V4: net4}, true, false},
		{"a neighbour that is kept apart", "172.18.0.2", Limit{Bridge: "mybr0", V4: net4, Apart: true}, false, false},
		{"a neighbour", "172.18.0.2", Limit{Clients: "192.0.2.0/24", Bridge: "mybr0", V4: net4}, true, true},
		{"a client that is listed, where interfaces are", "192.0.2.9", Limit{Clients: "192.0.2.0/24", Via: "eth1", Bridge: "mybr0", V4: net4}, false, true},
	} {
		asked := false
		if got := m.admit(c.limit)(netip.MustParseAddr(c.client), func() uint32 { asked = true; return 0 }); got != c.want || asked != c.asks {
			t.Errorf("%s: served: %t, the interface is asked for: %t", c.name, got, asked)
		}
	}
}
