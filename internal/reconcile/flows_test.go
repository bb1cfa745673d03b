package reconcile

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/link"
)

// An address is left when its endpoint goes, or gets another; also if somebody else has
// it at once. What else changes about an endpoint doesn't matter.
func TestLeft(t *testing.T) {
	veth := func(endpoint, address string, joined bool) link.Veth {
		return link.Veth{Alias: endpoint, V4: netip.MustParseAddr(address), Joined: joined}
	}
	had := []link.Veth{veth("a", "172.18.0.2", true), veth("b", "172.18.0.3", true), {Alias: "without"}}
	for _, c := range []struct {
		name string
		want []link.Veth
		left string
	}{
		{"nobody goes", []link.Veth{veth("a", "172.18.0.2", false), veth("b", "172.18.0.3", true), veth("c", "172.18.0.4", true)}, ""},
		{"one goes", []link.Veth{veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
		{"all go", nil, "172.18.0.2 172.18.0.3 "},
		{"another has its address", []link.Veth{veth("c", "172.18.0.2", true), veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
		{"it gets another address", []link.Veth{veth("a", "172.18.0.9", true), veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
	} {
		var got string
		for _, a := range slices.SortedFunc(slices.Values(left(had, c.want)), netip.Addr.Compare) {
			got += a.String() + " "
		}
		if got != c.left {
			t.Errorf("%s: %q, want %q", c.name, got, c.left)
		}
	}
}
