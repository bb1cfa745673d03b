package reconcile

import (
	"reflect"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
)

// flows says whose tracked UDP flows are stale: those of bindings that went, and
// those that stand in the way of bindings that came. With have unknown every wanted
// binding counts as new.
func flows(have *hostport.Set, want hostport.Set) conntrack.Change {
	var c conntrack.Change
	known := make(map[hostport.Binding]bool)
	if have != nil {
		for _, b := range *have {
			known[b] = true
		}
	}
	for _, b := range want {
		if b.Proto == model.UDP && !known[b] {
			c.Came = append(c.Came, b.PortBinding)
		}
		delete(known, b)
	}
	if have == nil {
		return c
	}
	for _, b := range *have {
		if b.Proto == model.UDP && known[b] {
			c.Gone = append(c.Gone, b.PortBinding)
		}
	}
	return c
}

func equal[T any](a, b T) bool { return reflect.DeepEqual(a, b) }
