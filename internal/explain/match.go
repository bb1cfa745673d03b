package explain

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// answer is whether something matches.
type answer int

const (
	no answer = iota
	yes
	unsure
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// match is one condition of a rule.
type match func(p *Packet, s *Space) answer

func (m match) inverted() match {
	return func(p *Packet, s *Space) answer {
		switch m(p, s) {
		case yes:
			return no
		case no:
			return yes
		}
		return unsure
	}
}

// all is whether a packet matches every condition. One that surely doesn't is enough.
func (r *Rule) all(p *Packet, s *Space) answer {
	out := yes
	for _, m := range r.matches {
		switch m(p, s) {
		case no:
			return no
		case unsure:
			out = unsure
		}
	}
	return out
}

func either(a, b answer) answer {
	switch {
	case a == yes || b == yes:
		return yes
	case a == unsure || b == unsure:
		return unsure
	}
	return no
}

func never(*Packet, *Space) answer  { return no }
func always(*Packet, *Space) answer { return yes }
func unknown(*Packet, *Space) answer {
	return unsure
}

// knownModules are those whose options parseMatch reads, or takes for unknown. Of any other
// its very name is a condition that can't be told.
func knownModules() []string {
	return []string{"tcp", "udp", "sctp", "icmp", "icmp6", "multiport", "conntrack", "state", "addrtype", "mark", "connmark", "comment",
		"limit", "pkttype", "physdev", "iprange", "rt", "hl", "ttl", "rpfilter"}
}

// parseMatch reads a condition at the beginning of some words, and how many of them it has.
// The options are those of iptables(8) and iptables-extensions(8).
func parseMatch(w []string, module string) (int, match) {
	arg := ""
	if len(w) > 1 {
		arg = w[1]
	}
	switch w[0] {
	case "-s", "-d", "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst":
		return 2, addressMatch(w[0], arg)
	case "-i", "-o":
		return 2, linkMatch(w[0] == "-i", arg)
	case "-p", "--ctproto":
		return 2, func(p *Packet, _ *Space) answer { return is(p.protoIs(arg)) }
	case "-f", "--fragment":
		return 1, never
	case "--comment", "--limit", "--limit-burst":
		if w[0] == "--comment" {
			return 2, always
		}
		return 2, unknown
	case "--dport", "--sport", "--dports", "--sports", "--ports", "--ctorigdstport", "--ctorigsrcport":
		return 2, portMatch(w[0], arg)
	case "--tcp-flags":
		if len(w) < 3 {
			return 3, unknown
		}
		return 3, flagsMatch(arg, w[2])
	case "--icmp-type", "--icmpv6-type":
		return 2, icmpMatch(arg)
	case "--ctstate", "--state":
		return 2, stateMatch(strings.Split(arg, ","))
	case "--ctdir":
		return 2, func(p *Packet, _ *Space) answer { return is(p.Reply == (arg == "REPLY")) }
	case "--src-type", "--dst-type":
		return 2, typeMatch(w[0] == "--src-type", strings.Split(arg, ","), slices.Contains(w, "--limit-iface-in"))
	case "--limit-iface-in":
		return 1, always
	case "--mark":
		return 2, markMatch(arg, module == "connmark")
	case "--pkt-type":
		return 2, func(*Packet, *Space) answer { return is(arg == "unicast") }
	case "--physdev-is-bridged":
		return 1, func(p *Packet, _ *Space) answer { return is(p.in != "" && p.in == p.out) }
	case "--src-range", "--dst-range":
		return 2, rangeMatch(w[0] == "--src-range", arg)
	case "--rt-type":
		return 2, never // a routing header, which the packet hasn't
	case "--hl-eq", "--ttl-eq":
		return 2, func(*Packet, *Space) answer { // 255 is neighbours' alone (RFC 4861); packets begin with 64
			if arg == "255" {
				return no
			}
			return unsure
		}
	case "--loose", "--validmark", "--accept-local", "--invert":
		return 1, always // of rpfilter, see reversePath
	}
	n := 1
	for n < len(w) && !strings.HasPrefix(w[n], "-") && w[n] != "!" {
		n++
	}
	return n, unknown
}

func addressMatch(option, arg string) match {
	prefix, err := netip.ParsePrefix(arg)
	if err != nil {
		a, err := netip.ParseAddr(arg)
		if err != nil {
			return unknown // such as 10.0.0.0/255.0.255.0
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	return func(p *Packet, _ *Space) answer {
		src, dst := p.Src, p.Dst
		if strings.HasPrefix(option, "--") && p.conn == nil {
			return unsure
		}
		a := map[string]netip.Addr{"-s": src, "-d": dst}[option]
		switch option {
		case "--ctorigsrc":
			a = p.conn.src
		case "--ctorigdst":
			a = p.conn.dst
		case "--ctreplsrc":
			a = p.conn.toDst
		case "--ctrepldst":
			a = p.conn.toSrc
		}
		return is(prefix.Contains(a.WithZone("")))
	}
}

// linkMatch compares the name of a link; + at the end stands for any rest.
func linkMatch(in bool, name string) match {
	return func(p *Packet, _ *Space) answer {
		have := p.out
		if in {
			have = p.in
		}
		if prefix, ok := strings.CutSuffix(name, "+"); ok {
			return is(strings.HasPrefix(have, prefix))
		}
		return is(have == name)
	}
}

func stateMatch(states []string) match {
	return func(p *Packet, _ *Space) answer {
		if slices.Contains(states, p.state()) {
			return yes
		}
		if p.conn == nil {
			return no
		}
		return is(p.conn.dnat && slices.Contains(states, "DNAT") || p.conn.snat && slices.Contains(states, "SNAT"))
	}
}

func typeMatch(src bool, types []string, in bool) match {
	return func(p *Packet, s *Space) answer {
		a := p.Dst
		if src {
			a = p.Src
		}
		kind := s.kindOf(a)
		if in && kind == Local {
			if l := s.named(p.in); l == nil || !l.has(a) {
				kind = Unicast
			}
		}
		return is(slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, kind) }))
	}
}

