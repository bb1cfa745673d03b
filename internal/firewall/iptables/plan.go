package iptables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/firewall"
)

// script is a change as it is put together.
type script struct {
	on    *variant
	table string
	lines strings.Builder // of the table
	input strings.Builder // of the tables before it
	text  []string
	moves []string // of text: what only Docker's rules can be the reason for
}

// write adds a line to the table's part of the input of iptables-restore.
func (s *script) write(format string, args ...any) {
	fmt.Fprintf(&s.lines, format+"\n", args...)
}

// tell adds lines for operators, one for each rule.
func (s *script) tell(action, chain string, rules ...string) {
	for _, r := range rules {
		s.text = append(s.text, fmt.Sprintf("%s %s: %s %s %s", s.on, s.table, action, chain, r))
	}
}

// tellChain adds a line for operators about a chain.
func (s *script) tellChain(action, chain string) {
	s.text = append(s.text, fmt.Sprintf("%s %s: %s %s", s.on, s.table, action, chain))
}

// begin starts a table's part.
func (s *script) begin(table string) { s.table = table }

// end commits the table, if anything is to be changed in it.
func (s *script) end() {
	if s.lines.Len() > 0 {
		fmt.Fprintf(&s.input, "*%s\n%sCOMMIT\n", s.table, s.lines.String())
		s.lines.Reset()
	}
}

// fill has mybr's chains of a variant bring the policy about, and the jumps lead there.
// Chains that do it already are left alone, and with them their counters; the others are
// written anew. The chains and jumps of the policy without networks are none.
func (s *side) fill(f found, want firewall.Policy, known facts) change {
	wanted := s.fam.jumps(want)
	if len(want.Networks) > 0 {
		wanted = append(wanted, f.missingJumps()...)
	}
	return put(f, s.fam.render(want, known), wanted)
}

// put has a variant's chains of mybr's be these, and no others, and the jumps lead to them.
func put(f found, rules ruleset, jumps []jump) change {
	edits := f.edits(jumps)
	out := &script{on: f.variant}
	for _, t := range rules {
		out.begin(t.name)
		var keep []string
		for _, c := range t.chains {
			keep = append(keep, c.name)
		}
		out.rewrite(f.saved, t)
		out.edit(edits)
		out.remove(f.saved, slices.DeleteFunc(f.own(t.name), func(name string) bool { return slices.Contains(keep, name) }))
		out.end()
	}
	return change{on: f.variant, input: out.input.String(), text: out.text, moves: out.moves, edits: edits}
}

// rewrite writes the chains of a table that don't have the wanted rules. All are declared
// before any rule: they refer to each other.
func (s *script) rewrite(have saved, want table) {
	before := have.chains(want.name)
	other := slices.DeleteFunc(slices.Clone(want.chains), func(c chain) bool {
		rules, ok := before[c.name]
		deleted, added, moved := c.compare(rules)
		return ok && len(deleted)+len(added)+len(moved) == 0
	})
	for _, c := range other {
		s.write(":%s - [0:0]", c.name)
		if _, ok := before[c.name]; !ok {
			s.tellChain("-N", c.name)
		}
	}
	for _, c := range other {
		for _, r := range c.texts() {
			s.write("-A %s %s", c.name, r)
		}
		deleted, added, moved := c.compare(before[c.name])
		s.tell("delete -A", c.name, deleted...)
		s.tell("move -A", c.name, moved...)
		s.tell("-A", c.name, added...)
	}
}

// edit writes the edits of the table. They are committed with the chains that the jumps
// lead to, so that a jump that moves is not missing in between, and never leads to rules
// that aren't there yet.
func (s *script) edit(edits []edit) {
	for _, e := range edits {
		if e.table != s.table {
			continue
		}
		for _, r := range e.gone {
			s.write("-D %s %s", e.chain, r)
		}
		told := len(s.text)
		s.tell("delete -A", e.chain, e.gone...)
		switch {
		case e.text == "":
		case e.at == 0:
			s.write("-A %s %s", e.chain, e.text)
			s.tell("-A", e.chain, e.text)
		default:
			s.write("-I %s %d %s", e.chain, e.at, e.text)
			s.tell("-I", fmt.Sprint(e.chain, " ", e.at), e.text)
		}
		if e.follows {
			s.moves = append(s.moves, s.text[told:]...)
		}
	}
}

// remove writes the removal of chains.
func (s *script) remove(have saved, chains []string) {
	var gone []chain
	before := have.chains(s.table)
	for _, name := range chains {
		c := chain{name: name}
		for _, r := range before[name] {
			c.add("", "", rule{text: r})
		}
		gone = append(gone, c)
	}
	s.drop(gone)
}
