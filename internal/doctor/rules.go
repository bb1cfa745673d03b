package doctor

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ruleset is the chains of one table, as far as packets are followed through them.
type ruleset struct {
	by     string // the command that has it, such as "iptables-nft" or "nft"
	rules  int    // in all tables of the command
	legacy bool
	ipv6   bool
	nft    []string // of a table that is nft's own: family and table
	chains []*chain
	clamps []rule   // that fit the MSS of TCP to the MTU, in any table
	names  []string // of all chains in all tables that are no base chains
}

type chain struct {
	name   string
	hook   string // of a base chain: "input" or "forward"
	policy string // of a base chain: "accept" or "drop"
	rules  []rule
}

// rule is one rule, as far as it is known what it matches.
type rule struct {
	text   string // as its command prints it
	id     string // what deletes it
	target string // "accept", "drop", "reject", "return", unclear, or the name of a chain, see jump
	jump   bool
	leaves bool // a jump that does not come back (goto)
	match  func(packet) answer
	named  func(packet) bool // a condition names the packet's link or subnet
}

// unclear is the target of a rule that decides by what isn't known.
const unclear = "?"

// answer is whether a rule matches a packet.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// packet is what is followed: all that is known of it.
type packet struct {
	what     string       // in words
	in, out  string       // links; out is "": to the host itself
	src, dst netip.Prefix // invalid: anything
	states   []string     // conntrack's, virtual ones among them, as iptables writes them
	proto    string       // "tcp" or "udp"; "": any
	port     uint16       // of the destination; 0: any
}

func (r *ruleset) chain(name string) *chain {
	i := slices.IndexFunc(r.chains, func(c *chain) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return r.chains[i]
}

// parseSaved reads the table "filter" of what iptables-save(8) prints, and counts the rules of
// all tables.
func parseSaved(text string) (filter *ruleset, rules int) {
	filter = &ruleset{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "-A ") {
			rules++
			if _, spec, _ := strings.Cut(line[3:], " "); strings.Contains(line, " -j TCPMSS ") {
				filter.clamps = append(filter.clamps, parseRule(spec))
			}
		}
		if name, policy, ok := strings.Cut(line, " "); ok && strings.HasPrefix(line, ":") && strings.HasPrefix(policy, "-") {
			filter.names = append(filter.names, name[1:])
		}
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table != "filter":
		case strings.HasPrefix(line, ":"):
			name, policy, _ := strings.Cut(line[1:], " ")
			c := &chain{name: name}
			if policy, _, _ = strings.Cut(policy, " "); policy != "-" {
				c.policy, c.hook = strings.ToLower(policy), strings.ToLower(name)
			}
			filter.chains = append(filter.chains, c)
		case strings.HasPrefix(line, "-A "):
			name, spec, _ := strings.Cut(line[3:], " ")
			if c := filter.chain(name); c != nil {
				c.rules = append(c.rules, parseRule(spec))
			}
		}
	}
	return filter, rules
}

// parseRule reads a rule behind "-A CHAIN ".
func parseRule(spec string) rule {
	r := rule{text: spec, id: spec}
	var conditions []func(packet) answer
	var names []func(packet) bool
	words := unquote(spec)
	not := false
	for i := 0; i < len(words); i++ {
		word, arg := words[i], ""
		if i+1 < len(words) {
			arg = words[i+1]
		}
		condition, named := conditionOf(word, arg)
		switch {
		case word == "!":
			not = true
			continue
		case word == "-j" || word == "-g":
			r.leaves = word == "-g"
			r.setTarget(arg)
			i = len(words) // what follows is the target's
		case word == "-m": // names what comes next
			i++
		case word == "--comment":
			i++
		case condition == nil:
			conditions = append(conditions, func(packet) answer { return maybe })
		default:
			negated := not
			conditions = append(conditions, func(p packet) answer { return invert(condition(p), negated) })
			if named != nil && !negated {
				names = append(names, named)
			}
			i++
		}
		not = false
	}
	r.match = all(conditions)
	r.named = func(p packet) bool { return slices.ContainsFunc(names, func(n func(packet) bool) bool { return n(p) }) }
	return r
}

func (r *rule) setTarget(name string) {
	switch name {
	case "ACCEPT", "DROP", "REJECT", "RETURN":
		r.target = strings.ToLower(name)
	default:
		r.target, r.jump = name, true
	}
}

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
		return func(p packet) answer { return inPorts(arg, p.port) }, nil
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

// all is the least of several answers.
func all(conditions []func(packet) answer) func(packet) answer {
	return func(p packet) answer {
		least := yes
		for _, c := range conditions {
			least = min(least, c(p))
		}
		return least
	}
}
