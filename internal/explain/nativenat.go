package explain

import (
	"encoding/json"
	"net/netip"
)

// translation is NAT.
func (t *Native) translation(what string, raw json.RawMessage) statement {
	var to struct {
		Family     string
		Addr, Port json.RawMessage
		Flags      json.RawMessage
	}
	_ = json.Unmarshal(raw, &to) // of masquerade and redirect it may be null
	if len(to.Port) > 0 && to.Port[0] == '{' && (what == "masquerade" || what == "snat") {
		to.Port = nil // a range: the kernel chooses
	}
	return func(s *Space, p *Packet) []effect {
		if p.conn == nil {
			return only(effect{deed: unknowable})
		}
		if to.Family != "" && (to.Family == "ip6") != p.six() {
			return only(effect{deed: goesOn}) // of the other family (nft_nat_inet_eval)
		}
		addr, port, e := t.target(to.Addr, to.Port, s, p)
		if e.deed != accepts {
			return only(e)
		}
		ok := true
		switch what {
		case "dnat":
			p.redirect(netip.AddrPortFrom(addr, port))
		case "snat":
			if ok = addr.IsValid(); ok {
				p.masquerade(netip.AddrPortFrom(addr, port))
			}
		case "redirect":
			ok = s.redirect(p, port)
		case "masquerade":
			ok = s.masquerade(p)
		}
		if !ok {
			e.deed = unknowable
		}
		return only(e)
	}
}

// target is where NAT leads to: an address, a port, or what a map has of both. A range is the
// kernel's choice.
func (t *Native) target(addr, port json.RawMessage, s *Space, p *Packet) (a netip.Addr, n uint16, e effect) {
	e = effect{deed: accepts}
	puzzle := effect{deed: unknowable}
	var from struct {
		Map *struct{ Key, Data json.RawMessage }
	}
	if len(addr) > 0 && addr[0] == '{' && json.Unmarshal(addr, &from) == nil && from.Map != nil {
		set, name := t.set(from.Map.Data)
		if set == nil {
			return a, n, puzzle
		}
		o := parseOperand(from.Map.Key)
		found, maybeNone := set.find(o.kinds, o.get(s, p))
		switch {
		case len(found) == 0:
			return a, n, effect{deed: breaks}
		case maybeNone || len(found) > 1:
			return a, n, puzzle
		}
		element := set.Elements[found[0]]
		if name != "" {
			e.element, e.of = element.Text(), name
		}
		var both struct{ Concat []json.RawMessage }
		if addr = element.Data; addr[0] == '{' {
			if json.Unmarshal(addr, &both) != nil || len(both.Concat) != 2 {
				return a, n, puzzle
			}
			addr, port = both.Concat[0], both.Concat[1]
		}
	}
	if len(addr) > 0 {
		var text string
		var err error
		if json.Unmarshal(addr, &text) != nil {
			return a, n, puzzle
		}
		if a, err = netip.ParseAddr(text); err != nil {
			return a, n, puzzle
		}
	}
	if len(port) > 0 && json.Unmarshal(port, &n) != nil {
		return a, n, puzzle
	}
	return a, n, e
}
