package explain

import (
	"net/netip"
	"slices"
	"strings"
)

// ofFlow is something that connection tracking knows; without a flow there is nothing of it.
func ofFlow(k kind, get func(p *Packet) value) operand {
	return single(k, func(_ *Space, p *Packet) value {
		switch {
		case p.early:
			return unseen()
		case p.conn == nil:
			return without()
		}
		return get(p)
	})
}

// ctOperand is what connection tracking knows of a packet's flow; dir says of which direction.
func ctOperand(key, dir, family string) operand {
	switch key {
	case "state":
		return single(aState, func(_ *Space, p *Packet) value {
			if p.early {
				return unseen()
			}
			return number(symbols(aState)[strings.ToLower(p.state())])
		})
	case "status":
		return ofFlow(status, func(p *Packet) value { return p.conn.status() })
	case "direction":
		return ofFlow(aWord, func(p *Packet) value { return word(map[bool]string{false: "original", true: "reply"}[p.Reply]) })
	case "mark":
		return ofFlow(aMark, func(p *Packet) value { return number(uint64(p.conn.mark)) })
	}
	if dir == "original" || dir == "reply" {
		return endOperand(key, dir == "reply", family)
	}
	return unknownOperand()
}

// status has the bits that are known: what is translated.
func (c *conn) status() value {
	bits := symbols(status)
	v := value{hidden: ^(bits["dnat"] | bits["snat"])}
	if c.dnat {
		v.num |= bits["dnat"]
	}
	if c.snat {
		v.num |= bits["snat"]
	}
	v.high = v.num
	return v
}

// endOperand is an address or a port of a flow, as its first packet had it or as the answer has it.
func endOperand(key string, back bool, family string) operand {
	if f, field, ok := strings.Cut(key, " "); ok {
		family, key = f, field
	}
	source := key == "saddr" || key == "proto-src"
	end := func(c *conn) (netip.Addr, uint16) {
		switch {
		case source && back:
			return c.toDst, c.toDport
		case source:
			return c.src, c.sport
		case back:
			return c.toSrc, c.toSport
		}
		return c.dst, c.dport
	}
	switch key {
	case "saddr", "daddr":
		return ofFlow(anAddr, func(p *Packet) value {
			if family != "" && (family == "ip6") != p.six() {
				return without()
			}
			a, _ := end(p.conn)
			return address(a)
		})
	case "proto-src", "proto-dst":
		return ofFlow(aPort, func(p *Packet) value {
			_, port := end(p.conn)
			return p.portValue(port)
		})
	}
	return unknownOperand()
}

// fibOperand asks the routes (nft(8), FIB EXPRESSIONS).
func fibOperand(result string, asks []string) operand {
	has := func(flag string) bool { return slices.Contains(asks, flag) }
	pick := func(p *Packet) (netip.Addr, netip.Addr) {
		if has("saddr") {
			return p.Src, p.Dst
		}
		return p.Dst, p.Src
	}
	switch {
	case result == "type" && !has("oif"):
		return single(aWord, func(s *Space, p *Packet) value {
			a, _ := pick(p)
			kind := s.kindOf(a)
			if l := s.named(p.in); has("iif") && kind == Local && (l == nil || !l.has(a)) {
				kind = Unicast
			}
			return word(kind)
		})
	case (result == "oif" || result == "oifname") && has("saddr") && !has("oif"):
		return single(exists, func(s *Space, p *Packet) value {
			mark := uint32(0)
			if has("mark") {
				mark = p.mark
			}
			if p.in == "lo" || p.in == "" {
				return word("lo")
			}
			a, other := pick(p)
			r, found, unclear := s.lookup(a, other, "", "", mark)
			if unclear != "" {
				return unseen()
			}
			l := s.link(r.Link)
			if !found || l == nil || r.Kind != Unicast || has("iif") && l.Name != p.in {
				return word("")
			}
			return word(l.Name)
		})
	}
	return unknownOperand()
}
