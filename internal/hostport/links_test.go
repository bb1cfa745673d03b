package hostport

import (
	"net"
	"testing"

	"github.com/mybr/mybr/internal/nettest"
)

// Interfaces are known by the names that they have; one that has gone, or never was, by none.
func TestLinks(t *testing.T) {
	host := nettest.Process(t)
	host.Run("ip", "link", "add", "eth1", "type", "bridge")
	link, err := net.InterfaceByName("eth1")
	if err != nil {
		t.Fatal(err)
	}
	index := uint32(link.Index)
	l := links{}
	for of, want := range map[uint32]string{index: "eth1", 0: "", index + 1000: ""} {
		if got := l.name(of); got != want {
			t.Errorf("%d is named %q, want %q", of, got, want)
		}
	}
	host.Run("ip", "link", "set", "eth1", "name", "lan0")
	nettest.Eventually(t, 10*linksKnownFor, func() error {
		if got := l.name(index); got != "lan0" {
			return &net.AddrError{Err: "the interface is named otherwise", Addr: got}
		}
		return nil
	})
	host.Run("ip", "link", "del", "lan0")
	nettest.Eventually(t, 10*linksKnownFor, func() error {
		if got := l.name(index); got != "" {
			return &net.AddrError{Err: "the interface is gone, and named", Addr: got}
		}
		return nil
	})
}
