package explain

import (
	"net/netip"
	"slices"
	"strings"
)

// ctOperand is what connection tracking knows of a packet's flow; dir says of which direction.
func ctOperand(key, dir, family string) operand {
	of := func(k kind, get func(p *Packet) value) operand {
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
	back := dir == "reply"
	end := func(p *Packet, source bool) (netip.Addr, uint16) {
		c := p.conn
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
	case "state":
		return single(aState, func(_ *Space, p *Packet) value {
			if p.early {
				return unseen()
			}
			return number(symbols(aState)[strings.ToLower(p.state())])
		})
	case "status":
		return of(status, func(p *Packet) value {
			v := value{hidden: ^uint64(0)}
			for _, known := range []struct {
				is   bool
				name string
			}{{p.conn.dnat, "dnat"}, {p.conn.snat, "snat"}} {
				v.hidden &^= symbols(status)[known.name]
				if known.is {
					v.num |= symbols(status)[known.name]
				}
			}
			v.high = v.num
			return v
		})
	case "direction":
		return of(aWord, func(p *Packet) value { return word(map[bool]string{false: "original", true: "reply"}[p.Reply]) })
	case "mark":
		return of(aMark, func(p *Packet) value { return number(uint64(p.conn.mark)) })
	case "saddr", "daddr", "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr":
		if f, _, ok := strings.Cut(key, " "); ok {
			family = f
		}
		return of(anAddr, func(p *Packet) value {
			if dir == "" {
				return unseen()
			}
			if family != "" && (family == "ip6") != p.six() {
				return without()
			}
			a, _ := end(p, strings.HasSuffix(key, "saddr"))
			return address(a)
		})
	case "proto-src", "proto-dst":
		return of(aPort, func(p *Packet) value {
			if dir == "" {
				return unseen()
			}
			_, port := end(p, key == "proto-src")
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
			r, found, unclear := s.lookup(a, other, "", "", mark, p.in)
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
