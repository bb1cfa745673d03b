package explain

import (
	"encoding/json"
)

// deed is what a statement may do with a packet.
type deed int

const (
	goesOn  deed = iota // the next statement is asked
	breaks              // the next rule is
	accepts             // the chain of the hook is over, and others are asked
	drops
	rejects
	returns
	jumps
	leads // goto
	unknowable
)

// effect is one deed, with what belongs to it.
type effect struct {
	deed
	chain   string // of jumps and leads
	reply   string // of rejects
	element string // of a set or map, that says so
	of      string // that set or map
}

// statement has a packet pass one part of a rule. Several effects: it can't be told which of
// them. A packet is changed by what has one effect alone.
type statement func(s *Space, p *Packet) []effect

func only(e effect) []effect { return []effect{e} }

func always1(e effect) statement { return func(*Space, *Packet) []effect { return only(e) } }

// statement reads one (libnftables-json(5), STATEMENTS); nil: it does nothing that matters.
func (t *Native) statement(what string, raw json.RawMessage) statement {
	switch what {
	case "counter", "log", "comment", "last", "ct helper", "ct timeout", "ct expectation", "secmark":
		return nil
	case "match":
		return t.match(raw)
	case "vmap":
		return t.vmap(raw)
	case "mangle":
		return mangle(raw)
	case "dnat", "snat", "masquerade", "redirect":
		return t.translation(what, raw)
	case "reject":
		var how struct{ Type, Expr string }
		_ = json.Unmarshal(raw, &how) // without anything it is "port unreachable"
		if how.Type == "tcp reset" {
			return always1(effect{deed: rejects, reply: "tcp-reset"})
		}
		return always1(effect{deed: rejects, reply: how.Expr})
	case "limit", "quota", "ct count", "set", "meter":
		return func(*Space, *Packet) []effect { return []effect{{deed: goesOn}, {deed: breaks}} }
	case "xt": // of iptables, without what it asks
		var of struct{ Type string }
		if json.Unmarshal(raw, &of) == nil && of.Type == "match" {
			return func(*Space, *Packet) []effect { return []effect{{deed: goesOn}, {deed: breaks}} }
		}
	}
	if e, ok := parseVerdict(what, raw); ok {
		if e.deed == goesOn {
			return nil
		}
		return always1(e)
	}
	return always1(effect{deed: unknowable})
}

// parseVerdict reads a verdict statement.
func parseVerdict(what string, raw json.RawMessage) (effect, bool) {
	var to struct{ Target string }
	switch what {
	case "accept":
		return effect{deed: accepts}, true
	case "drop":
		return effect{deed: drops}, true
	case "return":
		return effect{deed: returns}, true
	case "continue":
		return effect{deed: goesOn}, true
	case "jump", "goto":
		err := json.Unmarshal(raw, &to)
		return effect{deed: map[string]deed{"jump": jumps, "goto": leads}[what], chain: to.Target}, err == nil && to.Target != ""
	}
	return effect{deed: unknowable}, false
}

// effects is what a match does.
func (a answer) effects() []effect {
	switch a {
	case yes:
		return only(effect{deed: goesOn})
	case no:
		return only(effect{deed: breaks})
	}
	return []effect{{deed: goesOn}, {deed: breaks}}
}

// set finds a set that an expression names, or has within it; nil: it is neither.
func (t *Native) set(raw json.RawMessage) (s *NativeSet, name string) {
	if json.Unmarshal(raw, &name) == nil && name != "" && name[0] == '@' {
		return t.Sets[name[1:]], name[1:]
	}
	var anonymous struct{ Set []json.RawMessage }
	if json.Unmarshal(raw, &anonymous) != nil || anonymous.Set == nil {
		return nil, ""
	}
	s, err := parseSet(anonymous.Set)
	if err != nil {
		return nil, ""
	}
	return s, ""
}

// match is a comparison.
func (t *Native) match(raw json.RawMessage) statement {
	var m struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(raw, &m) != nil {
		return always1(effect{deed: unknowable})
	}
	o := parseOperand(m.Left)
	holds := cannotTell
	if isSet(m.Right) {
		if s, name := t.set(m.Right); s != nil {
			return s.lookup(o, name, m.Op == "!=")
		}
	} else {
		holds = comparison(o, m.Op, m.Right)
	}
	return func(s *Space, p *Packet) []effect {
		v := o.get(s, p)
		if v.state == absent {
			return no.effects()
		}
		a := holds(v)
		if m.Op == "!=" && a != unsure {
			a = is(a == no)
		}
		return a.effects()
	}
}

// comparison is what an operator asks of a value; "!=" is the contrary of "==".
func comparison(o operand, op string, right json.RawMessage) test {
	n, isNumber := uint64(0), false
	if len(o.kinds) == 1 {
		n, isNumber = parseNumber(o.kinds[0], right)
	}
	switch {
	case op == "in" && isNumber:
		return someBits(n)
	case op == "==" || op == "!=" || op == "in":
		return parseTest(o.kinds, right)
	case isNumber && op == "<" && n > 0:
		return spanTest(0, n-1)
	case isNumber && op == "<=":
		return spanTest(0, n)
	case isNumber && op == ">":
		return spanTest(n+1, ^uint64(0))
	case isNumber && op == ">=":
		return spanTest(n, ^uint64(0))
	}
	return cannotTell
}

// someBits is for numbers that have one of the bits.
func someBits(bits uint64) test {
	return known(func(v value) answer {
		switch {
		case v.num&bits&^v.hidden != 0:
			return yes
		case v.hidden&bits != 0 || v.num != v.high:
			return unsure
		}
		return no
	})
}

// isSet reports whether an expression is a set, by its name or with its elements.
func isSet(raw json.RawMessage) bool {
	if len(raw) > 2 && raw[0] == '"' && raw[1] == '@' {
		return true
	}
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object["set"] != nil
}

// lookup matches what is in a set.
func (s *NativeSet) lookup(o operand, name string, invert bool) statement {
	return func(space *Space, p *Packet) []effect {
		v := o.get(space, p)
		if v.state == absent {
			return no.effects()
		}
		found, maybeNone := s.find(o.kinds, v)
		switch {
		case len(found) > 0 && maybeNone:
			return unsure.effects()
		case len(found) > 0 == invert:
			return no.effects()
		}
		e := effect{deed: goesOn}
		if len(found) == 1 && name != "" {
			e.element, e.of = s.Elements[found[0]].Text(), name
		}
		return only(e)
	}
}

// vmap does what a map of verdicts says.
func (t *Native) vmap(raw json.RawMessage) statement {
	var m struct{ Key, Data json.RawMessage }
	if json.Unmarshal(raw, &m) != nil {
		return always1(effect{deed: unknowable})
	}
	s, name := t.set(m.Data)
	if s == nil {
		return always1(effect{deed: unknowable})
	}
	o := parseOperand(m.Key)
	return func(space *Space, p *Packet) (all []effect) {
		found, maybeNone := s.find(o.kinds, o.get(space, p))
		for _, i := range found {
			e := s.Elements[i]
			var verdict map[string]json.RawMessage
			one := effect{deed: unknowable}
			if json.Unmarshal(e.Data, &verdict) == nil && len(verdict) == 1 {
				for what, raw := range verdict {
					one, _ = parseVerdict(what, raw)
				}
			}
			if one.of = name; name != "" {
				one.element = e.Text()
			}
			all = append(all, one)
		}
		if maybeNone {
			all = append(all, effect{deed: breaks})
		}
		return all
	}
}
