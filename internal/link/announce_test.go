package link

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// Addresses that move to a new pair, with another MAC, are reached at once by who has
// just talked to the old one: by the host and by its neighbour.
func TestAddressMovesToAnotherMAC(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	pair := func(n byte, v4, v6 string) Veth {
		v := veth(n, br)
		v.V4, v.V6, v.Announce = netip.MustParseAddr(v4), netip.MustParseAddr(v6), true
		return v
	}
	box := func(v Veth) *nettest.Host {
		b := h.Peer(v.Peer)
		b.Adopt(h, v.Peer, nettest.End{Name: "eth0", Addresses: []string{v.V4.String() + "/16", v.V6.String() + "/64"}})
		return b
	}
	before, after := pair(1, "172.21.0.2", "fd00:21::2"), pair(3, "172.21.0.2", "fd00:21::2")
	neighbour := pair(2, "172.21.0.3", "fd00:21::3")
	have := set([]Bridge{br}, before, neighbour)
	apply(t, nil, have)
	server, friend := box(before), box(neighbour)
	ask := func(when, server string, patience time.Duration) {
		t.Helper()
		for name, from := range map[string]*nettest.Host{"the host": h, "the neighbour": friend} {
			for _, address := range []string{"172.21.0.2:80", "[fd00:21::2]:80"} {
				a, err := from.Ask("tcp", address, patience)
				if err != nil || a.Server != server {
					t.Errorf("%s: %s got %+v from %s, %v", when, name, a, address, err)
				}
			}
		}
	}
	server.Echo("tcp", "[::]:80")
	ask("at first", before.Peer, 5*time.Second)

	want := set([]Bridge{br}, neighbour, after)
	apply(t, &have, want)
	box(after).Echo("tcp", "[::]:80")
	ask("moved", after.Peer, time.Second)
}

// The example of RFC 1071, section 3.
func TestChecksum(t *testing.T) {
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
}
