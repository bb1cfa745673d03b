package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// What is below and beside the network layer. Of all this no more is evaluated than what it
// takes to know that a packet does not meet it, or is surely dropped by it: else it can't be
// told.

// LowChain is a base chain of nf_tables in a family below the network layer, or at a link.
type LowChain struct {
	Family, Table, Name string // Family: "netdev", "inet", "bridge", "arp"
	Hook                string // "ingress" and "egress" of Links; of a bridge and of arp as nft(8) names them
	Links               []string
	Drops               bool // what no rule decides about
	Rules               []LowRule
}

// LowRule is one of its rules that can do something.
type LowRule struct {
	Number, Handle int
	Links          []LinkTest // that must all be true
	Unsure         bool       // it asks for something else, too
	Verdict        string     // LowAccept, LowDrop; "": it can't be told
}

// What rules say.
const (
	LowAccept = "accept"
	LowDrop   = "drop"
)

// LinkTest compares the name of the link that a frame comes in by, or leaves by.
type LinkTest struct {
	In, Not bool
	Names   []string // with * at the end for any rest
}

func (t LinkTest) is(in, out string) bool {
	name := out
	if t.In {
		name = in
	}
	return anyName(t.Names, name) != t.Not
}

// anyName reports whether a name is among some, of which those with * at the end stand for any
// rest.
func anyName(some []string, name string) bool {
	return slices.ContainsFunc(some, func(n string) bool {
		prefix, any := strings.CutSuffix(n, "*")
		return n == name || any && strings.HasPrefix(name, prefix)
	})
}

// Obstacle is a program at a link that may drop what passes.
type Obstacle struct {
	Link    string
	Ingress bool
	What    string
}

// Selector is a policy of IPsec.
type Selector struct {
	Src, Dst netip.Prefix
	Out      bool // of what leaves; else of what is taken or forwarded
}

// Neighbour is an entry of a link's table of neighbours.
type Neighbour struct {
	Link  int
	Addr  netip.Addr
	MAC   string
	Fixed bool // it is never asked for again
}

// receiver is whom a packet is handed to on a link.
type receiver struct {
	fixed    string // the hardware address that it is for, if nobody is asked for it
	cached   string // or that which was told before
	looker   *Space // who has looked that up, and for which link
	lookedOn *Link
}

// neighbour gives a packet the address of the frame's receiver, as far as there is an entry.
func (s *Space) neighbour(l *Link, next netip.Addr, p *Packet) {
	p.fixed, p.cached = "", ""
	i := slices.IndexFunc(s.Neighbours, func(n Neighbour) bool { return n.Link == l.Index && n.Addr == next.WithZone("") })
	switch {
	case i < 0:
	case s.Neighbours[i].Fixed:
		p.fixed = s.Neighbours[i].MAC
	default:
		p.cached = s.Neighbours[i].MAC
	}
	p.looker, p.lookedOn = s, l
}

// takes reports whether a link takes a frame of a packet's, which is for whoever has an address.
func (s *Space) takes(l *Link, p *Packet, next netip.Addr) bool {
	if p.fixed != "" {
		return l.Up && l.MAC == p.fixed
	}
	return s.answers(l, next)
}

// unreached is for a frame that no station takes.
func (k *walker) unreached(s *Space, l *Link, p *Packet, next netip.Addr) outcome {
	if p.fixed == "" {
		return k.nobody(s, l, next)
	}
	o := dead("%s has a permanent entry for the neighbour %s on %s, %s, and nobody there has that", p.looker.Name, next, p.lookedOn.Name, p.fixed)
	o.mend = p.looker.ip(false, "neigh", "del", next.WithZone("").String(), "dev", p.lookedOn.Name)
	k.step(s, AtNeighbour, o.reason)
	return o
}

// doubted is for a frame whose sender knows its neighbour by another address than it has.
func (s *Space) doubted(l *Link, p *Packet, next netip.Addr) *outcome {
	if p.cached == "" || p.cached == l.MAC {
		return nil
	}
	return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s knows the neighbour %s on %s as %s, and it is %s by now: what is sent is lost until that is noticed",
		p.looker.Name, next, p.lookedOn.Name, p.cached, l.MAC)}
}

