package link

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// What is the host's own is told by the kernel's routes as they are at the moment.
func TestLocal(t *testing.T) {
	h := nettest.New(t)
	h.Run("ip", "link", "add", "lan0", "type", "bridge")
	h.Run("ip", "address", "add", "192.0.2.1/24", "dev", "lan0")
	h.Run("ip", "address", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
	h.Run("ip", "link", "set", "lan0", "up")
	h.Run("ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo") // as for who binds to any of them
	for _, kind := range []string{"unreachable", "prohibit", "blackhole"} {
		h.Run("ip", "route", "add", kind, map[string]string{"unreachable": "203.0.113.1", "prohibit": "203.0.113.2", "blackhole": "203.0.113.3"}[kind])
		h.Run("ip", "route", "add", kind, map[string]string{"unreachable": "2001:db8:1::1", "prohibit": "2001:db8:1::2", "blackhole": "2001:db8:1::3"}[kind])
	}
	var a Applier
	local := func(addr string) bool {
		t.Helper()
		is, err := a.Inward(netip.MustParseAddr(addr))
		if err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		return is
	}
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "2001:db8::1": true, "127.9.9.9": true, "::1": true, "198.51.100.7": true,
		"192.0.2.255": true, "ff02::1": true,
		"192.0.2.2": false, "2001:db8::2": false, // neighbours
		"10.0.0.1": false, "2001:db8:2::1": false, // no route leads there
		"203.0.113.1": false, "203.0.113.2": false, "203.0.113.3": false,
		"2001:db8:1::1": false, "2001:db8:1::2": false, "2001:db8:1::3": false,
	} {
		if got := local(addr); got != want {
			t.Errorf("%s is the host's own: %t, want %t", addr, got, want)
		}
	}
	h.Run("ip", "address", "add", "192.0.2.2/24", "dev", "lan0")
	if !local("192.0.2.2") {
		t.Error("an address that has just come is not the host's own")
	}
}

// Containers of Docker's own bridges are no other hosts, and whoever is behind a bridge of the LAN is.
func TestInward(t *testing.T) {
	h := nettest.New(t)
	for i, name := range []string{"docker0", "br-0123456789ab", "br-lan", "br-0123456789aX", "docker1"} {
		h.Run("ip", "link", "add", name, "type", "bridge")
		h.Run("ip", "address", "add", fmt.Sprintf("10.0.%d.1/24", i), "dev", name)
		h.Run("ip", "address", "add", fmt.Sprintf("2001:db8:%d::1/64", i), "dev", name, "nodad")
		h.Run("ip", "link", "set", name, "up")
	}
	h.Run("ip", "link", "add", "docker_gwbridge", "type", "veth", "peer", "name", "peer0") // of that name, and no bridge
	h.Run("ip", "address", "add", "10.0.9.1/24", "dev", "docker_gwbridge")
	h.Run("ip", "link", "set", "peer0", "up")
	h.Run("ip", "link", "set", "docker_gwbridge", "up")
	h.Run("ip", "route", "add", "198.51.100.0/24", "via", "10.0.0.2") // a container that routes
	h.Run("ip", "route", "add", "unreachable", "203.0.113.1")
	var a Applier
	for addr, want := range map[string]bool{
		"10.0.0.1": true, "127.0.0.1": true, "10.0.2.255": true,
		"10.0.0.2": true, "10.0.1.2": true, "2001:db8::2": true, "2001:db8:1::2": true, "::ffff:10.0.0.2": true,
		"10.0.2.2": false, "10.0.3.2": false, "10.0.4.2": false, "10.0.9.2": false, "2001:db8:2::2": false,
		"198.51.100.1": false, "203.0.113.1": false, "192.0.2.1": false, "2001:db8:9::1": false,
	} {
		if got, err := a.Inward(netip.MustParseAddr(addr)); err != nil || got != want {
			t.Errorf("%s leads inwards: %t, want %t, %v", addr, got, want, err)
		}
	}
}
