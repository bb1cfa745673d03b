package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// dropper is what drops a packet.
type dropper struct {
	set     *ruleset
	chain   *chain
	number  int      // in the chain's rules, from 1; 0: the chain's policy
	through []string // the chains that led there, the base chain first
	allowed bool     // a rule before it lets a part of such packets pass
}

// rule is the rule that drops.
func (d dropper) rule() rule { return d.chain.rules[d.number-1] }

// where names the place: "iptables-nft FORWARD rule 3 (-i br0 -j DROP)".
func (d dropper) where() string {
	name := d.chain.name
	if d.set.nft != nil {
		name = strings.Join(d.set.nft, " ") + " " + name
	}
	if d.number == 0 {
		return d.set.by + " " + name + ": its policy"
	}
	return d.set.by + " " + name + " rule " + strconv.Itoa(d.rule().number) + " (" + d.rule().text + ")"
}

// remedy is the command that deletes the rule.
func (d dropper) remedy() []string {
	switch {
	case d.set.nft != nil && d.number == 0:
		return command(append([]string{"nft", "chain"}, append(slices.Clone(d.set.nft), d.chain.name, "{ policy accept; }")...)...)
	case d.set.nft != nil:
		return command(append([]string{"nft", "delete", "rule"}, append(slices.Clone(d.set.nft), d.chain.name, "handle", d.rule().id)...)...)
	case d.number == 0:
		return command(d.set.by, "-w", "-P", d.chain.name, "ACCEPT")
	}
	return command(append([]string{d.set.by, "-w", "-D", d.chain.name}, unquote(d.rule().id)...)...)
}

// walker follows one packet.
type walker struct {
	set     *ruleset
	packet  packet
	through []string
	unsure  string    // where a rule has decided by what isn't known; "": none has
	allowed bool      // a rule has let a part of such packets pass
	part    []dropper // what drops a part of such packets, and names them
	left    int       // rules that may be looked at still
}

// mostRules is how many rules one packet is followed through: chains that several rules lead to
// are walked again and again, and who makes rules must not keep the check from ending.
const mostRules = 1 << 20

// drops follows a packet from a base chain: what drops it, nil if nothing does for certain; the
// rules that name it and drop a part of such packets; and where it can't be told what becomes of
// it, "" if it can.
func (r *ruleset) drops(base string, p packet) (first *dropper, part []dropper, unsure string) {
	w := &walker{set: r, packet: p, left: mostRules}
	c := r.chain(base)
	if c == nil {
		return nil, nil, ""
	}
	first, ended := w.walk(c, true)
	if !ended && w.unsure == "" && c.policy == "drop" {
		first = &dropper{set: r, chain: c, through: []string{base}, allowed: w.allowed}
	}
	return first, w.part, w.unsure
}

// passMark is the mark by which mybr's own table of nf_tables tells iptables what may pass
// (package nftables), as iptables-save(8) prints it.
const passMark = "--mark 0x8000000/0x8000000"

// deepest is how many chains lead into each other at most, as in the kernel
// (NFT_JUMP_STACK_SIZE of nf_tables.h).
const deepest = 16

// walk follows the packet through a chain. certain says that it gets there for certain. ended
// says that its fate is known.
func (w *walker) walk(c *chain, certain bool) (first *dropper, ended bool) {
	if len(w.through) >= deepest {
		return nil, false
	}
	w.through = append(w.through, c.name)
	defer func() { w.through = w.through[:len(w.through)-1] }()
	for i, r := range c.rules {
		if w.left--; w.left < 0 {
			w.unsure = w.set.by + " " + c.name + ", behind a million rules,"
			return nil, false
		}
		matches := r.match(w.packet)
		if matches == no {
			continue
		}
		if ownChain(c.name) && r.target == "accept" && strings.Contains(r.text, passMark) {
			matches = yes // of packets of mybr's networks, which are all that is asked about
		}
		sure := certain && matches == yes && w.unsure == ""
		switch {
		case r.target == "drop" || r.target == "reject":
			d := dropper{set: w.set, chain: c, number: i + 1, through: slices.Clone(w.through), allowed: w.allowed}
			if sure {
				return &d, true
			}
			if r.named(w.packet) {
				w.part = append(w.part, d)
			}
		case r.target == "accept" && sure:
			return nil, true
		case r.target == "return" && sure:
			return nil, false
		case r.target == "accept" || r.target == "return":
			w.allowed = true
		case r.target == unclear && w.unsure == "":
			w.unsure = dropper{set: w.set, chain: c, number: i + 1}.where()
		case r.jump && w.set.chain(r.target) != nil:
			first, ended := w.walk(w.set.chain(r.target), sure)
			if ended || r.leaves && sure {
				return first, ended
			}
		}
	}
	return nil, false
}
