package explain

import (
	"slices"
	"strconv"
	"strings"
)

// portMatch is for a port, a range FIRST:LAST, or a list of these.
func portMatch(option, arg string) match {
	type span struct{ first, last uint16 }
	var spans []span
	for _, part := range strings.Split(arg, ",") {
		a, b, two := strings.Cut(part, ":")
		first, err1 := strconv.ParseUint(a, 10, 16)
		last := first
		var err2 error
		if two {
			last, err2 = strconv.ParseUint(b, 10, 16)
		}
		if err1 != nil || err2 != nil {
			return unknown
		}
		spans = append(spans, span{uint16(first), uint16(last)})
	}
	within := func(port uint16, chosen [2]uint16) answer {
		if port != 0 {
			return is(slices.ContainsFunc(spans, func(s span) bool { return s.first <= port && port <= s.last }))
		}
		switch {
		case slices.ContainsFunc(spans, func(s span) bool { return s.first <= chosen[0] && chosen[1] <= s.last }):
			return yes
		case slices.ContainsFunc(spans, func(s span) bool { return s.first <= chosen[1] && chosen[0] <= s.last }):
			return unsure
		}
		return no
	}
	return func(p *Packet, _ *Space) answer {
		if p.Proto == ICMP {
			return no
		}
		switch option {
		case "--sport", "--sports":
			return within(p.Sport, p.chosen)
		case "--ports":
			return either(within(p.Dport, p.chosen), within(p.Sport, p.chosen))
		case "--ctorigdstport":
			if p.conn == nil {
				return unsure
			}
			return within(p.conn.dport, p.chosen)
		case "--ctorigsrcport":
			if p.conn == nil {
				return unsure
			}
			return within(p.conn.sport, p.chosen)
		}
		return within(p.Dport, p.chosen)
	}
}

// flagsMatch: the first packet of a connection has SYN, the answer SYN and ACK (RFC 9293).
func flagsMatch(mask, set string) match {
	return func(p *Packet, _ *Space) answer {
		if p.Proto != TCP {
			return no
		}
		flags := []string{"SYN"}
		switch {
		case p.kind == reset:
			flags = []string{"RST", "ACK"}
		case p.kind == third:
			flags = []string{"ACK"}
		case p.Reply:
			flags = append(flags, "ACK")
		}
		among := strings.Split(mask, ",")
		if mask == "ALL" {
			among = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}
		}
		want := strings.Split(set, ",")
		for _, f := range among {
			if slices.Contains(flags, f) != (slices.Contains(want, f) || set == "ALL") {
				return no
			}
		}
		return yes
	}
}

func icmpMatch(arg string) match {
	names := map[string]string{"echo-request": "request", "echo-reply": "reply", "any": "any"}
	return func(p *Packet, _ *Space) answer {
		if p.Proto != ICMP {
			return no
		}
		switch names[arg] {
		case "any":
			return yes
		case "request":
			return is(!p.Reply)
		case "reply":
			return is(p.Reply && p.kind == "")
		}
		kind, _, _ := strings.Cut(arg, "/")
		n, err := strconv.Atoi(kind)
		if err != nil {
			return no // another kind by its name
		}
		return is(n == p.icmpType())
	}
}