func markMatch(arg string, ofConn bool) match {
	value, mask, ok := parseMark(arg)
	if !ok {
		return unknown
	}
	return func(p *Packet, _ *Space) answer {
		if !ofConn {
			return is(p.mark&mask == value)
		}
		if p.conn == nil {
			return is(value == 0)
		}
		return is(p.conn.mark&mask == value)
	}
}

// parseMark reads VALUE or VALUE/MASK.
func parseMark(arg string) (value, mask uint32, ok bool) {
	v, m, masked := strings.Cut(arg, "/")
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil {
		return 0, 0, false
	}
	if !masked {
		return uint32(n), 1<<32 - 1, true
	}
	k, err := strconv.ParseUint(m, 0, 32)
	return uint32(n), uint32(k), err == nil
}

func rangeMatch(src bool, arg string) match {
	from, to, _ := strings.Cut(arg, "-")
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if err1 != nil || err2 != nil {
		return unknown
	}
	return func(p *Packet, _ *Space) answer {
		a := p.Dst
		if src {
			a = p.Src
		}
		return is(first.Compare(a) <= 0 && a.Compare(last) <= 0)
	}
}

// reversePath is the match rpfilter, whose options follow.
func reversePath(options []string) match {
	if i := slices.IndexFunc(options, func(w string) bool { return w == "-m" || w == "-j" || w == "-g" }); i >= 0 {
		options = options[:i]
	}
	loose, invert := slices.Contains(options, "--loose"), slices.Contains(options, "--invert")
	return func(p *Packet, s *Space) answer {
		r, found, unclear := s.lookup(p.Src, p.Dst, "lo", "", p.mark)
		if unclear != "" {
			return unsure
		}
		l := s.link(r.Link)
		ok := found && r.Kind == Unicast && (loose || l != nil && l.Name == p.in)
		return is(ok != invert)
	}
}
