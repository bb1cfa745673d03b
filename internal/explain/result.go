package explain

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Version is that of a Result's JSON form: fields are added without a word, and it grows
// when one is removed or means something else.
const Version = 1

// Verdicts.
const (
	Delivered = "delivered" // somebody takes it, and the answer comes back
	Leaves    = "leaves"    // it leaves the host, for where nothing can be seen; an answer would come back
	Refused   = "refused"   // a host answers that it doesn't want it
	Dropped   = "dropped"   // it, or the answer, is lost without a word
	NoRoute   = "no route"  // nothing leads there, or nobody there has the address
	Unknown   = "unknown"   // it can't be told
)

// Result is a prediction.
type Result struct {
	Version int     `json:"version"`
	Packet  string  `json:"packet"` // as it is sent
	Verdict string  `json:"verdict"`
	Reason  string  `json:"reason"`
	Rule    *RuleAt `json:"rule,omitempty"` // that decided against it
	// Mend are commands for a root shell that take away what it fails by, where that is known.
	Mend []string `json:"mend,omitempty"`
	// Notes say what was chosen that the question left open.
	Notes []string `json:"notes,omitempty"`
	Steps []Step   `json:"steps"`
	// From is the address that it is sent from.
	From netip.Addr `json:"from,omitzero"`
	// To is where it is delivered: a namespace, or "" where that is beyond what is known.
	To string `json:"to,omitempty"`
	// Client and Server are the addresses as the server sees them, the ports 0 where they are
	// the kernel's choice.
	Client netip.AddrPort `json:"client,omitzero"`
	Server netip.AddrPort `json:"server,omitzero"`
	// Relayed says that a process carries it on.
	Relayed bool `json:"relayed"`
	// Beyond says that it leaves what is known of.
	Beyond bool `json:"beyond"`
}

// Kinds of step.
const (
	AtStart     = "start"
	AtRoute     = "route"
	AtLink      = "link"
	AtBridge    = "bridge"
	AtRule      = "rule"
	AtNAT       = "nat"
	AtSocket    = "socket"
	AtReply     = "reply"
	AtNeighbour = "neighbour"
)

// Step is one thing that happens to the packet.
type Step struct {
	Space  string  `json:"namespace"`
	Kind   string  `json:"kind"`
	Text   string  `json:"text"`
	Rule   *RuleAt `json:"rule,omitempty"`
	Before string  `json:"before,omitempty"` // the packet, where it is translated
	After  string  `json:"after,omitempty"`
	Packet string  `json:"packet,omitempty"` // of a link that leads to another namespace: what arrives there
	Back   bool    `json:"reply,omitempty"`  // it happens to the reply
}

// Query is what is asked.
type Query struct {
	From         string     // the namespace that it is sent in; "": from beyond
	In           string     // then the link of the host by which it comes
	Src          netip.Addr // zero: the kernel chooses
	Dst          netip.Addr
	Proto        string
	Sport, Dport uint16 // a Sport of 0: the kernel chooses
	Notes        []string
}

// outcome is where a packet's way ends.
type outcome struct {
	verdict, reason string
	rule            *RuleAt
	mend            []string
	space           *Space // nil: beyond
	reset           bool   // it is refused by a reset, and not by an error of ICMP's
	packet          Packet
	relay           *Relay
	client          netip.AddrPort // as a relay's second leg shows it
	server          netip.AddrPort
	to              string
}

// Predict follows a packet and its reply.
func Predict(w *World, q Query) Result {
	r := predict(w, q, 0)
	if r.Verdict == Delivered && r.Beyond {
		r.Verdict = Leaves
	}
	return r
}

func predict(w *World, q Query, relays int) Result {
	k := &walker{w: w, relays: relays}
	p := Packet{Proto: q.Proto, Src: q.Src, Dst: q.Dst, Sport: q.Sport, Dport: q.Dport, chosen: [2]uint16{1024, 1<<16 - 1}}
	o := k.begin(q, &p)
	r := Result{Version: Version, Packet: p.String(), From: p.Src, Notes: q.Notes, Steps: []Step{}}
	if o.verdict == Delivered || o.space != nil && o.relay == nil && (o.verdict == Refused || o.verdict == NoRoute && o.rule != nil) {
		o = k.answer(q, p, o)
	}
	if o.verdict == Delivered && q.Proto == TCP {
		o = k.goOn(q, p, o)
	}
	r.Verdict, r.Reason, r.Rule, r.Steps = o.verdict, o.reason, o.rule, append(r.Steps, k.steps...)
	if o.verdict != Delivered && o.verdict != Unknown {
		if r.Mend = o.mend; r.Mend == nil {
			r.Mend = k.w.withoutRule(o.rule, k.steps)
		}
	}
	if o.verdict == Delivered {
		r.Client = netip.AddrPortFrom(o.packet.Src, o.packet.Sport)
		r.Server = netip.AddrPortFrom(o.packet.Dst, o.packet.Dport)
		r.Beyond = o.space == nil
		if o.space != nil {
			r.To = o.space.Name
		}
		if o.relay != nil {
			r.Relayed, r.Client, r.Server, r.To = true, o.client, o.server, o.to
		}
	}
	return r
}

// goOn follows the packet that the client sends next: it belongs to an established connection,
// for which rules may have other words. What happens to it is told only if it is lost.
func (k *walker) goOn(q Query, sent Packet, there outcome) outcome {
	steps := k.steps
	k.back, k.hops = false, 0
	sent.kind = third
	o := k.begin(q, &sent)
	if o.verdict == Delivered {
		k.steps = steps
		return there
	}
	o.reason = "the connection begins, but of what the client sends then: " + o.reason
	if o.verdict == NoRoute {
		o.verdict = Dropped
	}
	return o
}

