package doctor

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// conditionOf is what a word of a rule and the next one say of packets; nil: that isn't known.
func conditionOf(word, arg string) (func(packet) answer, func(packet) bool) {
	switch word {
	case "-i", "-o":
		link := func(p packet) string {
			if word == "-i" {
				return p.in
			}
			return p.out
		}
		return func(p packet) answer { return isLink(arg, link(p)) },
			func(p packet) bool { return arg == link(p) }
	case "-s", "-d":
		subnet := func(p packet) netip.Prefix {
			if word == "-s" {
				return p.src
			}
			return p.dst
		}
		return func(p packet) answer { return within(arg, subnet(p)) },
			func(p packet) bool { return subnet(p).IsValid() && within(arg, subnet(p)) != no }
	case "-p":
		return func(p packet) answer {
			if p.proto == "" && arg != "all" {
				return maybe
			}
			return truth(arg == p.proto || arg == "all")
		}, nil
	case "--dport", "--dports":
		return func(p packet) answer {
			if p.port == 0 {
				return among(arg, p.ports)
			}
			return inPorts(arg, p.port)
		}, nil
	case "--ctorigdstport":
		return func(p packet) answer { return among(arg, p.asked) }, nil
	case "--dst-type":
		if arg == "LOCAL" { // what is forwarded is for others
			return func(p packet) answer { return truth(p.out == "") }, nil
		}
	case "--ctstate", "--state":
		return func(p packet) answer { return inState(strings.Split(arg, ","), p) }, nil
	}
	return nil, nil
}

func isLink(pattern, name string) answer {
	if strings.HasSuffix(pattern, "+") {
		return truth(strings.HasPrefix(name, strings.TrimSuffix(pattern, "+")))
	}
	if strings.HasSuffix(pattern, "*") { // nft's
		ok, _ := path.Match(pattern, name)
		return truth(ok)
	}
	return truth(pattern == name)
}

// within is whether addresses of a prefix are in another one, which has no mask if it is one
// address.
func within(text string, of netip.Prefix) answer {
	want, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return maybe
		}
		want = netip.PrefixFrom(addr, addr.BitLen())
	}
	switch {
	case want.Bits() == 0:
		return yes
	case !of.IsValid():
		return maybe
	case !want.Overlaps(of):
		return no
	case want.Bits() <= of.Bits():
		return yes
	}
	return maybe
}

// inPorts is whether a port is one of "80", "80:90", or several with commas between.
func inPorts(text string, port uint16) answer {
	if port == 0 {
		return maybe
	}
	for _, part := range strings.Split(text, ",") {
		low, high, isRange := strings.Cut(part, ":")
		first, err := strconv.ParseUint(low, 10, 16)
		last := first
		if isRange && err == nil {
			last, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil {
			return maybe
		}
		if uint64(port) >= first && uint64(port) <= last {
			return yes
		}
	}
	return no
}

// among is whether some of these ports, of which a packet has one, are in such a text.
func among(text string, ports []uint16) answer {
	if len(ports) > 0 && !slices.ContainsFunc(ports, func(port uint16) bool { return inPorts(text, port) != no }) {
		return no
	}
	return maybe
}

// inState is whether conntrack has a packet in one of some states.
func inState(states []string, p packet) answer {
	return truth(slices.ContainsFunc(states, func(s string) bool { return slices.Contains(p.states, strings.ToUpper(s)) }))
}

func truth(b bool) answer {
	if b {
		return yes
	}
	return no
}

func invert(a answer, not bool) answer {
	if not {
		return yes - a
	}
	return a
}

// perhaps is a condition that isn't known.
func perhaps(packet) answer { return maybe }

// conditions are those of a rule.
type conditions struct {
	all   []func(packet) answer
	names []func(packet) bool // of those that name a link or a subnet
}

func (c *conditions) add(condition func(packet) answer, named func(packet) bool) {
	c.all = append(c.all, condition)
	if named != nil {
		c.names = append(c.names, named)
	}
}

// into has a rule match where all conditions do: the least of their answers counts.
func (c conditions) into(r *rule) {
	r.match = func(p packet) answer {
		least := yes
		for _, condition := range c.all {
			least = min(least, condition(p))
		}
		return least
	}
	r.named = func(p packet) bool {
		return slices.ContainsFunc(c.names, func(n func(packet) bool) bool { return n(p) })
	}
}
