package reconcile

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// What is said of a network's flows is what its rules do with them.
func TestRenderSubnets(t *testing.T) {
	prefix := netip.MustParsePrefix("172.18.0.0/16")
	for _, c := range []struct {
		name    string
		change  func(*model.Network)
		options Options
		want    conntrack.Subnet
	}{
		{name: "as usual", want: conntrack.Subnet{Masquerade: true, Closed: true}},
		{name: "without masquerade", change: func(n *model.Network) { n.V4.Masquerade = false }, want: conntrack.Subnet{Closed: true}},
		{name: "internal", change: func(n *model.Network) { n.Internal = true }, want: conntrack.Subnet{Closed: true, Internal: true}},
		{name: "kept apart", change: func(n *model.Network) { n.ICC = false }, want: conntrack.Subnet{Masquerade: true, Closed: true, Apart: true}},
		{name: "kept apart by a list", change: func(n *model.Network) { n.ICCSet = model.ICCNone }, want: conntrack.Subnet{Masquerade: true, Closed: true, Apart: true}},
		{name: "kept apart, and a mark passes", change: func(n *model.Network) { n.ICC = false },
			options: Options{Accept: firewall.Mark{Value: 1, Mask: 1}}, want: conntrack.Subnet{Masquerade: true}},
		{name: "unprotected", change: func(n *model.Network) { n.V4.Mode = model.ModeNATUnprotected }, want: conntrack.Subnet{Masquerade: true}},
		{name: "routed", change: func(n *model.Network) { n.V4.Mode, n.V4.Masquerade = model.ModeRouted, false }, want: conntrack.Subnet{}},
		{name: "direct routing", options: Options{DirectRouting: true}, want: conntrack.Subnet{Masquerade: true}},
		{name: "trusted interfaces", change: func(n *model.Network) { n.Trusted = []string{"eth1"} }, want: conntrack.Subnet{Masquerade: true}},
		{name: "a mark passes", options: Options{Accept: firewall.Mark{Value: 1, Mask: 1}}, want: conntrack.Subnet{Masquerade: true}},
		{name: "a mark passes, internal", change: func(n *model.Network) { n.Internal = true },
			options: Options{Accept: firewall.Mark{Value: 1, Mask: 1}}, want: conntrack.Subnet{}},
	} {
		s := snapshot()
		if c.change != nil {
			c.change(&s.Networks[0])
		}
		c.want.Prefix = prefix
		if have := Render(s, c.options).Flows.Subnets; !reflect.DeepEqual(have, []conntrack.Subnet{c.want}) {
			t.Errorf("%s: %+v, want %+v", c.name, have, c.want)
		}
	}
}
