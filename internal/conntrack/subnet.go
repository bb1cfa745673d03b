package conntrack

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Subnet is what the rules of one address family of a network do with its flows. Those that
// begin while the rules are gone, and that the rules would have treated otherwise, must
// not go on when the rules are back: the kernel asks the rules about replies and about
// translation no more.
type Subnet struct {
	Prefix netip.Prefix
	// Masquerade: what leaves takes another address. A flow that left without, and was not
	// answered, never will be: its replies have no way back. One that was answered has a
	// way, or an administrator's rule keeps it from being translated, and stays.
	Masquerade bool
	// Closed: only what a published port translates, and the host itself, comes in.
	Closed bool
	// Internal: nothing leaves, save to the host itself.
	Internal bool
	// Apart: containers do not reach each other through the host.
	Apart bool
}

// subnetsOf returns those of a family.
func subnetsOf(f model.Family, all []Subnet) (of []Subnet) {
	for _, s := range all {
		if f.Has(s.Prefix.Addr()) {
			of = append(of, s)
		}
	}
	return of
}

// pastRules reports whether a flow must have begun past the rules of a subnet.
func (f *filter) pastRules(l flow) bool {
	from, asked := l.from.Addr(), l.asked.Addr()
	for _, s := range f.subnets {
		switch {
		case s.Prefix.Contains(from) && !s.Prefix.Contains(asked):
			// Multicast and broadcasts that the bridge passes are not forwarded.
			if f.local[asked] || !asked.IsGlobalUnicast() {
				continue
			}
			if s.Internal || s.Masquerade && !l.answered && l.translated == l.from && !s.Prefix.Contains(l.answers.Addr()) {
				return true
			}
		case s.Closed && s.Prefix.Contains(asked) && !s.Prefix.Contains(from) && !f.local[from] && l.asked == l.answers && !l.expected:
			return true
		case s.Apart && s.Prefix.Contains(from) && s.Prefix.Contains(asked) && !f.local[from] && !f.local[asked] && l.asked == l.answers:
			return true
		}
	}
	return false
}
