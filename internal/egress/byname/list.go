package byname

import (
	"iter"
	"strings"

	"github.com/mybr/mybr/internal/egress"
)

// list is names so that those which a host's name matches are found at once, however many there
// are. It does not change.
type list struct {
	exact map[string][]egress.Entry // by name
	below map[string][]egress.Entry // by what stands behind the *. of an entry
}

func newList(names egress.Named) list {
	l := list{map[string][]egress.Entry{}, map[string][]egress.Entry{}}
	for _, e := range names.Entries() {
		if of, wild := strings.CutPrefix(e.Name, "*."); wild {
			l.below[of] = append(l.below[of], e)
		} else {
			l.exact[e.Name] = append(l.exact[e.Name], e)
		}
	}
	return l
}

// matching goes through the entries that a name matches: those of the name itself, and those of
// the names that it is below, at whatever depth.
func (l *list) matching(name string) iter.Seq[egress.Entry] {
	return func(yield func(egress.Entry) bool) {
		for _, e := range l.exact[name] {
			if !yield(e) {
				return
			}
		}
		for {
			_, rest, more := strings.Cut(name, ".")
			if !more {
				return
			}
			for _, e := range l.below[rest] {
				if !yield(e) {
					return
				}
			}
			name = rest
		}
	}
}

// has reports whether the process carries connections to a port of the name; port 0: whether the
// name is listed at all.
func (l *list) has(name string, port uint16) bool {
	for e := range l.matching(name) {
		if port == 0 {
			return true
		}
		for _, r := range e.Carried() {
			if r.Has(port) {
				return true
			}
		}
	}
	return false
}

// granting are the entries by which something of the name is reached at its addresses.
func (l *list) granting(name string) (all []egress.Entry) {
	for e := range l.matching(name) {
		if len(e.Granted()) > 0 {
			all = append(all, e)
		}
	}
	return all
}
