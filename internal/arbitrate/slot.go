package arbitrate

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// slot is one host port that an endpoint has.
type slot struct {
	model.PortBinding // Count 1
	endpoint          string
}

// slotsOf yields the host ports of an endpoint one by one.
func slotsOf(e model.Endpoint) iter.Seq[slot] {
	return func(yield func(slot) bool) {
		for _, b := range e.Ports {
			for one := range b.Ones() {
				if !yield(slot{one, e.ID}) {
					return
				}
			}
		}
	}
}

func (s slot) target() model.Target {
	return model.Target{Host: s.Host.Addr(), Container: s.Container}
}

func (s slot) sameFamily() bool { return sameFamily(s.target()) }

// conflicts reports whether a target of the slot's number can't be had beside it.
func (s slot) conflicts(t model.Target) bool {
	host := s.Host.Addr()
	return t.Wanted() && t.Host.Is4() == host.Is4() && (t.Host == host || t.Host.IsUnspecified() || host.IsUnspecified())
}

// similar reports whether the slot may come of the same entry of Docker's port map as a
// request with its number.
func (s slot) similar(r model.PortRequest) bool {
	return slices.ContainsFunc([]model.Target{r.V4, r.V6}, func(t model.Target) bool {
		return s.conflicts(t) || t.Wanted() && t.Host.IsUnspecified() && s.Host.Addr().IsUnspecified()
	})
}

// key is by what the slots of one port of the container are found: one number in both
// families.
type key struct {
	proto     model.Proto
	container uint16
	host      uint16
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.proto, o.proto), cmp.Compare(k.container, o.container), cmp.Compare(k.host, o.host))
}

// slots are what some of the endpoints have.
type slots struct {
	byKey map[key][]slot
	keys  []key         // of byKey, sorted, when find needs them
	used  map[slot]bool // matched with a request that any of several numbers would do for
}

func newSlots() *slots { return &slots{byKey: map[key][]slot{}, used: map[slot]bool{}} }

func (l *slots) add(e model.Endpoint) {
	for s := range slotsOf(e) {
		k := key{s.Proto, s.Container.Port(), s.Host.Port()}
		l.byKey[k] = append(l.byKey[k], s)
	}
}

// find returns the lowest number that there is for the request's port of the container, at
// an address like one that is asked for, and that would do for it.
func (l *slots) find(r model.PortRequest) (key, bool) {
	t := r.V4
	if !t.Wanted() {
		t = r.V6
	}
	if len(l.keys) != len(l.byKey) {
		l.keys = slices.SortedFunc(maps.Keys(l.byKey), key.compare)
	}
	first, _ := slices.BinarySearchFunc(l.keys, key{r.Proto, t.Container.Port(), r.First}, key.compare)
	for _, k := range l.keys[first:] {
		if k.proto != r.Proto || k.container != t.Container.Port() || r.First != 0 && k.host > r.Last {
			break
		}
		if slices.ContainsFunc(l.byKey[k], func(s slot) bool { return s.similar(r) && (choice(r) == 0 || !l.used[s]) }) {
			return k, true
		}
	}
	return key{}, false
}

// use marks the slots of a number that may come of the request.
func (l *slots) use(k key, r model.PortRequest) {
	for _, s := range l.byKey[k] {
		l.used[s] = l.used[s] || s.similar(r)
	}
}
