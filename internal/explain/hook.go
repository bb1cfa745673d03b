package explain

import (
	"fmt"
	"slices"
)

// fate is what a hook makes of a packet.
type fate int

const (
	passes fate = iota
	dropped
	rejected
	puzzled // it can't be told
)

// verdict is a fate, and what decided it.
type verdict struct {
	fate   fate
	rule   *RuleAt // nil: a policy, or nothing
	reply  string  // of a rejection: what is sent back
	policy string  // the chain whose policy it was; "": none
	packet Packet  // as it then is
}

// RuleAt is a rule and where it stands.
type RuleAt struct {
	Command string `json:"command"`
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Number  int    `json:"number"`
	Rule    string `json:"rule"`
	Why     string `json:"why,omitempty"` // if it is mybr's
	// Element is the element of a set or map that says what becomes of the packet.
	Element string `json:"element,omitempty"`
	// Led are the rules that have led the packet to the chain; only nft's have them.
	Led []RuleAt `json:"led,omitempty"`
}

// NFT is the Command of a RuleAt that iptables doesn't show; its Table has the family in front.
const NFT = "nft"

func (r *RuleAt) String() string {
	if r.Command == NFT {
		return fmt.Sprintf("nft, table %s, chain %s, rule %d: %s", r.Table, r.Chain, r.Number, r.Rule)
	}
	return fmt.Sprintf("%s -t %s, chain %s, rule %d: %s", r.Command, r.Table, r.Chain, r.Number, r.Rule)
}

// frame is a chain that is being walked, and the next rule.
type frame struct {
	chain *Chain
	next  int
}

// walkAt is one packet in one built-in chain of one table.
type walkAt struct {
	w     *World
	s     *Space
	f     *Filter
	t     *Table
	base  *Chain // the built-in one, whose policy counts for what comes to an end
	tries *int   // branches that are still affordable
}

// mostBranches bounds what is looked at for conditions that can't be told: each doubles the
// ways. ufw's rate limits of its log are some ten.
const mostBranches = 4096

// table has a packet pass one built-in chain.
func (w *World) table(s *Space, f *Filter, t *Table, hook string, p Packet) verdict {
	c := t.chain(hook)
	if c == nil {
		return verdict{packet: p}
	}
	tries := mostBranches
	return walkAt{w, s, f, t, c, &tries}.walk([]frame{{c, 0}}, p)
}

// end is what becomes of a packet that no rule has decided about; a RETURN may have led there.
func (a walkAt) end(p Packet, r *RuleAt) verdict {
	v := verdict{packet: p, rule: r, policy: a.base.Name}
	if a.base.Policy == "DROP" {
		v.fate = dropped
	}
	return v
}

