package host

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// What mybr writes into its table is read from what nft(8) prints of that: own addresses, and
// prefixes; ports that are only watched may send everything, and other tables do not count.
func TestSenders(t *testing.T) {
	h := nettest.New(t)
	read := func() string {
		may, err := parseSenders(h.Run("nft", "--json", "list", "ruleset"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(may)
	}
	if got := read(); got != "map[]" {
		t.Errorf("without a table: %s", got)
	}
	port := func(link string, number byte, more model.Spoof) spoof.Port {
		return spoof.Port{Link: link, Bridge: "br0", MAC: model.MAC{2, 0x42, 0, 0, 0, number}, V4: netip.AddrFrom4([4]byte{10, 9, 0, number}), More: more}
	}
	watched := port("vethw", 4, model.Spoof{})
	watched.Audited = true
	s := nftables.NewSpoof(t.Errorf)
	defer s.Close()
	if err := s.Apply(context.Background(), nil, spoof.Set{Ports: []spoof.Port{
		port("vetha", 2, model.Spoof{Addresses: "10.0.0.0/8,192.0.2.7/32"}), port("vethb", 3, model.Spoof{Addresses: "0.0.0.0/0"}), watched,
	}}); err != nil {
		t.Fatal(err)
	}
	h.Feed(`table bridge other { set sources4 { typeof iifname . ether saddr . ip saddr; elements = { "vethc" . 02:42:00:00:00:02 . 10.9.0.2 }
		}
	}`, "nft", "-f", "-")
	if got := read(); got != "map[vetha:[10.9.0.2/32 fe80::42:ff:fe00:2/128 10.0.0.0/8 192.0.2.7/32] vethb:[10.9.0.3/32 fe80::42:ff:fe00:3/128 0.0.0.0/0]]" {
		t.Error(got)
	}
}
