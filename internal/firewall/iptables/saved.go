package iptables

import (
	"slices"
	"strings"
)

// saved is what iptables-save(8) printed, in its order.
type saved struct {
	tables []savedTable
}

type savedTable struct {
	name   string
	chains []savedChain
}

type savedChain struct {
	name  string
	rules []string // behind "-A CHAIN "
}

// parseSave reads the output of iptables-save without -c. Built-in chains of the
// tables it names are there even if nothing was printed for them: the nf_tables
// variant makes them with the first rule.
func parseSave(text string, tables ...string) saved {
	var s saved
	for _, name := range tables {
		t := savedTable{name: name}
		for _, c := range builtin(name) {
			t.chain(c)
		}
		s.tables = append(s.tables, t)
	}
	t := &savedTable{} // rules before any table don't occur; they would go here
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "*"):
			t = s.table(line[1:])
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			t.chain(name)
		case strings.HasPrefix(line, "-A "):
			name, text, _ := strings.Cut(line[len("-A "):], " ")
			text = strings.Replace(text, "--nflog-prefix  ", "--nflog-prefix ", 1) // before iptables 1.8.8
			c := t.chain(name)
			c.rules = append(c.rules, text)
		}
	}
	return s
}

// builtin lists the chains that a table has by itself and that mybr has jumps in.
func builtin(table string) []string {
	if table == "nat" {
		return []string{"PREROUTING", "OUTPUT", "POSTROUTING"}
	}
	return []string{"INPUT", "FORWARD"}
}

// table returns the table of that name, made if it is missing.
func (s *saved) table(name string) *savedTable {
	i := slices.IndexFunc(s.tables, func(t savedTable) bool { return t.name == name })
	if i < 0 {
		s.tables = append(s.tables, savedTable{name: name})
		i = len(s.tables) - 1
	}
	return &s.tables[i]
}

// chain returns the chain of that name, made if it is missing.
func (t *savedTable) chain(name string) *savedChain {
	i := slices.IndexFunc(t.chains, func(c savedChain) bool { return c.name == name })
	if i < 0 {
		t.chains = append(t.chains, savedChain{name: name})
		i = len(t.chains) - 1
	}
	return &t.chains[i]
}

// has reports whether any chain's name begins so.
func (s saved) has(prefix string) bool {
	return slices.ContainsFunc(s.tables, func(t savedTable) bool {
		return slices.ContainsFunc(t.chains, func(c savedChain) bool { return strings.HasPrefix(c.name, prefix) })
	})
}

// chain returns the rules of one chain, and whether it exists.
func (s saved) chain(table, name string) (rules []string, ok bool) {
	for _, t := range s.tables {
		for _, c := range t.chains {
			if t.name == table && c.name == name {
				return c.rules, true
			}
		}
	}
	return nil, false
}

// chains returns the rules of all chains of a table by their names.
func (s saved) chains(table string) map[string][]string {
	all := map[string][]string{}
	for _, t := range s.tables {
		for _, c := range t.chains {
			if t.name == table {
				all[c.name] = c.rules
			}
		}
	}
	return all
}

// own returns the names of a table's chains that are mybr's.
func (s saved) own(table string) []string {
	var names []string
	for _, t := range s.tables {
		for _, c := range t.chains {
			if t.name == table && strings.HasPrefix(c.name, ownPrefix) {
				names = append(names, c.name)
			}
		}
	}
	return names
}
