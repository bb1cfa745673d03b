package nftables

import (
	"reflect"
	"slices"

	"github.com/google/nftables/expr"
)

// change is what has to be done to the table of one family.
type change struct {
	fam     family
	want    ruleset
	replace bool       // the table is removed, if it is there, and made anew, if it is wanted
	there   bool       // it is there
	chains  []chain    // whose rules are written anew
	sets    []elements // that are changed
	made    ruleset    // chains and sets that come; the chains are among those above, too
	gone    ruleset    // and those that go
	text    []string   // for operators, one line each

	follows []string // of text: what follows what others have made of their own rules
}

// elements is what changes in a set.
type elements struct {
	set
	deleted, added []element
}

// empty reports whether there is nothing to do.
func (c change) empty() bool {
	return !c.replace && len(c.chains)+len(c.sets)+len(c.made.sets)+len(c.gone.chains)+len(c.gone.sets) == 0
}

// compare says what makes the kernel's table the wanted one. If it is built otherwise, it is
// made anew, in one transaction, too.
func (fam family) compare(have found, want ruleset) change {
	c := change{fam: fam, want: want, there: have.there}
	switch {
	case len(want.chains) == 0:
		if c.replace = have.there; c.replace {
			c.tell(wordDelete, "table", "", "")
		}
		return c
	case !have.there || !have.builtLike(want):
		return c.anew()
	}
	c.alter(have, want)
	return c
}

// alter has what the table has, or a part of that, changed into what is wanted of it.
func (c *change) alter(have found, want ruleset) {
	for _, w := range want.sets {
		if i := slices.IndexFunc(have.sets, func(h foundSet) bool { return h.name == w.name }); i >= 0 {
			c.turn(w, have.sets[i].elements)
			continue
		}
		c.made.sets = append(c.made.sets, w)
		c.tellSet(w)
	}
	for _, w := range want.chains {
		i := slices.IndexFunc(have.chains, func(h chain) bool { return h.name == w.name })
		switch {
		case i < 0:
			c.made.chains, c.chains = append(c.made.chains, w), append(c.chains, w)
			c.tellChain(w)
		case !sameRules(have.chains[i].rules, w.rules):
			c.chains = append(c.chains, w)
			c.tell(wordFlush, "chain", w.name, "")
			for _, r := range w.rules {
				c.tell(wordAdd, "rule", w.name, r.text)
			}
		}
	}
	for _, h := range have.chains {
		if !slices.ContainsFunc(want.chains, func(w chain) bool { return h.name == w.name }) {
			c.gone.chains = append(c.gone.chains, h)
			c.tell(wordDelete, "chain", h.name, "")
		}
	}
	for _, h := range have.sets {
		if !slices.ContainsFunc(want.sets, func(w set) bool { return h.name == w.name }) {
			c.gone.sets = append(c.gone.sets, set{name: h.name})
			c.tell(wordDelete, "set", h.name, "")
		}
	}
}

// tellSet and tellChain have lines for what is made.
func (c *change) tellSet(s set) {
	c.tell(wordAdd, s.word(), s.name, "")
	for _, e := range s.elements {
		c.tell(wordAdd, "element", s.name, s.text(e))
	}
}

func (c *change) tellChain(w chain) {
	c.tell(wordAdd, "chain", w.name, "")
	for _, r := range w.rules {
		c.tell(wordAdd, "rule", w.name, r.text)
	}
}

// anew has the table made anew.
func (c change) anew() change {
	c.replace, c.chains, c.sets, c.made, c.gone = true, nil, nil, ruleset{}, ruleset{}
	c.text = nil
	if c.there {
		c.tell(wordDelete, "table", "", "")
	}
	c.tell(wordAdd, "table", "", "")
	for _, s := range c.want.sets {
		c.tellSet(s)
	}
	for _, w := range c.want.chains {
		c.tellChain(w)
	}
	return c
}

// difference turns one ruleset into another that has the same rules.
func (fam family) difference(have, want []set) change {
	c := change{fam: fam, there: true}
	for i, w := range want {
		c.turn(w, have[i].elements)
	}
	return c
}

// turn has a set with these elements turned into the wanted one. Both are in order.
func (c *change) turn(want set, have []element) {
	of := elements{set: want}
	i, j := 0, 0
	for i < len(have) && j < len(want.elements) {
		switch order := compareElements(have[i], want.elements[j]); {
		case order < 0:
			of.deleted = append(of.deleted, have[i])
			i++
		case order > 0:
			of.added = append(of.added, want.elements[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	of.deleted, of.added = append(of.deleted, have[i:]...), append(of.added, want.elements[j:]...)
	if len(of.deleted)+len(of.added) == 0 {
		return
	}
	of.elements = nil
	c.sets = append(c.sets, of)
	c.text = slices.Grow(c.text, len(of.deleted)+len(of.added))
	for _, e := range of.deleted {
		c.tell(wordDelete, "element", want.name, want.text(e))
	}
	for _, e := range of.added {
		c.tell(wordAdd, "element", want.name, want.text(e))
	}
}

// builtLike reports whether the table can be changed into the wanted one: what both have is of
// one kind, and no place where packets enter comes or goes.
func (f found) builtLike(want ruleset) bool {
	bases := 0
	for _, w := range want.chains {
		i := slices.IndexFunc(f.chains, func(h chain) bool { return h.name == w.name })
		if w.hook != nil {
			bases++
		}
		if i < 0 && w.hook != nil || i >= 0 && !sameHook(f.chains[i].hook, w.hook) {
			return false
		}
	}
	for _, h := range f.chains {
		if h.hook != nil {
			bases--
		}
	}
	if bases != 0 {
		return false
	}
	for _, w := range want.sets {
		i := slices.IndexFunc(f.sets, func(h foundSet) bool { return h.name == w.name })
		if i < 0 {
			continue
		}
		h := f.sets[i]
		if h.interval != w.interval || h.dynamic != w.dynamic || h.isMap != w.isMap() || h.concats != w.concats() {
			return false
		}
		size, data := 0, 0
		for _, k := range w.key {
			size += k.size
		}
		for _, k := range w.data {
			data += k.size
		}
		if slices.ContainsFunc(h.elements, func(e element) bool { return len(e.key) != size || !w.verdicts && len(e.data) != data }) {
			return false
		}
	}
	return true
}

func sameHook(have, want *hook) bool {
	if have == nil || want == nil {
		return have == want
	}
	return have.kind == want.kind && *have.point == *want.point && have.priority == want.priority && have.name != "drops"
}

// sameRules compares what the kernel has with what it was given.
func sameRules(have, want []rule) bool {
	return slices.EqualFunc(have, want, func(h, w rule) bool {
		return slices.EqualFunc(h.exprs, w.exprs, func(a, b expr.Any) bool { return reflect.DeepEqual(plain(a), plain(b)) })
	})
}

// plain is an expression without what the kernel tells otherwise than it was told.
func plain(e expr.Any) expr.Any {
	switch e := e.(type) {
	case *expr.Lookup:
		same := *e
		same.SetID = 0 // it is a number within one transaction
		return &same
	case *expr.Dynset:
		same := *e
		same.SetID = 0 // likewise
		return &same
	case *expr.Counter:
		return &expr.Counter{} // whatever it has counted
	}
	return e
}
