package explain

import (
	"slices"
	"strings"
)

// nativeFrame is a chain that is being walked, and the next statement.
type nativeFrame struct {
	chain           *NativeChain
	rule, statement int
	led             int // how many rules had led where it was called
}

// nativeWalk is one packet in one base chain of nf_tables.
type nativeWalk struct {
	w     *World
	s     *Space
	t     *Native
	base  *NativeChain
	tries *int
}

// way is where a packet is, and what has led it there.
type way struct {
	stack []nativeFrame
	p     Packet
	led   []RuleAt
	seen  []effect // elements that the statements of the rule have found
}

// copied can be changed without a change of the other; so can the packet's connection.
func (y way) copied() way {
	y.stack, y.led, y.seen = slices.Clone(y.stack), slices.Clone(y.led), slices.Clone(y.seen)
	if y.p.conn != nil {
		own := *y.p.conn
		y.p.conn = &own
	}
	return y
}

// pop goes back to where the last chain was called.
func (y *way) pop() {
	last := len(y.stack) - 1
	y.led, y.seen, y.stack = y.led[:y.stack[last].led], nil, y.stack[:last]
}

// native has a packet pass one base chain.
func (w *World) native(s *Space, t *Native, c *NativeChain, p Packet) verdict {
	tries := mostBranches
	return nativeWalk{w, s, t, c, &tries}.walk(way{stack: []nativeFrame{{chain: c}}, p: p}.copied())
}

// end is what becomes of a packet that no rule has decided about.
func (a nativeWalk) end(y way, r *RuleAt) verdict {
	v := verdict{packet: y.p, rule: r, policy: a.base.Name}
	if a.base.Policy == "drop" {
		v.fate = dropped
	}
	return v
}

// walk goes on from the last of some frames.
func (a nativeWalk) walk(y way) verdict {
	for {
		top := &y.stack[len(y.stack)-1]
		if top.rule >= len(top.chain.Rules) {
			if len(y.stack) == 1 {
				return a.end(y, nil)
			}
			y.pop()
			continue
		}
		r := top.chain.Rules[top.rule]
		if top.statement >= len(r.statements) {
			top.rule, top.statement, y.seen = top.rule+1, 0, nil
			continue
		}
		effects := r.statements[top.statement](a.s, &y.p)
		top.statement++
		if len(effects) != 1 {
			return a.several(y, effects)
		}
		if v, done := a.apply(&y, effects[0]); done {
			return v
		}
	}
}

// several is for a statement of which it can't be told what it does: what comes of all that it
// may do, if that is the same.
func (a nativeWalk) several(y way, effects []effect) verdict {
	puzzle := verdict{fate: puzzled, rule: a.at(y), packet: y.p}
	var last verdict
	for i, e := range effects {
		if *a.tries--; *a.tries < 0 {
			return puzzle
		}
		one := y.copied()
		v, done := a.apply(&one, e)
		if !done {
			v = a.walk(one)
		}
		switch {
		case v.fate == puzzled:
			return v
		case i > 0 && (v.fate != last.fate || v.reply != last.reply || !v.packet.same(last.packet)):
			return puzzle
		}
		last = v
	}
	return last
}

// canonical is a rule as the nft(8) has it whose words mybr has. Others call a protocol icmpv6, or
// ask for it where a field of it is asked for.
func canonical(text string) string {
	text = strings.ReplaceAll(text, "meta l4proto icmpv6", "meta l4proto ipv6-icmp")
	return strings.ReplaceAll(text, "meta l4proto ipv6-icmp icmpv6", "icmpv6")
}

// at says which rule a packet is at.
func (a nativeWalk) at(y way) *RuleAt {
	top := y.stack[len(y.stack)-1]
	r := top.chain.Rules[top.rule]
	at := RuleAt{Command: NFT, Table: a.t.title(), Chain: top.chain.Name, Number: top.rule + 1, Rule: r.Text,
		Why: a.w.Why[RuleKey{Table: a.t.title(), Chain: top.chain.Name, Rule: canonical(r.Text)}], Led: slices.Clone(y.led)}
	for _, e := range y.seen {
		at.Element = "element " + a.t.title() + " " + e.of + " " + e.element
		// What a rule asks of a set has the rule's reason.
		if why := a.w.Why[RuleKey{Table: a.t.title(), Chain: e.of, Rule: e.element}]; why != "" && e.deed != goesOn {
			at.Why = why
		}
	}
	return &at
}

// apply does what a statement says. done says that the packet leaves the base chain.
func (a nativeWalk) apply(y *way, e effect) (v verdict, done bool) {
	if e.element != "" {
		y.seen = append(y.seen, e)
	}
	end := func(f fate) (verdict, bool) {
		return verdict{fate: f, rule: a.at(*y), reply: e.reply, packet: y.p}, true
	}
	top := &y.stack[len(y.stack)-1]
	switch e.deed {
	case goesOn:
		return v, false
	case breaks:
		top.rule, top.statement, y.seen = top.rule+1, 0, nil
		return v, false
	case accepts:
		return end(passes)
	case drops:
		return end(dropped)
	case rejects:
		return end(rejected)
	case returns:
		if len(y.stack) == 1 {
			return a.end(*y, a.at(*y)), true
		}
		y.pop()
		return v, false
	case jumps, leads:
		c := a.t.chain(e.chain)
		if c == nil || len(y.stack) > 64 {
			return end(puzzled)
		}
		next, at := nativeFrame{chain: c, led: len(y.led)}, *a.at(*y)
		at.Led = nil
		y.led, y.seen = append(y.led, at), nil
		if top.rule, top.statement = top.rule+1, 0; e.deed == leads {
			next.led = top.led
			y.stack = y.stack[:len(y.stack)-1]
		}
		y.stack = append(y.stack, next)
		return v, false
	}
	return end(puzzled)
}
