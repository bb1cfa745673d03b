package link

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/nettest"
)

func TestLinkRoutes(t *testing.T) {
	h := nettest.New(t)
	for _, name := range []string{"tun0", "tun1"} {
		h.Run("ip", "link", "add", name, "type", "bridge")
		h.Run("ip", "link", "set", name, "up")
	}
	h.Address("tun0", "192.0.2.1/24")
	for _, args := range [][]string{
		{"10.8.0.0/16", "dev", "tun0"}, {"10.9.0.0/16", "via", "192.0.2.9", "table", "7"}, {"default", "dev", "tun0"},
		{"fd00:8::/64", "dev", "tun1"}, {"blackhole", "10.11.0.0/16"},
		{"10.12.0.0/16", "nexthop", "dev", "tun0", "nexthop", "dev", "tun1"}, // by neither alone
	} {
		h.Run("ip", append([]string{"route", "add"}, args...)...)
	}
	routes, err := (&Applier{}).LinkRoutes()
	if err != nil {
		t.Fatal(err)
	}
	routes = slices.DeleteFunc(routes, func(r model.HostRoute) bool {
		return r.Prefix.Addr().IsLinkLocalUnicast() || r.Prefix.Addr().IsMulticast()
	})
	slices.SortFunc(routes, func(a, b model.HostRoute) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	want := []model.HostRoute{
		{Prefix: netip.MustParsePrefix("10.8.0.0/16"), Link: "tun0"}, {Prefix: netip.MustParsePrefix("10.9.0.0/16"), Link: "tun0"},
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Link: "tun0"}, {Prefix: netip.MustParsePrefix("fd00:8::/64"), Link: "tun1"},
	}
	if !slices.Equal(routes, want) {
		t.Errorf("got %v, want %v", routes, want)
	}
}
