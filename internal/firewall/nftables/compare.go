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
	text    []string   // for operators, one line each

	follows []string // of text: what follows what others have made of their own rules
}

// elements is what changes in a set.
type elements struct {
	set
	deleted, added []element
}

// empty reports whether there is nothing to do.
func (c change) empty() bool { return !c.replace && len(c.chains) == 0 && len(c.sets) == 0 }

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
	for _, w := range want.chains {
		h := have.chains[slices.IndexFunc(have.chains, func(h chain) bool { return h.name == w.name })]
		if !sameRules(h.rules, w.rules) {
			c.chains = append(c.chains, w)
			c.tell(wordFlush, "chain", w.name, "")
			for _, r := range w.rules {
				c.tell(wordAdd, "rule", w.name, r.text)
			}
		}
	}
	for _, w := range want.sets {
		h := have.sets[slices.IndexFunc(have.sets, func(h foundSet) bool { return h.name == w.name })]
		c.turn(w, h.elements)
	}
	return c
}

// anew has the table made anew.
func (c change) anew() change {
	c.replace, c.chains, c.sets = true, nil, nil
	c.text = nil
	if c.there {
		c.tell(wordDelete, "table", "", "")
	}
	c.tell(wordAdd, "table", "", "")
	for _, s := range c.want.sets {
		c.tell(wordAdd, s.word(), s.name, "")
		for _, e := range s.elements {
			c.tell(wordAdd, "element", s.name, s.text(e))
		}
	}
	for _, w := range c.want.chains {
		c.tell(wordAdd, "chain", w.name, "")
		for _, r := range w.rules {
			c.tell(wordAdd, "rule", w.name, r.text)
		}
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
	for i < len(have) || j < len(want.elements) {
		order := 0
		switch {
		case i == len(have):
			order = 1
		case j == len(want.elements):
			order = -1
		default:
			order = compareElements(have[i], want.elements[j])
		}
		switch {
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
	if len(of.deleted)+len(of.added) == 0 {
		return
	}
	of.elements = nil
	c.sets = append(c.sets, of)
	for _, e := range of.deleted {
		c.tell(wordDelete, "element", want.name, want.text(e))
	}
	for _, e := range of.added {
		c.tell(wordAdd, "element", want.name, want.text(e))
	}
}

// builtLike reports whether the table has the wanted chains and sets, and no others.
func (f found) builtLike(want ruleset) bool {
	if len(f.chains) != len(want.chains) || len(f.sets) != len(want.sets) {
		return false
	}
	for _, w := range want.chains {
		i := slices.IndexFunc(f.chains, func(h chain) bool { return h.name == w.name })
		if i < 0 || !sameHook(f.chains[i].hook, w.hook) {
			return false
		}
	}
	for _, w := range want.sets {
		i := slices.IndexFunc(f.sets, func(h foundSet) bool { return h.name == w.name })
		if i < 0 {
			return false
		}
		h := f.sets[i]
		if h.interval != w.interval || h.isMap != w.isMap() || h.concats != w.concats() {
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
	if l, ok := e.(*expr.Lookup); ok {
		same := *l
		same.SetID = 0 // it is a number within one transaction
		return &same
	}
	return e
}
