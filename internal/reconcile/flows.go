package reconcile

import (
	"net/netip"
	"reflect"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
)

// flows says whose tracked flows are stale: UDP's of bindings that went, and those
// that stand in the way of bindings that came. With have unknown, and where it is
// in doubt whether rules led to it all the time, every wanted binding counts as new.
func flows(have *hostport.Set, want hostport.Set, doubt bool) conntrack.Change {
	var c conntrack.Change
	known := make(map[hostport.Binding]bool)
	if have != nil {
		for _, b := range have.Bindings {
			known[b] = true
		}
	}
	for _, b := range want.Bindings {
		if doubt || !known[b] {
			c.Came = append(c.Came, b.PortBinding)
		}
		delete(known, b)
	}
	if have == nil {
		return c
	}
	for _, b := range have.Bindings {
		if b.Proto == model.UDP && known[b] {
			c.Gone = append(c.Gone, b.PortBinding)
		}
	}
	return c
}

// left returns the addresses of endpoints that are gone. Another endpoint may have one
// already; it has no flows yet, for Docker still waits for this pass.
func left(had, want []link.Veth) (gone []netip.Addr) {
	type lodger struct {
		endpoint string
		address  netip.Addr
	}
	here := make(map[lodger]bool, len(want))
	for _, v := range want {
		here[lodger{v.Alias, v.V4}], here[lodger{v.Alias, v.V6}] = true, true
	}
	for _, v := range had {
		for _, a := range []netip.Addr{v.V4, v.V6} {
			if a.IsValid() && !here[lodger{v.Alias, a}] {
				gone = append(gone, a)
			}
		}
	}
	return gone
}

func equal[T any](a, b T) bool { return reflect.DeepEqual(a, b) }
