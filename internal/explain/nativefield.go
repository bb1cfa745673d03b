package explain

import (
	"encoding/json"
	"strings"
)

// operand is something that rules look at: kinds says what its values are, several if they
// are side by side.
type operand struct {
	kinds []kind
	get   func(s *Space, p *Packet) value
}

func single(k kind, get func(s *Space, p *Packet) value) operand { return operand{[]kind{k}, get} }

func unknownOperand() operand {
	return single(aWord, func(*Space, *Packet) value { return unseen() })
}

// parseOperand reads the left side of a comparison, or a key (libnftables-json(5),
// EXPRESSIONS). What isn't known is unclear.
func parseOperand(raw json.RawMessage) operand {
	var object struct {
		Meta    *struct{ Key string }
		Payload *struct{ Protocol, Field string }
		CT      *struct{ Key, Dir, Family string } `json:"ct"`
		Fib     *struct {
			Result string
			Flags  []string
		}
		Exthdr *struct{ Name string }
		Concat []json.RawMessage
		And    []json.RawMessage `json:"&"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return unknownOperand()
	}
	switch {
	case object.Meta != nil:
		return metaOperand(object.Meta.Key)
	case object.Payload != nil:
		return payloadOperand(object.Payload.Protocol, object.Payload.Field)
	case object.CT != nil:
		return ctOperand(object.CT.Key, object.CT.Dir, object.CT.Family)
	case object.Fib != nil:
		return fibOperand(object.Fib.Result, object.Fib.Flags)
	case object.Exthdr != nil && object.Exthdr.Name == "rt": // a routing header, which the packet hasn't
		return single(aMark, func(*Space, *Packet) value { return without() })
	case len(object.Concat) > 0:
		return concatOperand(object.Concat)
	case len(object.And) == 2:
		return maskedOperand(object.And)
	}
	return unknownOperand()
}

func concatOperand(all []json.RawMessage) operand {
	var parts []operand
	var o operand
	for _, raw := range all {
		part := parseOperand(raw)
		parts, o.kinds = append(parts, part), append(o.kinds, part.kinds...)
	}
	o.get = func(s *Space, p *Packet) value {
		var v value
		for _, part := range parts {
			one := part.get(s, p)
			if one.state == absent {
				return without()
			}
			v.parts = append(v.parts, one)
		}
		return v
	}
	return o
}

// maskedOperand is EXPR & MASK.
func maskedOperand(and []json.RawMessage) operand {
	o := parseOperand(and[0])
	mask, ok := parseNumber(o.kinds[0], and[1])
	if !ok || len(o.kinds) != 1 {
		return unknownOperand()
	}
	return single(o.kinds[0], func(s *Space, p *Packet) value { return o.get(s, p).masked(mask) })
}

func (v value) masked(mask uint64) value {
	if v.state == given && v.num != v.high {
		return unseen()
	}
	v.num, v.high, v.hidden = v.num&mask, v.high&mask, v.hidden&mask
	return v
}

func metaOperand(key string) operand {
	switch key {
	case "iifname", "iif":
		return single(aName, func(_ *Space, p *Packet) value { return word(p.in) })
	case "oifname", "oif":
		return single(aName, func(_ *Space, p *Packet) value { return word(p.out) })
	case "mark":
		return single(aMark, func(_ *Space, p *Packet) value { return number(uint64(p.mark)) })
	case "l4proto":
		return single(aProto, func(_ *Space, p *Packet) value { return word(p.protocol()) })
	case "nfproto":
		return single(aWord, func(_ *Space, p *Packet) value { return word(p.family()) })
	case "protocol":
		return single(aWord, func(_ *Space, p *Packet) value { return word(map[bool]string{false: "ip", true: "ip6"}[p.six()]) })
	case "pkttype":
		return single(aWord, func(*Space, *Packet) value { return word("host") })
	}
	return unknownOperand()
}

// protocol is the name that nft(8) has for a packet's.
func (p *Packet) protocol() string {
	switch {
	case p.Proto == ICMP && p.six():
		return "ipv6-icmp"
	case p.Proto == ICMP:
		return "icmp"
	}
	return p.Proto
}

// payloadOperand is a field of a header; of another protocol than the packet's it is absent,
// as nft(8) has rules ask for the protocol first. "th" is any protocol's.
func payloadOperand(protocol, field string) operand {
	needs := func(k kind, has func(p *Packet) bool, get func(p *Packet) value) operand {
		return single(k, func(_ *Space, p *Packet) value {
			if !has(p) {
				return without()
			}
			return get(p)
		})
	}
	switch protocol {
	case "ip", "ip6":
		has := func(p *Packet) bool { return p.six() == (protocol == "ip6") }
		switch field {
		case "saddr":
			return needs(anAddr, has, func(p *Packet) value { return address(p.Src) })
		case "daddr":
			return needs(anAddr, has, func(p *Packet) value { return address(p.Dst) })
		case "protocol", "nexthdr":
			return needs(aProto, has, func(p *Packet) value { return word(p.protocol()) })
		}
		return needs(aWord, has, func(*Packet) value { return unseen() })
	case "icmp", "icmpv6":
		six := protocol == "icmpv6"
		has := func(p *Packet) bool { return p.Proto == ICMP && p.six() == six }
		if field == "type" {
			return needs(map[bool]kind{false: icmp4, true: icmp6}[six], has, func(p *Packet) value { return number(uint64(p.icmpType())) })
		}
		return needs(aMark, has, func(*Packet) value { return unseen() })
	case TCP, UDP, SCTP, "th":
		has := func(p *Packet) bool { return protocol == "th" || p.Proto == protocol }
		switch {
		case field == "dport":
			return needs(aPort, has, func(p *Packet) value { return p.portValue(p.Dport) })
		case field == "sport":
			return needs(aPort, has, func(p *Packet) value { return p.portValue(p.Sport) })
		case protocol == TCP && field == "flags":
			return needs(flags, has, func(p *Packet) value { return number(p.flags()) })
		}
		return needs(aMark, has, func(*Packet) value { return unseen() })
	}
	return unknownOperand()
}

// portValue is a port; 0 is one of the kernel's choice. What ICMP has in its place is unclear.
func (p *Packet) portValue(port uint16) value {
	switch {
	case p.Proto == ICMP:
		return unseen()
	case port == 0:
		return value{num: uint64(p.chosen[0]), high: uint64(p.chosen[1])}
	}
	return number(uint64(port))
}

// flags are those of TCP.
func (p *Packet) flags() uint64 {
	set := uint64(0)
	for _, f := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if flagsMatch(f, f)(p, nil) == yes {
			set |= symbols(flags)[strings.ToLower(f)]
		}
	}
	return set
}