// begin sends the packet.
func (k *walker) begin(q Query, p *Packet) outcome {
	if q.From == "" {
		host := k.w.Spaces[0]
		l := host.named(q.In)
		if l == nil {
			return outcome{verdict: Unknown, reason: "the host has no link " + q.In}
		}
		k.home, k.whose = l, p.Src
		k.step(host, AtStart, p.String()+" comes from beyond "+q.In)
		return k.arrive(host, l, *p, k.nextHop(l, *p))
	}
	s := k.w.space(q.From)
	if s == nil {
		return outcome{verdict: Unknown, reason: "nothing is known of namespace " + q.From}
	}
	if low, high, ok := strings.Cut(strings.Join(strings.Fields(s.Settings["ipv4/ip_local_port_range"]), " "), " "); ok {
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 == nil && err2 == nil {
			p.chosen = [2]uint16{uint16(first), uint16(last)}
		}
	}
	p.Dst = q.Dst // with the link that is lost where it has been sent before
	if p.Dst.IsLinkLocalUnicast() && p.six() && p.Dst.Zone() == "" && p.Proto != ICMP {
		k.step(s, AtStart, p.String())
		return nowhere(p)
	}
	return k.send(s, p)
}

// nowhere is for a link-local address of IPv6 without a link. The kernel refuses to connect to
// it (tcp_v6_connect, __ip6_datagram_connect), but sends single datagrams by the routes.
func nowhere(p *Packet) outcome {
	reason := fmt.Sprintf("a link-local address is one on each link: connect(2) refuses %s without one (%s%%LINK)", p.Dst, p.Dst)
	if p.Proto == UDP {
		return outcome{verdict: Unknown, reason: reason + ", and whether the program connects can't be told"}
	}
	return outcome{verdict: NoRoute, reason: reason}
}

// nextHop is the address of the host that whoever is beyond a link sends a packet to: that
// itself if the link has it, or else the link's.
func (k *walker) nextHop(l *Link, p Packet) netip.Addr {
	if l.has(p.Dst) {
		return p.Dst
	}
	if a := primary(l, p.six()); a.IsValid() {
		return a
	}
	for _, a := range l.Addrs {
		if a.Addr().Is6() == p.six() {
			return a.Addr()
		}
	}
	return p.Dst
}

// answer follows the reply of who has got the packet that was sent.
func (k *walker) answer(q Query, sent Packet, there outcome) outcome {
	if there.space == nil {
		// What is beyond answers to where the packet came from: by the link that it left by.
		return k.fromBeyond(q, sent, there)
	}
	k.back = true
	got := there.packet
	reply := got.answer(there)
	if reply.kind == reset && there.rule != nil && got.port != nil {
		// The kernel sends it straight to the port, past all rules (nf_send_reset, nf_bridge_info_exists).
		k.step(there.space, AtReply, reply.String()+" goes back to port "+got.port.Name)
		return k.judge(q, sent, there, k.transmit(there.space, got.port, reply, reply.Dst))
	}
	if reply.kind == fault && there.rule != nil && got.crossing && got.six() {
		return outcome{verdict: Unknown, rule: there.rule, reason: there.reason + "; whether the client is told can't be told of IPv6 that crosses a bridge"}
	}
	o := k.send(there.space, &reply)
	return k.judge(q, sent, there, o)
}

// answer is what the receiver of a packet sends back.
func (p Packet) answer(o outcome) Packet {
	reply := Packet{Proto: p.Proto, Src: p.Dst, Dst: p.Src, Sport: p.Dport, Dport: p.Sport, Reply: true, chosen: p.chosen, in: p.in}
	switch {
	case o.verdict == Delivered:
	case o.reset:
		reply.kind = reset
	default:
		reply.kind, reply.Proto, reply.inner = fault, ICMP, p.Dst
		if o.space.kindOf(p.Dst) != Local {
			reply.Src = netip.Addr{} // that of the host which refuses
		}
	}
	return reply
}

// fromBeyond lets a reply come in where the packet has left.
func (k *walker) fromBeyond(q Query, sent Packet, there outcome) outcome {
	k.back = true
	got := there.packet
	if k.left == nil {
		return there
	}
	reply := got.answer(there)
	k.step(k.left, AtReply, reply.String()+" comes back from beyond "+k.leftBy.Name+", if somebody answers there")
	o := k.arrive(k.left, k.leftBy, reply, k.nextHop(k.leftBy, reply))
	return k.judge(q, sent, there, o)
}

// judge is the outcome of a packet whose reply has ended somewhere.
func (k *walker) judge(q Query, sent Packet, there, back outcome) outcome {
	home := back.space != nil && back.space.Name == q.From || back.space == nil && q.From == ""
	switch {
	case back.verdict != Delivered:
		back.reason = "the reply is lost: " + back.reason
		if back.verdict != Unknown {
			back.verdict = Dropped
		}
		return back
	case !home || back.packet.Dst != sent.Src:
		return outcome{verdict: Dropped, reason: "the reply is lost: it goes to " + back.packet.Dst.String() + ", which did not ask"}
	case back.packet.kind == fault && back.packet.inner.WithZone("") == sent.Dst.WithZone("") && back.packet.Sport == sent.Dport:
	case back.packet.Src.WithZone("") != sent.Dst.WithZone("") || back.packet.Sport != sent.Dport:
		return outcome{verdict: Dropped, reason: "the reply comes from " + back.packet.Src.String() + ", and not from where the question was sent to"}
	}
	return there
}
