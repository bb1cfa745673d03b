package nftables

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// This file is about what is read of the kernel's table.

// found is the table as the kernel has it. Its rules have no texts.
type found struct {
	there  bool
	chains []chain
	sets   []foundSet
}

// foundSet is a set as the kernel has it.
type foundSet struct {
	name                     string
	interval, isMap, concats bool
	dynamic                  bool
	elements                 []element
}

// read lists what is in the table, of which want says what types its sets should have.
func (fam family) read(conn *nftables.Conn, want []set) (found, error) {
	there, err := hasTable(conn, fam.table, fam.own)
	if err != nil || !there {
		return found{}, err
	}
	t := &nftables.Table{Name: fam.own, Family: fam.table}
	f := found{there: true}
	chains, err := conn.ListChainsOfTableFamily(fam.table)
	if err != nil {
		return f, fmt.Errorf("list chains of table %s: %w", fam.name(), err)
	}
	for _, c := range chains {
		if c.Table.Name != fam.own {
			continue
		}
		of := chain{name: c.Name}
		if c.Hooknum != nil && c.Priority != nil {
			of.hook = &hook{kind: c.Type, point: c.Hooknum, priority: *c.Priority}
			if c.Policy != nil && *c.Policy != nftables.ChainPolicyAccept {
				of.hook.name = "drops" // which none of mybr's does
			}
		}
		if strings.HasPrefix(c.Name, chainTranslated) {
			if of.rules, err = fam.rulesOf(c.Name); err != nil {
				return f, fmt.Errorf("list rules of chain %s of table %s: %w", c.Name, fam.name(), err)
			}
			f.chains = append(f.chains, of)
			continue
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return f, fmt.Errorf("list rules of chain %s of table %s: %w", c.Name, fam.name(), err)
		}
		for _, r := range rules {
			of.rules = append(of.rules, rule{exprs: r.Exprs})
		}
		f.chains = append(f.chains, of)
	}
	sets, err := conn.GetSets(t)
	if err != nil {
		return f, fmt.Errorf("list sets of table %s: %w", fam.name(), err)
	}
	for _, s := range sets {
		of := foundSet{name: s.Name, interval: s.Interval, isMap: s.IsMap, concats: s.Concatenation, dynamic: s.Dynamic}
		if like, known := fam.like(want, s.Name); known && !s.Dynamic {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				return f, fmt.Errorf("list elements of set %s of table %s: %w", s.Name, fam.name(), err)
			}
			of.elements = readElements(like, elements)
		}
		f.sets = append(f.sets, of)
	}
	return f, nil
}

// like is a set of the types that one of that name should have.
func (fam family) like(want []set, name string) (like set, known bool) {
	if strings.HasPrefix(name, admitted) {
		return set{name: name, key: []kind{fam.address}, interval: true}, true
	}
	if strings.HasPrefix(name, arriving) {
		return set{name: name, key: []kind{nameKind()}}, true
	}
	if fam.table == nftables.TableFamilyBridge && strings.HasPrefix(name, setICCTo) {
		return iccTo(name), true
	}
	if i := slices.IndexFunc(want, func(w set) bool { return w.name == name }); i >= 0 {
		return want[i], true
	}
	return set{}, false
}

// readElements turns the kernel's elements into those of a set.
func readElements(s set, all []nftables.SetElement) (out []element) {
	if s.interval && len(s.key) == 1 {
		return readIntervals(s, all)
	}
	for _, k := range all {
		out = append(out, element{key: string(k.Key), end: string(k.KeyEnd), data: readData(s, k)})
	}
	slices.SortFunc(out, compareElements)
	return out
}

// readIntervals puts intervals together: the kernel has an element where one begins, and
// one with a flag directly behind its end (nft_set_rbtree.c).
func readIntervals(s set, all []nftables.SetElement) (out []element) {
	slices.SortFunc(all, func(a, b nftables.SetElement) int {
		if order := strings.Compare(string(a.Key), string(b.Key)); order != 0 || a.IntervalEnd == b.IntervalEnd {
			return order
		}
		if a.IntervalEnd { // what ends there comes before what begins
			return -1
		}
		return 1
	})
	open := -1 // in out
	for _, k := range all {
		if open >= 0 {
			out[open].end = string(before(k.Key))
			open = -1
		}
		if !k.IntervalEnd {
			open = len(out)
			out = append(out, element{key: string(k.Key), data: readData(s, k)})
		}
	}
	if open >= 0 {
		out[open].end = strings.Repeat("\xff", len(out[open].key))
	}
	return out
}

// before is the number before one of as many bytes.
func before(number []byte) []byte {
	out := slices.Clone(number)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]--; out[i] != 0xff {
			break
		}
	}
	return out
}

// behind is the number behind one of as many bytes; nil: there is none.
func behind(number []byte) []byte {
	out := slices.Clone(number)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]++; out[i] != 0 {
			return out
		}
	}
	return nil
}

// readData is what an element of a map leads to.
func readData(s set, k nftables.SetElement) string {
	if !s.verdicts {
		return string(k.Val)
	}
	all, err := netlink.UnmarshalAttributes(k.Val)
	if err != nil {
		return "?" // no verdict of mybr's
	}
	code, chain := expr.VerdictKind(0), ""
	for _, a := range all {
		switch a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case unix.NFTA_VERDICT_CODE:
			if len(a.Data) == 4 {
				code = expr.VerdictKind(int32(binary.BigEndian.Uint32(a.Data)))
			}
		case unix.NFTA_VERDICT_CHAIN:
			chain = strings.TrimRight(string(a.Data), "\x00")
		}
	}
	switch code {
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictGoto:
		return "goto " + chain
	case expr.VerdictJump:
		return "jump " + chain
	}
	return fmt.Sprintf("verdict %d", code)
}
