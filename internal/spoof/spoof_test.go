package spoof_test

import (
	"testing"

	"github.com/mybr/mybr/internal/spoof"
)

// A port without the list of its network could begin everything, so what is said of some links alone
// has the lists of those that are kept, once each.
func TestOnlyKeepsLists(t *testing.T) {
	all := spoof.Set{
		Ports:    []spoof.Port{{Link: "a1", Bridge: "bra", Listed: true}, {Link: "a2", Bridge: "bra", Listed: true}, {Link: "b1", Bridge: "brb", Listed: true}, {Link: "c1", Bridge: "brc"}},
		Networks: []spoof.Network{{Bridge: "bra", List: "x>y"}, {Bridge: "brb", List: "x>y"}},
	}
	one := func(link string) spoof.Set { return all.Only(func(s string) bool { return s == link }) }
	if a := one("a1"); len(a.Ports) != 1 || len(a.Networks) != 1 || a.Networks[0].Bridge != "bra" {
		t.Errorf("of one port: %+v", a)
	}
	if c := one("c1"); len(c.Ports) != 1 || len(c.Networks) != 0 {
		t.Errorf("of one without a list: %+v", c)
	}
	if bridge := one("brb"); len(bridge.Ports) != 0 || len(bridge.Networks) != 1 {
		t.Errorf("of a bridge: %+v", bridge)
	}
	for _, link := range []string{"a1", "a2", "bra", "c1"} {
		rest := all.Only(func(s string) bool { return s != link })
		if whole := rest.With(one(link)); !whole.Same(all) {
			t.Errorf("%s and the rest: %+v", link, whole)
		}
	}
}
