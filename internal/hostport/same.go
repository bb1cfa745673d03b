package hostport

import (
	"slices"

	"github.com/mybr/mybr/internal/plan"
)

// Same reports whether two sets are deeply equal.
func (s Set) Same(o Set) bool {
	return plan.SameList(s.Bindings, o.Bindings) && plan.SameList(s.Blocked, o.Blocked)
}

// Has reports whether something of the set is about a subject, as Subjects has it.
func (s Set) Has(subject string) bool {
	return slices.ContainsFunc(s.Bindings, func(b Binding) bool { return b.Link == subject }) || subject == "" && len(s.Blocked) > 0
}
