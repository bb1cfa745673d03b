package link

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// An address that moves to a new pair, with another MAC, is reached at once by who has
// just talked to the old one: by the host and by its neighbour.
func TestAddressMovesToAnotherMAC(t *testing.T) {
	h := nettest.New(t)
	br := bridge(1)
	pair := func(n byte, address string) Veth {
		v := veth(n, br)
		v.V4 = netip.MustParseAddr(address)
		return v
	}
	box := func(v Veth) *nettest.Host {
		b := h.Peer(v.Peer)
		b.Adopt(h, v.Peer, nettest.End{Name: "eth0", Addresses: []string{v.V4.String() + "/16"}})
		return b
	}
	before, neighbour, after := pair(1, "172.21.0.2"), pair(2, "172.21.0.3"), pair(3, "172.21.0.2")
	have := set([]Bridge{br}, before, neighbour)
	apply(t, nil, have)
	server, friend := box(before), box(neighbour)
	ask := func(when, server string) {
		t.Helper()
		for name, from := range map[string]*nettest.Host{"the host": h, "the neighbour": friend} {
			a, err := from.Ask("tcp", "172.21.0.2:80", time.Second)
			if err != nil || a.Server != server {
				t.Errorf("%s: %s got %+v, %v", when, name, a, err)
			}
		}
	}
	server.Echo("tcp", "172.21.0.2:80")
	ask("at first", before.Peer)

	want := set([]Bridge{br}, neighbour, after)
	apply(t, &have, want)
	box(after).Echo("tcp", "172.21.0.2:80")
	ask("moved", after.Peer)
}
