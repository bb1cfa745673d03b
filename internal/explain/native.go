package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Native is a table of nf_tables that iptables doesn't show.
type Native struct {
	Family, Name string // Family: "ip", "ip6", "inet"
	Chains       []*NativeChain
	Sets         map[string]*NativeSet // and maps
}

// NativeChain is a chain; of one that is no base chain the Hook is "".
type NativeChain struct {
	Name, Hook, Kind, Policy string // Kind: "filter", "nat", "route"
	Priority                 int
	Rules                    []*NativeRule
}

// NativeRule is one rule.
type NativeRule struct {
	Text       string // as nft(8) prints it
	Count      Count
	statements []statement
}

// NativeSet is a set, or a map if its elements lead to something.
type NativeSet struct {
	Elements []NativeElement
	tests    []test // of the keys, for values of some kinds
	of       string // those kinds
}

// NativeElement is one element.
type NativeElement struct {
	Key, Data json.RawMessage // Data of a set is nil
	Count     Count
}

// Count is what a rule or an element has counted, if it counts.
type Count struct {
	Counts         bool
	Packets, Bytes uint64
}

// Counted is what the table's rules and elements have counted, of those that count.
func (t *Native) Counted() map[RuleKey]Count {
	all := map[RuleKey]Count{}
	add := func(chain, text string, c Count) {
		if c.Counts {
			key := RuleKey{Table: t.title(), Chain: chain, Rule: text}
			was := all[key]
			all[key] = Count{true, was.Packets + c.Packets, was.Bytes + c.Bytes}
		}
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			add(c.Name, r.Text, r.Count)
		}
	}
	for name, s := range t.Sets {
		for _, e := range s.Elements {
			add(name, e.Text(), e.Count)
		}
	}
	return all
}

func (t *Native) chain(name string) *NativeChain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// title is the table as nft(8) has it.
func (t *Native) title() string { return t.Family + " " + t.Name }

// listed is a document of nft --json (libnftables-json(5)).
type listed struct {
	Nftables []map[string]json.RawMessage
}

// listedPart is the union of what chains, rules and sets have.
type listedPart struct {
	Family, Table, Name, Chain, Type, Hook, Policy string
	Prio, Handle                                   int
	Expr                                           []map[string]json.RawMessage
	Elem                                           []json.RawMessage
}

// Listed is what nft(8) prints of tables.
type Listed struct {
	JSON string // with --json: a document for each table, one behind the other
	Text string // with --handle, for the texts of rules
	Code string // with --debug=netlink, for what it leaves out otherwise; "" unless NeedsCode
}

// ParseNative reads what nft(8) prints, but for the tables that skip names.
func ParseNative(l Listed, skip func(family, table string) bool) ([]*Native, error) {
	all, err := documents(l.JSON)
	if err != nil {
		return nil, err
	}
	texts, families := ruleTexts(l.Text), rejectedFamilies(l.Code)
	var tables []*Native
	find := func(family, name string) *Native {
		for _, t := range tables {
			if t.Family == family && t.Name == name {
				return t
			}
		}
		return nil
	}
	for _, object := range all {
		for what, raw := range object {
			if what != "table" && what != "chain" && what != "rule" && what != "set" && what != "map" {
				continue
			}
			p, err := parsePart(what, raw)
			if err != nil {
				return nil, fmt.Errorf("nft --json: %s: %w", what, err)
			}
			switch t := find(p.Family, p.Table); {
			case what == "table":
				if (p.Family == "ip" || p.Family == "ip6" || p.Family == "inet") && !skip(p.Family, p.Name) {
					tables = append(tables, &Native{Family: p.Family, Name: p.Name, Sets: map[string]*NativeSet{}})
				}
			case t == nil:
			case what == "chain":
				t.Chains = append(t.Chains, &NativeChain{Name: p.Name, Hook: p.Hook, Kind: p.Type, Policy: p.Policy, Priority: p.Prio})
			case what == "rule":
				c := t.chain(p.Chain)
				if c == nil {
					return nil, fmt.Errorf("nft --json: a rule of table %s is in chain %q, which is not listed before it", t.title(), p.Chain)
				}
				at := handle{p.Family, p.Table, p.Chain, p.Handle}
				c.Rules = append(c.Rules, t.rule(p, texts[at], families[at]))
			default:
				s, err := parseSet(p.Elem)
				if err != nil {
					return nil, fmt.Errorf("nft --json: %s %s of table %s: %w", what, p.Name, t.title(), err)
				}
				t.Sets[p.Name] = s
			}
		}
	}
	return tables, nil
}

// documents puts together what several documents list.
func documents(text string) (all []map[string]json.RawMessage, err error) {
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var one listed
		switch err := d.Decode(&one); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("nft --json: %w", err)
		}
		all = append(all, one.Nftables...)
	}
}

// parsePart leaves out the type of a set, which may be a list.
func parsePart(what string, raw json.RawMessage) (p listedPart, err error) {
	if what != "set" && what != "map" {
		return p, json.Unmarshal(raw, &p)
	}
	var set struct {
		Family, Table, Name string
		Elem                []json.RawMessage
	}
	err = json.Unmarshal(raw, &set)
	return listedPart{Family: set.Family, Table: set.Table, Name: set.Name, Elem: set.Elem}, err
}

// parseSet reads elements: KEY of a set, [KEY, DATA] of a map, where KEY may be in an object
// with what else the element has.
func parseSet(all []json.RawMessage) (*NativeSet, error) {
	s := &NativeSet{}
	for _, raw := range all {
		e := NativeElement{Key: raw}
		var pair []json.RawMessage
		if raw = bytes.TrimSpace(raw); raw[0] == '[' {
			if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
				return nil, fmt.Errorf("%s is no key with what it leads to", raw)
			}
			e.Key, e.Data = pair[0], pair[1]
		}
		var wrapped struct {
			Elem *struct {
				Val     json.RawMessage
				Counter *struct{ Packets, Bytes uint64 }
			}
		}
		if json.Unmarshal(e.Key, &wrapped) == nil && wrapped.Elem != nil {
			e.Key = wrapped.Elem.Val
			if c := wrapped.Elem.Counter; c != nil {
				e.Count = Count{true, c.Packets, c.Bytes}
			}
		}
		s.Elements = append(s.Elements, e)
	}
	return s, nil
}

// rule compiles a rule; what isn't known becomes a statement of which it can't be told what it
// does.
func (t *Native) rule(p listedPart, text, family string) *NativeRule {
	r := &NativeRule{Text: text}
	if text == "" { // it has come between the two lists
		r.Text = fmt.Sprintf("the one with the handle %d", p.Handle)
	}
	for _, object := range p.Expr {
		for what, raw := range object {
			if what == "counter" {
				var c struct{ Packets, Bytes uint64 }
				if json.Unmarshal(raw, &c) == nil { // else it is a named one
					r.Count = Count{true, c.Packets, c.Bytes}
				}
			}
			if what == "reject" {
				r.statements = append(r.statements, t.rejectable(raw, family))
			}
			if s := t.statement(what, raw); s != nil {
				r.statements = append(r.statements, s)
			}
		}
	}
	return r
}
