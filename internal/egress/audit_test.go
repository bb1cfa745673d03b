package egress_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// A list that is only watched has what it had, and keeps nothing from anybody.
func TestAudited(t *testing.T) {
	web := egress.Packet{Proto: model.TCP, To: netip.MustParseAddrPort("192.0.2.7:443")}
	for _, text := range []egress.Allowed{egress.Nothing, "192.0.2.1:80", "192.0.2.7:443/tcp"} {
		a := text.Audited()
		if !a.Audit() || a.Enforced() || a.All() || text.Audit() || !text.Enforced() || a == text || a.Audited() != a {
			t.Errorf("%q of %q: audit %t, enforced %t", a, text, a.Audit(), a.Enforced())
		}
		if !a.Has(web) {
			t.Errorf("%q keeps a packet", a)
		}
		if have, want := a.Services(model.IPv4), text.Services(model.IPv4); !reflect.DeepEqual(have, want) {
			t.Errorf("%q has %+v, want %+v", a, have, want)
		}
	}
	for _, all := range []egress.Allowed{"", "all"} {
		if all.Audited() != all || all.Enforced() {
			t.Errorf("of everything: %q", all.Audited())
		}
	}
}
