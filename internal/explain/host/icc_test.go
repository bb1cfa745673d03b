package host

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/mybr/mybr/internal/firewall/nftables"
	"github.com/mybr/mybr/internal/icc"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
	"github.com/mybr/mybr/internal/spoof"
)

// What mybr writes into its table is read from what nft(8) prints of that.
func TestNeighbours(t *testing.T) {
	h := nettest.New(t)
	read := func() (string, []any) {
		n, err := parseNeighbours(h.Run("nft", "--json", "list", "ruleset"))
		if err != nil {
			t.Fatal(err)
		}
		if n == nil {
			return "none", nil
		}
		may := func(from, to string) any { return n.May[n.To[n.From[from]][to]] }
		return fmt.Sprint(n.Inside, n.Routed["vetha"]), []any{may("vetha", "vethb"), may("vethb", "vetha"), may("vethc", "vethb"), n.To[n.From["vethc"]]["vetha"]}
	}
	if got, _ := read(); got != "none" {
		t.Errorf("without a table: %s", got)
	}
	l, err := icc.Parse("a>b:5432,a>b:100-200/udp,a>b/icmp,*>b:53/udp,b>a/tcp")
	if err != nil {
		t.Fatal(err)
	}
	set := spoof.Set{Networks: []spoof.Network{spoof.NewNetwork("br0", l, nil, []netip.Addr{netip.MustParseAddr("10.9.0.1")}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24"), netip.MustParsePrefix("fd00:9::/64")})}}
	for i, class := range []string{"a", "b", ""} {
		set.Ports = append(set.Ports, spoof.Port{Link: "veth" + string(rune('a'+i)), Bridge: "br0", MAC: model.MAC{2, 0, 0, 0, 0, byte(i)}, V4: netip.AddrFrom4([4]byte{10, 9, 0, byte(2 + i)}), Listed: true, Class: class})
	}
	s := nftables.NewSpoof(t.Errorf)
	defer s.Close()
	if err := s.Apply(context.Background(), nil, set); err != nil {
		t.Fatal(err)
	}
	places, may := read()
	if places != "map[vetha:true vethb:true vethc:true] [{10.9.0.1/32 true} {10.9.0.0/24 false} {fd00:9::/64 false}]" {
		t.Error(places)
	}
	if got, want := fmt.Sprint(may...), "[{icmp 0 0} {icmp 0 0} {tcp 5432 5432} {udp 53 53} {udp 100 200} {udp 5432 5432} {sctp 5432 5432}] [{tcp 0 0}] [{udp 53 53}]"; got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
}
