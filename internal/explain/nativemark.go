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
		if json.Unmarshal(of, &sides) != nil || len(sides) != 2 {
			o := parseOperand(raw)
			if v := o.get(s, p); v.state == given && v.num == v.high && v.hidden == 0 && o.kinds[0] == aMark {
				return v.num, true
			}
			return 0, false
		}
		a, ok1 := evaluate(sides[0], s, p)
		b, ok2 := evaluate(sides[1], s, p)
		switch op {
		case "&":
			return a & b, ok1 && ok2
		case "|":
			return a | b, ok1 && ok2
		case "^":
			return a ^ b, ok1 && ok2
		}
	}
	return 0, false
}
