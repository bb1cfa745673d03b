package nftables

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// This file is about what is written into the kernel's table.

// perMessage is how many elements go into one message: an attribute has 64 KiB at most
// (struct nlattr), and an element needs some 150 bytes.
const perMessage = 300

// put has the change in the transaction that conn collects.
func (c change) put(conn *nftables.Conn) error {
	t := &nftables.Table{Name: c.fam.own, Family: c.fam.table}
	if c.replace {
		if c.there {
			conn.DelTable(t)
		}
		return c.putAll(conn, t)
	}
	for _, w := range c.made.chains {
		conn.AddChain(&nftables.Chain{Name: w.name, Table: t})
	}
	if err := makeSets(conn, t, c.made.sets); err != nil {
		return err
	}
	for _, w := range c.chains {
		of := &nftables.Chain{Name: w.name, Table: t}
		conn.FlushChain(of)
		w.put(conn, of)
	}
	for _, s := range c.sets {
		if err := s.put(conn, t); err != nil {
			return err
		}
	}
	// All are emptied first, and sets go before chains: rules refer to sets, and elements to chains.
	for _, h := range c.gone.chains {
		conn.FlushChain(&nftables.Chain{Name: h.name, Table: t})
	}
	for _, h := range c.gone.sets {
		conn.DelSet(&nftables.Set{Name: h.name, Table: t})
	}
	for _, h := range c.gone.chains {
		conn.DelChain(&nftables.Chain{Name: h.name, Table: t})
	}
	return nil
}

// makeSets makes sets with their elements.
func makeSets(conn *nftables.Conn, t *nftables.Table, sets []set) error {
	for i, s := range sets {
		declared, err := s.declare(t)
		if err != nil {
			return err
		}
		declared.ID = uint32(i + 1) // else the library would number it, by a variable of its own
		if err := conn.AddSet(declared, nil); err != nil {
			return err
		}
		if err := (elements{set: s, added: s.elements}).put(conn, t); err != nil {
			return err
		}
	}
	return nil
}

// putAll makes the table, unless none is wanted. Chains come before the elements and the
// rules that lead to them, and sets before the rules that look into them.
func (c change) putAll(conn *nftables.Conn, t *nftables.Table) error {
	if len(c.want.chains) == 0 {
		return nil
	}
	conn.AddTable(t)
	made := make([]*nftables.Chain, len(c.want.chains))
	for i, w := range c.want.chains {
		made[i] = &nftables.Chain{Name: w.name, Table: t}
		if h := w.hook; h != nil {
			made[i].Type, made[i].Hooknum, made[i].Priority = h.kind, h.point, nftables.ChainPriorityRef(h.priority)
		}
		conn.AddChain(made[i])
	}
	if err := makeSets(conn, t, c.want.sets); err != nil {
		return err
	}
	for i, w := range c.want.chains {
		w.put(conn, made[i])
	}
	return nil
}

// put appends the chain's rules.
func (c chain) put(conn *nftables.Conn, to *nftables.Chain) {
	for _, r := range c.rules {
		conn.AddRule(&nftables.Rule{Table: to.Table, Chain: to, Exprs: r.exprs})
	}
}

// put deletes elements, and adds others.
func (e elements) put(conn *nftables.Conn, t *nftables.Table) error {
	to := &nftables.Set{Name: e.name, Table: t}
	deleted, added := e.kernel(e.deleted), e.kernel(e.added)
	for len(deleted) > 0 {
		n := min(len(deleted), perMessage)
		if err := conn.SetDeleteElements(to, deleted[:n]); err != nil {
			return err
		}
		deleted = deleted[n:]
	}
	for len(added) > 0 {
		n := min(len(added), perMessage)
		if err := conn.SetAddElements(to, added[:n]); err != nil {
			return err
		}
		added = added[n:]
	}
	return nil
}

// concats reports whether it needs the kernel's sets for intervals within concatenations.
func (s set) concats() bool { return s.interval && len(s.key) > 1 }

// declare is the set as the library has it, without elements.
func (s set) declare(t *nftables.Table) (*nftables.Set, error) {
	out := &nftables.Set{Table: t, Name: s.name, Interval: s.interval, Concatenation: s.concats(), IsMap: s.isMap(), Counter: s.counter}
	if s.dynamic {
		out.Dynamic, out.HasTimeout, out.Timeout, out.Size = true, true, askedFor, askedMost
	}
	if len(s.key) == 1 && s.key[0].Name == nftables.TypeIFName.Name {
		out.KeyByteOrder = binaryutil.NativeEndian // of the text, for nft(8), which would print "" otherwise
	}
	var err error
	if out.KeyType, err = concat(s.key); err != nil {
		return nil, err
	}
	switch {
	case s.verdicts:
		out.DataType = nftables.TypeVerdict
	case s.data != nil:
		out.DataType, err = concat(s.data)
	}
	return out, err
}

func concat(kinds []kind) (nftables.SetDatatype, error) {
	if len(kinds) == 1 {
		return kinds[0].SetDatatype, nil
	}
	var types []nftables.SetDatatype
	for _, k := range kinds {
		types = append(types, k.SetDatatype)
	}
	return nftables.ConcatSetType(types...)
}

// kernel is elements as the kernel takes them.
func (s set) kernel(all []element) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, len(all))
	for _, e := range all {
		k := nftables.SetElement{Key: []byte(e.key)}
		if s.verdicts {
			k.VerdictData = parseVerdict(e.data)
		} else if s.data != nil {
			k.Val = []byte(e.data)
		}
		if s.concats() {
			k.KeyEnd = []byte(e.end)
		}
		out = append(out, k)
		if s.interval && !s.concats() {
			if end := behind([]byte(e.end)); end != nil {
				out = append(out, nftables.SetElement{Key: end, IntervalEnd: true})
			}
		}
	}
	return out
}
