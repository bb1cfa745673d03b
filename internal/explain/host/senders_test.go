package host

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// What mybr writes into its table is read from what nft(8) prints of that: own addresses, those that
// are shared, and prefixes; ports that are only watched may send everything. Tables of others say
// nothing.
func TestSenders(t *testing.T) {
	h := nettest.New(t)
	read := func() map[string][]netip.Prefix {
		t.Helper()
		may, err := parseSenders(h.Run("nft", "--json", "list", "ruleset"))
		if err != nil {
			t.Fatal(err)
		}
		return may
	}
	h.Feed(`table bridge other { set sources4 { typeof iifname . ether saddr . ip saddr; elements = { "vethc" . 02:42:00:00:00:02 . 10.9.0.2 }
		}
	}`, "nft", "-f", "-")
	if may := read(); may != nil {
		t.Errorf("without mybr's table: %v", may)
	}
	port := func(link string, last byte, more model.Spoof) spoof.Port {
		return spoof.Port{Link: link, Bridge: "br0", MAC: model.MAC{2, 0, 0, 0, 0, last}, V4: netip.AddrFrom4([4]byte{10, 9, 0, last}), More: more}
	}
	watched := port("vethw", 4, model.Spoof{})
	watched.Audited = true
	s := nftables.NewSpoof(t.Errorf)
	defer s.Close()
	err := s.Apply(context.Background(), nil, spoof.Set{
		Ports: []spoof.Port{
			port("vetha", 2, model.Spoof{Addresses: "10.0.0.0/8,192.0.2.7/32,fd00:9::/64", MACs: "00:00:5e:00:01:33", Trusted: "dhcp,ra"}),
			port("vethb", 3, model.Spoof{Addresses: "0.0.0.0/0"}), watched,
		},
		Shares: []spoof.Share{{Link: "vethb", Bridge: "br0", MAC: model.MAC{2, 0, 0, 0, 0, 3}, Addr: netip.MustParseAddr("10.8.0.3")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	may := read()
	for link, of := range map[string]map[string]bool{
		"vetha": {"10.9.0.2": true, "10.1.1.1": true, "192.0.2.7": true, "192.0.2.8": false, "fe80::ff:fe00:2": true, "fe80::2": false, "fd00:9::5": true},
		"vethb": {"10.9.0.3": true, "10.8.0.3": true, "203.0.113.1": true, "fd00:9::5": false},
	} {
		for text, want := range of {
			a := netip.MustParseAddr(text)
			if got := slices.ContainsFunc(may[link], func(p netip.Prefix) bool { return p.Contains(a) }); got != want {
				t.Errorf("%s may send from %s: %t, want %t: %v", link, text, got, want, may[link])
			}
		}
	}
	if len(may) != 2 {
		t.Errorf("checked are %v", may)
	}
}
