package explain

import (
	"cmp"
	"fmt"
	"net/netip"
)

// walker follows one packet, and then its reply.
type walker struct {
	w      *World
	steps  []Step
	conns  []*conn
	hops   int
	relays int // legs behind processes so far
	back   bool
	left   *Space // where it has left what is known of
	leftBy *Link
	home   *Link      // of the host, if the packet comes from beyond: what leaves by it for whom it came from is there
	whose  netip.Addr // from whom
}

// mostHops is the usual TTL (RFC 1700 has 64): what goes round in a circle ends.
const mostHops = 64

// mostRelays is how many processes carry a flow on before it is taken for a circle.
const mostRelays = 4

func (k *walker) step(s *Space, kind, format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	k.steps = append(k.steps, Step{Space: s.Name, Kind: kind, Text: format, Back: k.back})
}

func dead(reason string, args ...any) outcome {
	return outcome{verdict: Dropped, reason: fmt.Sprintf(reason, args...)}
}

// route looks the way up, and says why there is none.
func (k *walker) route(s *Space, p *Packet, in, out string) (Route, *outcome) {
	r, found, unclear := s.lookup(p.Dst, p.Src, in, out, p.mark)
	switch {
	case unclear != "":
		return r, &outcome{verdict: Unknown, reason: unclear}
	case !found:
		return r, &outcome{verdict: NoRoute, reason: fmt.Sprintf("%s has no route to %s", s.Name, p.Dst)}
	case r.Kind == Blackhole || r.Kind == Unreachable || r.Kind == Prohibit:
		return r, s.refusedBy(r, p)
	case r.Kind != Unicast && r.Kind != Local:
		return r, &outcome{verdict: Unknown, reason: fmt.Sprintf("%s is a %s address", p.Dst, r.Kind)}
	case r.Several:
		return r, &outcome{verdict: Unknown, reason: fmt.Sprintf("%s has several next hops to %s, of which the kernel chooses", s.Name, p.Dst)}
	}
	return r, nil
}

// send follows a packet that the namespace itself makes. A source that is not given is
// chosen.
//
// A link-local destination is on one link (RFC 4007): that of its zone, or for an answer that
// by which the question came.
func (k *walker) send(s *Space, p *Packet) outcome {
	out := p.Dst.Zone()
	if p.Dst = p.Dst.WithZone(""); out == "" && p.Dst.IsLinkLocalUnicast() {
		out = p.in
	}
	r, end := k.route(s, p, "", out)
	if end != nil {
		if !k.back {
			k.step(s, AtStart, p.String())
		}
		return *end
	}
	if !p.Src.IsValid() {
		if p.Src = s.source(r, p.Dst); !p.Src.IsValid() {
			return outcome{verdict: NoRoute, reason: s.Name + " has no address to send from"}
		}
	}
	kind := AtStart
	if k.back {
		kind = AtReply
	}
	k.step(s, kind, p.String())
	here := *p
	q := &here
	k.track(s, q)
	q.in, q.out = "", k.outOf(s, r)
	dst, mark := q.Dst, q.mark
	if end := k.hook(s, "OUTPUT", q); end != nil {
		return *end
	}
	if q.Dst != dst || q.mark != mark {
		if r, end = k.route(s, q, "", out); end != nil {
			return *end
		}
		q.out = k.outOf(s, r)
	}
	return k.leave(s, r, q)
}

// outOf is the link that a route leads out of.
func (k *walker) outOf(s *Space, r Route) string {
	if r.Kind == Local {
		return "lo"
	}
	if l := s.link(r.Link); l != nil {
		return l.Name
	}
	return ""
}

// leave is what comes behind the routing of a packet that is not for this namespace, or that
// the namespace sends itself.
func (k *walker) leave(s *Space, r Route, p *Packet) outcome {
	k.step(s, AtRoute, "route: "+r.text(s))
	if end := k.hook(s, "POSTROUTING", p); end != nil {
		return *end
	}
	p.confirm()
	if end := s.secured(p, true); end != nil {
		return *end
	}
	if r.Kind == Local {
		lo := s.named("lo")
		if lo == nil || !lo.Up {
			return s.down(&Link{Name: "lo"})
		}
		for _, ingress := range []bool{false, true} {
			if end := k.at(s, lo, ingress); end != nil {
				return *end
			}
		}
		return k.input(s, lo, *p)
	}
	l := s.link(r.Link)
	if l == nil {
		return outcome{verdict: Unknown, reason: fmt.Sprintf("%s has no link %d", s.Name, r.Link)}
	}
	next := p.Dst
	if r.Via.IsValid() {
		next = r.Via
	}
	if p.six() && s.on("ipv6/conf/"+l.Name+"/disable_ipv6") {
		return s.without6(l)
	}
	if l == k.home && p.Dst == k.whose {
		if end := k.at(s, l, false); end != nil {
			return *end
		}
		return k.beyond(s, l, *p)
	}
	s.neighbour(l, next, p)
	if end := k.asks(s, l, p); end != nil {
		return *end
	}
	if l.Kind == "bridge" {
		return k.bridged(s, l, nil, *p, next)
	}
	return k.transmit(s, l, *p, next)
}

