package explain

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// test reports whether a value is one of those that it is for.
type test func(v value) answer

func cannotTell(value) answer { return unsure }

// known has a test asked of values that are there.
func known(t test) test {
	return func(v value) answer {
		switch v.state {
		case absent:
			return no
		case unclear:
			return unsure
		}
		return t(v)
	}
}

// spanTest is for numbers from first to last.
func spanTest(first, last uint64) test {
	return known(func(v value) answer {
		if v.hidden != 0 {
			if first == last && (v.num^first)&^v.hidden != 0 {
				return no
			}
			return unsure
		}
		switch {
		case first <= v.num && v.high <= last:
			return yes
		case v.high < first || last < v.num:
			return no
		}
		return unsure
	})
}

// parseTest reads what values of some kinds are compared with: a value, a range, a prefix, or
// several of them side by side. "*" stands for all that nothing else stands for.
func parseTest(kinds []kind, raw json.RawMessage) test {
	var object struct {
		Concat []json.RawMessage
		Prefix *struct {
			Addr string
			Len  int
		}
		Range []json.RawMessage
		Elem  *struct{ Val json.RawMessage }
	}
	if len(raw) > 0 && raw[0] == '{' {
		if json.Unmarshal(raw, &object) != nil {
			return cannotTell
		}
		switch {
		case object.Elem != nil:
			return parseTest(kinds, object.Elem.Val)
		case len(object.Concat) > 0 && len(object.Concat) == len(kinds):
			return sideBySide(kinds, object.Concat)
		case len(kinds) != 1:
		case object.Prefix != nil:
			a, err := netip.ParseAddr(object.Prefix.Addr)
			if err != nil || kinds[0] != anAddr {
				return cannotTell
			}
			p := netip.PrefixFrom(a, object.Prefix.Len)
			return known(func(v value) answer { return is(p.Contains(v.addr)) })
		case len(object.Range) == 2:
			return rangeTest(kinds[0], object.Range[0], object.Range[1])
		}
		return cannotTell
	}
	if len(kinds) != 1 {
		return cannotTell
	}
	return simpleTest(kinds[0], raw)
}

// sideBySide is for fields that are looked up together: one that surely is another is enough.
func sideBySide(kinds []kind, parts []json.RawMessage) test {
	var tests []test
	for i, raw := range parts {
		tests = append(tests, parseTest(kinds[i:i+1], raw))
	}
	return known(func(v value) answer {
		out := yes
		for i, t := range tests {
			switch t(v.parts[i]) {
			case no:
				return no
			case unsure:
				out = unsure
			}
		}
		return out
	})
}

func rangeTest(k kind, first, last json.RawMessage) test {
	if k == anAddr {
		var texts [2]string
		if json.Unmarshal(first, &texts[0]) != nil || json.Unmarshal(last, &texts[1]) != nil {
			return cannotTell
		}
		from, err1 := netip.ParseAddr(texts[0])
		to, err2 := netip.ParseAddr(texts[1])
		if err1 != nil || err2 != nil {
			return cannotTell
		}
		return known(func(v value) answer { return is(from.Compare(v.addr) <= 0 && v.addr.Compare(to) <= 0) })
	}
	from, ok1 := parseNumber(k, first)
	to, ok2 := parseNumber(k, last)
	if !ok1 || !ok2 {
		return cannotTell
	}
	return spanTest(from, to)
}

// simpleTest is for one value.
func simpleTest(k kind, raw json.RawMessage) test {
	var text string
	isText := json.Unmarshal(raw, &text) == nil
	if text == "*" {
		return known(func(value) answer { return yes })
	}
	switch k {
	case exists:
		var want bool
		if json.Unmarshal(raw, &want) == nil {
			return known(func(v value) answer { return is((v.text != "") == want) })
		}
		if !isText {
			return cannotTell
		}
		return known(func(v value) answer { return is(v.text == text) })
	case aName:
		if prefix, ok := strings.CutSuffix(text, "*"); ok {
			return known(func(v value) answer { return is(strings.HasPrefix(v.text, prefix)) })
		}
		if !isText {
			return cannotTell // a number of a link that is gone
		}
		return known(func(v value) answer { return is(v.text == text) })
	case aWord:
		return known(func(v value) answer { return is(isText && strings.EqualFold(v.text, text)) })
	case aProto:
		if !isText {
			text = string(raw)
		}
		return known(func(v value) answer { return is(v.text == protoName(text)) })
	case anAddr:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return cannotTell
		}
		return known(func(v value) answer { return is(v.addr == a) })
	}
	n, ok := parseNumber(k, raw)
	if !ok {
		return cannotTell
	}
	return spanTest(n, n)
}

// parseNumber reads a number, a name of one, or several that are put together.
func parseNumber(k kind, raw json.RawMessage) (n uint64, ok bool) {
	if json.Unmarshal(raw, &n) == nil {
		return n, true
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if n, ok := symbols(k)[text]; ok {
			return n, true
		}
		n, err := strconv.ParseUint(text, 0, 32)
		return n, err == nil
	}
	var several []json.RawMessage
	var object map[string][]json.RawMessage
	if json.Unmarshal(raw, &several) != nil {
		if json.Unmarshal(raw, &object) != nil || len(object["|"]) == 0 {
			return 0, false
		}
		several = object["|"]
	}
	for _, one := range several {
		m, ok := parseNumber(k, one)
		if !ok {
			return 0, false
		}
		n |= m
	}
	return n, true
}

// find looks a value up. Of elements of which it can't be told whether they are meant, all are
// returned, and whether it may be none.
func (s *NativeSet) find(kinds []kind, v value) (found []int, maybeNone bool) {
	if v.state == absent {
		return nil, true
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	if of := strings.Join(names, " "); s.tests == nil || s.of != of {
		s.tests, s.of = nil, of
		for _, e := range s.Elements {
			s.tests = append(s.tests, parseTest(kinds, e.Key))
		}
	}
	rest := -1
	for i, t := range s.tests {
		if string(s.Elements[i].Key) == `"*"` {
			rest = i
			continue
		}
		switch t(v) {
		case yes:
			return []int{i}, false // elements don't overlap
		case unsure:
			found = append(found, i)
		}
	}
	if rest >= 0 {
		return append(found, rest), false
	}
	return found, true
}
