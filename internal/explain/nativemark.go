package explain

import (
	"encoding/json"
	"slices"
)

// mangle sets a mark; of what else a packet has, only what can't matter is known.
func mangle(raw json.RawMessage) statement {
	var m struct {
		Key struct {
			Meta, CT *struct{ Key string }
			Payload  *struct{ Field string }
		}
		Value json.RawMessage
	}
	if json.Unmarshal(raw, &m) != nil {
		return always1(effect{deed: unknowable})
	}
	switch k := m.Key; {
	case k.Meta != nil && slices.Contains([]string{"nftrace", "priority", "secmark"}, k.Meta.Key),
		k.CT != nil && slices.Contains([]string{"event", "label", "secmark", "helper"}, k.CT.Key),
		k.Payload != nil && slices.Contains([]string{"dscp", "ecn", "ttl", "hoplimit", "flowlabel"}, k.Payload.Field):
		return nil
	case k.Meta != nil && k.Meta.Key == "mark":
		return func(s *Space, p *Packet) []effect {
			v, ok := evaluate(m.Value, s, p)
			if !ok {
				return only(effect{deed: unknowable})
			}
			p.mark = uint32(v)
			return only(effect{deed: goesOn})
		}
	case k.CT != nil && k.CT.Key == "mark":
		return func(s *Space, p *Packet) []effect {
			v, ok := evaluate(m.Value, s, p)
			if !ok {
				return only(effect{deed: unknowable})
			}
			if p.conn != nil {
				p.conn.mark = uint32(v)
			}
			return only(effect{deed: goesOn})
		}
	}
	return always1(effect{deed: unknowable})
}

// evaluate is a number that is put together of marks and numbers.
func evaluate(raw json.RawMessage, s *Space, p *Packet) (uint64, bool) {
	if n, ok := parseNumber(aMark, raw); ok {
		return n, true
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || len(object) != 1 {
		return 0, false
	}
	for op, of := range object {
		var sides []json.RawMessage
		if json.Unmarshal(of, &sides) != nil || len(sides) < 2 {
			o := parseOperand(raw)
			if v := o.get(s, p); v.state == given && v.num == v.high && v.hidden == 0 && o.kinds[0] == aMark {
				return v.num, true
			}
			return 0, false
		}
		return combine(op, sides, s, p)
	}
	return 0, false
}

// combine has the bits of all that an operator is about.
func combine(op string, sides []json.RawMessage, s *Space, p *Packet) (n uint64, ok bool) {
	for i, side := range sides {
		m, known := evaluate(side, s, p)
		switch {
		case !known:
			return 0, false
		case i == 0:
			n = m
		case op == "&":
			n &= m
		case op == "|":
			n |= m
		case op == "^":
			n ^= m
		default:
			return 0, false
		}
	}
	return n, true
}
