package link

import (
	"cmp"
	"iter"
	"slices"
)

// difference is a pair that must be looked at, with what it is known to be; zero: nothing is.
type difference struct{ had, want Veth }

// compare returns the pairs that are not wanted any more, and those that differ. Two sets that
// have most in common cost next to nothing.
func compare(have *Set, want Set) (gone []Veth, differ []difference) {
	leaves := func(v Veth) bool {
		return !slices.ContainsFunc(want.Leaving, func(l Veth) bool { return l.Host == v.Host })
	}
	for had, wants := range pairs(have.Veths, want.Veths) {
		switch {
		case wants == nil && leaves(*had):
			gone = append(gone, *had)
		case wants != nil && had == nil:
			differ = append(differ, difference{want: *wants})
		case wants != nil && wants.differs(*had):
			differ = append(differ, difference{*had, *wants})
		}
	}
	wanted := byHost(want.Veths)
	for _, v := range have.Leaving {
		_, again := slices.BinarySearchFunc(wanted, v.Host, func(w Veth, host string) int { return cmp.Compare(w.Host, host) })
		if !again && leaves(v) {
			gone = append(gone, v)
		}
	}
	return gone, differ
}

// affected yields the pairs that differ, and those of the bridges that are made anew or can't
// be made to match.
func (p *planner) affected(have *Set, want Set) iter.Seq[difference] {
	return func(yield func(difference) bool) {
		for had, wants := range pairs(have.Veths, want.Veths) {
			if wants == nil {
				continue
			}
			d := difference{want: *wants}
			if had != nil {
				d.had = *had
			}
			if (d.want.differs(d.had) || p.renewed[d.want.Bridge] || p.broken[d.want.Bridge] != nil) && !yield(d) {
				return
			}
		}
	}
}

// pairs yields what two lists have by each name, in the order of the names; nil where it is
// not in one of them.
func pairs(have, want []Veth) iter.Seq2[*Veth, *Veth] {
	have, want = byHost(have), byHost(want)
	return func(yield func(had, wants *Veth) bool) {
		for i, j := 0, 0; i < len(have) || j < len(want); {
			order := -1
			switch {
			case i == len(have):
				order = 1
			case j < len(want):
				order = cmp.Compare(have[i].Host, want[j].Host)
			}
			var had, wants *Veth
			if order <= 0 {
				had = &have[i]
				i++
			}
			if order >= 0 {
				wants = &want[j]
				j++
			}
			if !yield(had, wants) {
				return
			}
		}
	}
}

// byHost sorts a list, a copy of it if it is not sorted.
func byHost(list []Veth) []Veth {
	order := func(a, b Veth) int { return cmp.Compare(a.Host, b.Host) }
	if slices.IsSortedFunc(list, order) {
		return list
	}
	return slices.SortedStableFunc(slices.Values(list), order)
}