// at has a packet pass what is at a link.
func (k *walker) at(s *Space, l *Link, ingress bool) *outcome {
	hook := map[bool]string{true: "ingress", false: "egress"}[ingress]
	for _, o := range s.Obstacles {
		if o.Link == l.Name && o.Ingress == ingress {
			return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s at %s of %s may drop it, and is not evaluated", o.What, l.Name, s.Name)}
		}
	}
	in, out := "", l.Name
	if ingress {
		in, out = l.Name, ""
	}
	return k.low(s, func(c *LowChain) bool { return c.Hook == hook && anyName(c.Links, l.Name) }, in, out)
}

// framed has a frame pass the chains that a bridge has at a hook.
func (k *walker) framed(s *Space, hook, in, out string) *outcome {
	if s.OldBridgeRules {
		return &outcome{verdict: Unknown, reason: "a network namespace of this kernel has rules of ebtables-legacy, which are not read"}
	}
	return k.low(s, func(c *LowChain) bool { return c.Family == "bridge" && c.Hook == hook }, in, out)
}

// asks has a namespace ask by ARP who has an address, or answer that, on a link.
func (k *walker) asks(s *Space, l *Link, p *Packet) *outcome {
	if p.six() || l.Name == "lo" || p.fixed != "" {
		return nil
	}
	for i := range s.Low {
		c := &s.Low[i]
		if fate, _ := c.fate(0, l.Name, l.Name); c.Family == "arp" && fate != passes {
			return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s may keep %s from finding its neighbours, and is not evaluated", c.title(), s.Name)}
		}
	}
	return nil
}

// low has a packet pass some chains.
func (k *walker) low(s *Space, which func(*LowChain) bool, in, out string) *outcome {
	for i := range s.Low {
		c := &s.Low[i]
		if !which(c) || c.Family == sendersFamily && c.Table == SendersTable && s.Senders != nil {
			continue // the last one is that of sends and neighbours
		}
		switch fate, rule := c.fate(0, in, out); {
		case fate == dropped && rule == nil:
			o := dead("the policy of %s of %s is drop, and no rule accepts it", c.title(), s.Name)
			return &o
		case fate == dropped:
			o := dead("it is dropped by rule %d of %s of %s", rule.Number, c.title(), s.Name)
			o.mend = s.mend("nft", "delete", "rule", c.Family, c.Table, c.Name, "handle", fmt.Sprint(rule.Handle))
			k.step(s, AtRule, o.reason)
			return &o
		case fate == puzzled:
			reason := c.title()
			if rule != nil && rule.Number > 0 {
				reason = fmt.Sprintf("rule %d of %s", rule.Number, reason)
			}
			return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s of %s may drop it, and is not evaluated", reason, s.Name)}
		}
	}
	return nil
}

// title is what the chain is called in a sentence.
func (c *LowChain) title() string {
	return fmt.Sprintf("chain %s of the nf_tables table %s %s", c.Name, c.Family, c.Table)
}

// fate is what becomes of a frame from a rule on, and which rule says so.
func (c *LowChain) fate(from int, in, out string) (fate, *LowRule) {
	for i := from; i < len(c.Rules); i++ {
		r := &c.Rules[i]
		if slices.ContainsFunc(r.Links, func(t LinkTest) bool { return !t.is(in, out) }) {
			continue
		}
		said := map[string]fate{LowAccept: passes, LowDrop: dropped}
		hit, known := said[r.Verdict]
		switch {
		case !known:
			return puzzled, r
		case !r.Unsure:
			return hit, r
		}
		if without, rule := c.fate(i+1, in, out); without != hit {
			if without == puzzled {
				return puzzled, rule
			}
			return puzzled, r
		}
		return hit, r
	}
	if c.Drops {
		return dropped, nil
	}
	return passes, nil
}

// secured is for what a policy of IPsec may be about.
func (s *Space) secured(p *Packet, out bool) *outcome {
	for _, x := range s.Secured {
		if x.Out == out && x.Src.Contains(p.Src.WithZone("")) && x.Dst.Contains(p.Dst.WithZone("")) {
			return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s has a policy of IPsec from %s to %s, which is not evaluated", s.Name, x.Src, x.Dst)}
		}
	}
	return nil
}
