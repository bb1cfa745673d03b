package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Filter is the rules of one family and one variant of iptables.
type Filter struct {
	Six     bool
	Legacy  bool
	Command string // that shows them
	Tables  []Table
}

// Table is one of them.
type Table struct {
	Name   string
	Chains []*Chain
}

// Chain is a chain; of one that is no built-in one the policy is "".
type Chain struct {
	Name, Policy string
	Rules        []*Rule
}

// Rule is one rule.
type Rule struct {
	Text           string // behind "-A CHAIN "
	Packets, Bytes uint64 // if they were counted
	matches        []match
	jump           string // the target or chain; "": none
	to             bool   // -g: RETURN from there goes to where the calling chain was called
	options        []string
}

func (t *Table) chain(name string) *Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// ParseSave reads what iptables-save(8) prints, with or without counters.
func ParseSave(command string, six bool, text string) (Filter, error) {
	f := Filter{Six: six, Command: command}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if err := f.line(line); err != nil {
			return f, fmt.Errorf("%s-save: %q: %w", command, line, err)
		}
	}
	return f, nil
}

func (f *Filter) line(line string) error {
	if line == "" || line[0] == '#' || line == "COMMIT" {
		return nil
	}
	if line[0] == '*' {
		f.Tables = append(f.Tables, Table{Name: line[1:]})
		return nil
	}
	if len(f.Tables) == 0 {
		return fmt.Errorf("no table before it")
	}
	t := &f.Tables[len(f.Tables)-1]
	if line[0] == ':' {
		w := strings.Fields(line[1:])
		if len(w) < 2 {
			return fmt.Errorf("want a chain and its policy")
		}
		if w[1] == "-" {
			w[1] = ""
		}
		t.Chains = append(t.Chains, &Chain{Name: w[0], Policy: w[1]})
		return nil
	}
	var packets, bytes uint64
	if line[0] == '[' {
		counters, rest, ok := strings.Cut(line[1:], "] ")
		p, b, colon := strings.Cut(counters, ":")
		var err1, err2 error
		packets, err1 = strconv.ParseUint(p, 10, 64)
		bytes, err2 = strconv.ParseUint(b, 10, 64)
		if !ok || !colon || err1 != nil || err2 != nil {
			return fmt.Errorf("want [PACKETS:BYTES] and a rule")
		}
		line = rest
	}
	line, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return fmt.Errorf("want a rule")
	}
	name, rule, _ := strings.Cut(line, " ")
	c := t.chain(name)
	if c == nil {
		return fmt.Errorf("chain %s was not declared", name)
	}
	r, err := parseRule(rule)
	if err != nil {
		return err
	}
	r.Packets, r.Bytes = packets, bytes
	c.Rules = append(c.Rules, r)
	return nil
}

// words takes a rule apart; a word in quotes has backslashes before quotes in it.
func words(text string) (all []string, err error) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			all, text = append(all, word), rest
			continue
		}
		var b strings.Builder
		i := 1
		for ; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				i++
			}
			b.WriteByte(text[i])
		}
		if i >= len(text) {
			return nil, fmt.Errorf("a quote is not closed")
		}
		all, text = append(all, b.String()), text[i+1:]
	}
	return all, nil
}

// parseRule reads a rule as iptables-save(8) prints it. What it doesn't know becomes a match
// of which it can't be told whether it matches.
func parseRule(text string) (*Rule, error) {
	all, err := words(text)
	if err != nil {
		return nil, err
	}
	r := &Rule{Text: text}
	invert, module := false, ""
	for i := 0; i < len(all); {
		word := all[i]
		switch word {
		case "!":
			invert = true
			i++
			continue
		case "-j", "-g":
			if i+1 >= len(all) {
				return nil, fmt.Errorf("no target behind %s", word)
			}
			r.jump, r.to, r.options = all[i+1], word == "-g", all[i+2:]
			return r, nil
		case "-m":
			if i += 2; i > len(all) {
				return nil, fmt.Errorf("no name behind -m")
			}
			switch module = all[i-1]; {
			case module == "rpfilter":
				r.matches = append(r.matches, reversePath(all[i:]))
			case !slices.Contains(knownModules(), module):
				r.matches = append(r.matches, unknown)
			}
			continue
		}
		n, m := parseMatch(all[i:], module)
		if invert {
			m = m.inverted()
		}
		if r.matches, invert = append(r.matches, m), false; n < 1 || i+n > len(all) {
			return nil, fmt.Errorf("too little behind %s", word)
		}
		i += n
	}
	return r, nil
}
