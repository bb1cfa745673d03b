package doctor

import (
	"net/netip"
	"slices"
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
	number int    // in its chain, from 1
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

// add puts what one rule was read as behind the others.
func (c *chain) add(rules ...rule) {
	number := 1
	if len(c.rules) > 0 {
		number = c.rules[len(c.rules)-1].number + 1
	}
	for _, r := range rules {
		r.number = number
		c.rules = append(c.rules, r)
	}
}

// packet is what is followed: all that is known of it.
type packet struct {
	what     string       // in words; of what is followed for networks, with a place for the name
	on       string       // the network's name
	in, out  string       // links; out is "": to the host itself
	src, dst netip.Prefix // invalid: anything
	states   []string     // conntrack's, virtual ones among them, as iptables writes them
	proto    string       // "tcp" or "udp"; "": any
	port     uint16       // of the destination; 0: any of ports, or any at all if there are none
	ports    []uint16
	asked    []uint16 // the ports that clients ask for, before they are translated
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
				c.add(parseRule(spec))
			}
		}
	}
	return filter, rules
}

// parseRule reads a rule behind "-A CHAIN ".
func parseRule(spec string) rule {
	r := rule{text: spec, id: spec}
	var cs conditions
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
			cs.add(perhaps, nil)
		default:
			negated := not
			if negated {
				named = nil
			}
			cs.add(func(p packet) answer { return invert(condition(p), negated) }, named)
			i++
		}
		not = false
	}
	cs.into(&r)
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
