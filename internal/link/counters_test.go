package link

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mybr/mybr/internal/nettest"
)

// The counters of every bridge are those that ip(8) prints, after traffic through it, and
// other links are not among them.
func TestBridgeCounters(t *testing.T) {
	h := nettest.New(t)
	c := h.Peer("container")
	h.Run("ip", "link", "add", "br0", "type", "bridge")
	h.Run("ip", "link", "add", "br1", "type", "bridge")
	h.Run("ip", "link", "set", "br0", "up")
	h.Connect(nettest.End{Name: "vh0"}, c, nettest.End{Name: "eth0", Addresses: []string{"172.30.0.2/24"}})
	h.Run("ip", "link", "set", "vh0", "master", "br0")
	h.Address("br0", "172.30.0.1/24")
	to := c.Echo("udp4", "0.0.0.0:0")
	nettest.Eventually(t, 10*time.Second, func() error {
		_, err := h.Ask("udp", fmt.Sprintf("172.30.0.2:%d", to.Port()), 100*time.Millisecond)
		return err
	})
	h.Run("ip", "link", "set", "br0", "down") // nothing passes from here on

	got, err := new(Applier).BridgeCounters()
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"br0", "br1"}) {
		t.Errorf("counters of %q", names)
	}
	var printed []struct {
		Stats struct {
			Rx struct{ Packets, Bytes, Dropped uint64 }
			Tx struct{ Packets, Bytes, Dropped uint64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(h.Run("ip", "-s", "-j", "link", "show", "br0")), &printed); err != nil {
		t.Fatal(err)
	}
	s := printed[0].Stats
	want := Counters{s.Rx.Packets, s.Rx.Bytes, s.Rx.Dropped, s.Tx.Packets, s.Tx.Bytes, s.Tx.Dropped}
	if got["br0"] != want || want.RxPackets == 0 || want.TxBytes == 0 {
		t.Errorf("%+v, ip says %+v", got["br0"], want)
	}
	if got["br1"] != (Counters{}) {
		t.Errorf("nothing has passed br1: %+v", got["br1"])
	}
}