// walk goes on from the last of some frames. The packet, and its connection, are copies.
func (a walkAt) walk(stack []frame, p Packet) verdict {
	stack = slices.Clone(stack)
	if p.conn != nil {
		own := *p.conn
		p.conn = &own
	}
	for {
		top := &stack[len(stack)-1]
		if top.next >= len(top.chain.Rules) {
			if len(stack) == 1 {
				return a.end(p, nil)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		r := top.chain.Rules[top.next]
		top.next++
		hit := r.all(&p, a.s)
		if hit == no || r.idle() {
			continue
		}
		at := a.at(top.chain, r, top.next)
		if hit == unsure {
			return a.either(stack, r, at, p)
		}
		v, done := a.apply(&stack, r, at, &p)
		if done {
			return v
		}
	}
}

// at says where a rule stands; its number is as iptables -L --line-numbers counts.
func (a walkAt) at(c *Chain, r *Rule, number int) *RuleAt {
	return &RuleAt{Command: a.f.Command, Table: a.t.Name, Chain: c.Name, Number: number, Rule: r.Text,
		Why: a.w.Why[RuleKey{a.f.Six, a.t.Name, c.Name, r.Text}]}
}

// either is for a rule of which it can't be told whether it matches: what comes of it both
// ways, if that is the same.
func (a walkAt) either(stack []frame, r *Rule, at *RuleAt, p Packet) verdict {
	puzzle := verdict{fate: puzzled, rule: at, packet: p}
	if *a.tries--; *a.tries < 0 {
		return puzzle
	}
	without := a.walk(stack, p)
	with := slices.Clone(stack)
	q := p
	if p.conn != nil {
		own := *p.conn
		q.conn = &own
	}
	v, done := a.apply(&with, r, at, &q)
	if !done {
		v = a.walk(with, q)
	}
	if without.fate == puzzled {
		return without
	}
	if v.fate != without.fate || v.reply != without.reply || !v.packet.same(without.packet) {
		return puzzle
	}
	return without
}

// same reports whether two packets fare alike from here on.
func (p Packet) same(q Packet) bool {
	a, b := p.conn, q.conn
	p.conn, q.conn = nil, nil
	if p != q || (a == nil) != (b == nil) {
		return false
	}
	return a == nil || *a == *b
}

// idle reports whether a rule does nothing to a packet that matters here.
func (r *Rule) idle() bool {
	switch r.jump {
	case "", "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "TCPMSS", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "IDLETIMER", "RATEEST",
		"TCPOPTSTRIP", "SECMARK", "CONNSECMARK", "LED", "SET", "ECN":
		return true
	}
	return false
}

// apply does what a rule says. done says that the packet leaves the built-in chain.
func (a walkAt) apply(stack *[]frame, r *Rule, at *RuleAt, p *Packet) (v verdict, done bool) {
	end := func(f fate, reply string) (verdict, bool) {
		return verdict{fate: f, rule: at, reply: reply, packet: *p}, true
	}
	switch r.jump {
	case "ACCEPT":
		return end(passes, "")
	case "DROP":
		return end(dropped, "")
	case "REJECT":
		return end(rejected, r.option("--reject-with"))
	case "RETURN":
		if len(*stack) == 1 {
			return a.end(*p, at), true
		}
		*stack = (*stack)[:len(*stack)-1]
		return v, false
	case "MARK", "CONNMARK":
		if !r.marks(p) {
			return end(puzzled, "")
		}
		return v, false
	case "CT", "NOTRACK":
		if r.jump == "CT" && !slices.Contains(r.options, "--notrack") {
			return v, false // a helper, a zone or a timeout
		}
		return end(puzzled, "") // flows that aren't tracked are not followed
	case "DNAT", "REDIRECT", "SNAT", "MASQUERADE":
		if !a.translate(r, p) {
			return end(puzzled, "")
		}
		return end(passes, "")
	}
	c := a.t.chain(r.jump)
	if c == nil || len(*stack) > 64 { // a target that is not known
		return end(puzzled, "")
	}
	if r.to {
		*stack = (*stack)[:len(*stack)-1]
	}
	*stack = append(*stack, frame{c, 0})
	return v, false
}

// option is the word behind one of the target's options; "" if it isn't there.
func (r *Rule) option(name string) string {
	if i := slices.Index(r.options, name); i >= 0 && i+1 < len(r.options) {
		return r.options[i+1]
	}
	return ""
}

// marks does what MARK and CONNMARK say, if it is known.
func (r *Rule) marks(p *Packet) bool {
	value, mask, ok := parseMark(r.option("--set-xmark"))
	switch {
	case r.jump == "MARK" && ok:
		p.mark = p.mark&^mask ^ value
		return true
	case p.conn == nil:
		return true
	case ok:
		p.conn.mark = p.conn.mark&^mask ^ value
		return true
	case slices.Contains(r.options, "--save-mark") && len(r.options) == 1:
		p.conn.mark = p.mark
		return true
	case slices.Contains(r.options, "--restore-mark") && len(r.options) == 1:
		p.mark = p.conn.mark
		return true
	}
	return false
}
