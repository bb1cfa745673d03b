package reconcile

import (
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/model"
)

// Every bridge is in the zone; the way into it is opened for those who need it.
func TestRenderFirewalld(t *testing.T) {
	networks := func(change func(*model.Network)) model.Snapshot {
		s := model.Snapshot{Networks: []model.Network{{ID: "1", Bridge: "br-b"}, {ID: "2", Bridge: "br-a", Internal: true}}}
		change(&s.Networks[0])
		return s
	}
	for _, c := range []struct {
		name    string
		change  func(*model.Network)
		options Options
		forward bool
	}{
		{"nat", func(*model.Network) {}, Options{}, false},
		{"routed", func(n *model.Network) { n.V4.Mode = model.ModeRouted }, Options{}, true},
		{"routed IPv6", func(n *model.Network) { n.V6.Mode = model.ModeRouted }, Options{}, true},
		{"routed IPv6 on a host without", func(n *model.Network) {
			n.V6.Prefix, n.V6.Mode = netip.MustParsePrefix("fd00::/64"), model.ModeRouted
		}, Options{NoIPv6: true}, false},
		{"unprotected", func(n *model.Network) { n.V4.Mode = model.ModeNATUnprotected }, Options{}, true},
		{"trusted interfaces", func(n *model.Network) { n.Trusted = []string{"eth1"} }, Options{}, true},
		{"direct routing", func(*model.Network) {}, Options{DirectRouting: true}, true},
		{"a mark", func(*model.Network) {}, Options{Accept: firewall.Mark{Value: 1, Mask: 1}}, true},
	} {
		want := firewalld.Set{Interfaces: []string{"br-a", "br-b"}, Forward: c.forward}
		if got := Render(networks(c.change), c.options).Firewalld; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, want)
		}
	}
}

// firewalld may have reloaded in its step, which flushes rules that were known to be there.
func TestRulesAreReadAgainBehindFirewalld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		<-h.r.Ready()
		h.took()
		h.firewalld.failWith(func(have *firewalld.Set, _ firewalld.Set) error {
			if have != nil {
				return model.ErrConflict
			}
			return nil
		})
		h.set(snapshot())
		if err := h.r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := h.took(), "firewalld delta, firewalld full, firewall full, links delta, sysctls delta, ports delta"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