// input follows a packet that comes into a namespace for its network layer.
func (k *walker) input(s *Space, l *Link, p Packet) outcome {
	if k.hops++; k.hops > mostHops {
		return dead("it goes round in a circle")
	}
	if !l.Up {
		return s.down(l)
	}
	if p.six() && s.on("ipv6/conf/"+l.Name+"/disable_ipv6") {
		return s.without6(l)
	}
	p.in, p.out = l.Name, ""
	k.track(s, &p)
	if end := k.hook(s, "PREROUTING", &p); end != nil {
		return *end
	}
	return k.routed(s, l, p)
}

// routed follows a packet behind PREROUTING.
func (k *walker) routed(s *Space, l *Link, p Packet) outcome {
	r, end := k.route(s, &p, l.Name, "")
	if end == nil && r.Kind != Local && !k.forwards(s, l, &p) {
		return s.unforwarded(l, &p)
	}
	if reason := k.martian(s, l, &p, r); reason != "" {
		return dead("%s of %s takes no packet that %s", l.Name, s.Name, reason)
	}
	if end != nil {
		return *end
	}
	if end := s.secured(&p, false); end != nil {
		return *end
	}
	if r.Kind == Local {
		return k.deliver(s, l, p)
	}
	if p.six() && (p.Src.IsLinkLocalUnicast() || p.Dst.IsLinkLocalUnicast()) {
		return dead("link-local addresses are not forwarded")
	}
	p.out = k.outOf(s, r)
	if end := k.hook(s, "FORWARD", &p); end != nil {
		return *end
	}
	return k.leave(s, r, &p)
}

// forwards reports whether the namespace passes on what comes in by a link. IPv4 asks that
// link, IPv6 asks for all (ip-sysctl.rst).
func (k *walker) forwards(s *Space, l *Link, p *Packet) bool {
	if p.six() {
		return s.on("ipv6/conf/all/forwarding")
	}
	return s.on("ipv4/conf/" + l.Name + "/forwarding")
}

// martian says what is wrong with a packet's addresses where it comes in, on its way by a route;
// "": nothing.
func (k *walker) martian(s *Space, l *Link, p *Packet, way Route) string {
	if l.Name == "lo" {
		return ""
	}
	local := s.conf("ipv4", l.Name, "route_localnet")
	if p.Dst.IsLoopback() && (p.six() || local != "1") {
		return "is for a loopback address"
	}
	if p.Src.IsLoopback() && (p.six() || local != "1") {
		return "is from a loopback address"
	}
	if p.six() {
		return ""
	}
	in := "lo" // as if it were sent where it goes to, and as if that had come by there (fib_validate_source)
	if out := s.link(way.Link); way.Kind == Unicast && out != nil {
		in = out.Name
	}
	mark := p.mark
	if s.conf("ipv4", l.Name, "src_valid_mark") != "1" {
		mark = 0
	}
	back, found, _ := s.lookup(p.Src, p.Dst, in, "", mark)
	if found && (back.Kind == Unreachable || back.Kind == Prohibit || back.Kind == Blackhole) {
		back, found = Route{}, false
	}
	if found && back.Kind == Local && s.conf("ipv4", l.Name, "accept_local") != "1" {
		return "is from an address of " + s.Name + " itself"
	}
	switch s.conf("ipv4", l.Name, "rp_filter") {
	case "1":
		if out := s.link(back.Link); !found || out == nil || out.Name != l.Name {
			return "is from where the route leads elsewhere (rp_filter 1)" + back.led(s)
		}
	case "2":
		if !found {
			return "is from where no route leads (rp_filter 2)"
		}
	}
	return ""
}

// deliver gives a packet to the namespace that it is for.
func (k *walker) deliver(s *Space, l *Link, p Packet) outcome {
	if end := k.hook(s, "INPUT", &p); end != nil {
		return *end
	}
	p.confirm()
	if p.kind == third {
		return outcome{verdict: Delivered, space: s, packet: p}
	}
	if p.Reply {
		k.step(s, AtSocket, "the reply is there: "+p.String())
		return outcome{verdict: Delivered, space: s, packet: p}
	}
	if p.Proto == ICMP {
		if s.on("ipv4/icmp_echo_ignore_all") && !p.six() || s.on("ipv6/icmp/echo_ignore_all") && p.six() {
			return dead("%s answers no echo requests", s.Name)
		}
		k.step(s, AtSocket, s.Name+" answers itself")
		return outcome{verdict: Delivered, reason: s.Name + " answers echo requests", space: s, packet: p}
	}
	if r := k.w.closed(s, &p); r != nil {
		return uncarried(r, &p)
	}
	if p.Proto != TCP && p.Proto != UDP {
		return outcome{verdict: Unknown, reason: "whether " + s.Name + " takes " + p.Proto + " at that port can't be told", space: s, packet: p}
	}
	socket := s.socket(l, &p)
	if socket == nil {
		reason := fmt.Sprintf("nobody in %s listens on %s port %d at %s", s.Name, p.Proto, p.Dport, p.Dst) + k.w.elsewhere(s, &p)
		k.step(s, AtSocket, reason)
		return outcome{verdict: Refused, reason: reason, space: s, packet: p, reset: p.Proto == TCP}
	}
	at := fmt.Sprintf("%s %s", p.Proto, netip.AddrPortFrom(socket.Addr, socket.Port))
	if relay := k.w.relay(s, socket, &p); relay != nil {
		return k.relay(s, l, p, at, relay)
	}
	k.step(s, AtSocket, cmp.Or(socket.Process, "a process")+" listens on "+at)
	return outcome{verdict: Delivered, reason: fmt.Sprintf("a process in %s listens on %s", s.Name, at), space: s, packet: p}
}
