package reconcile

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
)

// An address is left when its endpoint goes, or gets another; also if somebody else has
// it at once. What else changes about an endpoint doesn't matter.
func TestLeft(t *testing.T) {
	veth := func(endpoint, address string, joined bool) link.Veth {
		return link.Veth{Alias: endpoint, V4: netip.MustParseAddr(address), Joined: joined}
	}
	six := link.Veth{Alias: "both", V4: netip.MustParseAddr("172.18.0.4"), V6: netip.MustParseAddr("fd00:18::4")}
	had := []link.Veth{veth("a", "172.18.0.2", true), veth("b", "172.18.0.3", true), {Alias: "without"}, six}
	for _, c := range []struct {
		name string
		want []link.Veth
		left string
	}{
		{"nobody goes", []link.Veth{six, veth("a", "172.18.0.2", false), veth("b", "172.18.0.3", true), veth("c", "172.18.0.4", true)}, ""},
		{"one goes", []link.Veth{six, veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
		{"all go", nil, "172.18.0.2 172.18.0.3 172.18.0.4 fd00:18::4 "},
		{"another has its address", []link.Veth{six, veth("c", "172.18.0.2", true), veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
		{"it gets another address", []link.Veth{six, veth("a", "172.18.0.9", true), veth("b", "172.18.0.3", true)}, "172.18.0.2 "},
		{"it loses IPv6", []link.Veth{veth("a", "172.18.0.2", true), veth("b", "172.18.0.3", true), {Alias: "both", V4: six.V4}}, "fd00:18::4 "},
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

// Of what went, UDP has flows that would go on; of what came, and of everything where it is
// in doubt, all may have begun too early. Both families are alike.
func TestFlows(t *testing.T) {
	udp6 := binding(model.UDP, "[::]:5353", "[fd00:18::2]:53", 1)
	set := func(ports ...model.PortBinding) hostport.Set {
		var s hostport.Set
		for _, b := range ports {
			s.Bindings = append(s.Bindings, hostport.Binding{Owner: "a", PortBinding: b})
		}
		return s
	}
	have := set(tcp, tcp6, udp, udp6)
	for _, c := range []struct {
		name       string
		have       *hostport.Set
		want       hostport.Set
		doubt      bool
		gone, came []model.PortBinding
	}{
		{name: "nothing changes", have: &have, want: have},
		{name: "all go", have: &have, gone: []model.PortBinding{udp, udp6}},
		{name: "one comes", have: &have, want: set(tcp, tcp6, across, udp, udp6), came: []model.PortBinding{across}},
		{name: "doubt", have: &have, want: set(tcp6), doubt: true, gone: []model.PortBinding{udp, udp6}, came: []model.PortBinding{tcp6}},
		{name: "unknown", want: have, came: []model.PortBinding{tcp, tcp6, udp, udp6}},
		{name: "links are shunned", have: &have, want: hostport.Set{Bindings: have.Bindings, Blocked: []string{"br0"}}},
	} {
		got := flows(c.have, c.want, c.doubt)
		if !slices.Equal(got.Gone, c.gone) || !slices.Equal(got.Came, c.came) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
