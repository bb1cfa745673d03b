package explain

import (
	"fmt"
	"net/netip"
	"slices"
)

// transmit sends a frame out of a link that is no bridge, to whoever has an address.
func (k *walker) transmit(s *Space, l *Link, p Packet, next netip.Addr) outcome {
	p.port = nil
	if !l.Up {
		return s.down(l)
	}
	if end := k.at(s, l, false); end != nil {
		return *end
	}
	other, peer := k.w.peer(s, l)
	if peer == nil {
		if l.Kind == "dummy" {
			return dead("%s of %s leads nowhere", l.Name, s.Name)
		}
		if l.Kind == "veth" && len(k.w.Unread) > 0 {
			return outcome{verdict: Unknown, reason: fmt.Sprintf("where %s of %s leads can't be told: %s", l.Name, s.Name, k.w.Unread[0])}
		}
		return k.beyond(s, l, p)
	}
	if !peer.Up {
		o := other.down(peer)
		o.reason = fmt.Sprintf("%s of %s, the other end of %s, is down", peer.Name, other.Name, l.Name)
		return o
	}
	if other != s {
		p.mark = 0 // it is the namespace's own (skb_scrub_packet)
	}
	k.step(other, AtLink, fmt.Sprintf("%s of %s leads to %s", l.Name, s.Name, peer.Name))
	k.steps[len(k.steps)-1].Packet = p.String()
	return k.arrive(other, peer, p, next)
}

// beyond is for what leaves all that is known of.
func (k *walker) beyond(s *Space, l *Link, p Packet) outcome {
	k.step(s, AtLink, fmt.Sprintf("leaves by %s to what is beyond: %s", l.Name, p.String()))
	k.left, k.leftBy = s, l
	return outcome{verdict: Delivered, reason: fmt.Sprintf("it leaves the host by %s; who is beyond can't be seen from here", l.Name), packet: p}
}

// arrive takes a frame that comes into a namespace by a link, on its way to an address.
func (k *walker) arrive(s *Space, l *Link, p Packet, next netip.Addr) outcome {
	if end := k.at(s, l, true); end != nil {
		return *end
	}
	if l.Master != 0 {
		bridge := s.link(l.Master)
		if bridge == nil || bridge.Kind != "bridge" {
			return outcome{verdict: Unknown, reason: fmt.Sprintf("%s of %s is part of a link that is no bridge", l.Name, s.Name)}
		}
		return k.bridged(s, bridge, l, p, next)
	}
	if !s.takes(l, &p, next) {
		return k.unreached(s, l, &p, next)
	}
	if end := s.doubted(l, &p, next); end != nil {
		return *end
	}
	if end := k.asks(s, l, &p); end != nil {
		return *end
	}
	return k.input(s, l, p)
}

// nobody is for an address that no station on a link has.
func (k *walker) nobody(s *Space, l *Link, next netip.Addr) outcome {
	reason := fmt.Sprintf("nobody behind %s of %s has the address %s", l.Name, s.Name, next)
	k.step(s, AtNeighbour, reason)
	return outcome{verdict: NoRoute, reason: reason}
}

// answers reports whether a namespace answers on a link to those who look for an address. In
// IPv4 it does so for all of its addresses, unless arp_ignore says otherwise, in IPv6 for
// those of the link.
func (s *Space) answers(l *Link, a netip.Addr) bool {
	if !l.Up {
		return false
	}
	if a.Is6() || s.conf("ipv4", l.Name, "arp_ignore") > "0" {
		return l.has(a)
	}
	return s.kindOf(a) == Local && !a.IsLoopback() || s.on("ipv4/conf/"+l.Name+"/proxy_arp") && s.kindOf(a) == Unicast && s.leads(a, l)
}

// leads reports whether there is a route to an address by another link than l, so that
// proxy_arp has l answer for it (ip-sysctl.rst).
func (s *Space) leads(a netip.Addr, l *Link) bool {
	r, found, unclear := s.lookup(a, netip.Addr{}, "", "", 0)
	return found && unclear == "" && r.Kind == Unicast && r.Link != l.Index
}

// bridged takes a frame that came into a bridge by a port, or from the bridge itself (port
// is nil), to whoever has an address.
func (k *walker) bridged(s *Space, bridge, port *Link, p Packet, next netip.Addr) outcome {
	switch {
	case !bridge.Up:
		o := s.down(bridge)
		o.reason = "bridge " + o.reason
		return o
	case bridge.VLANs:
		return outcome{verdict: Unknown, reason: fmt.Sprintf("bridge %s of %s filters VLANs", bridge.Name, s.Name)}
	case port != nil && !port.Up:
		return s.down(port)
	case port != nil && port.Blocked:
		return s.blocked(bridge, port)
	}
	if end := k.enters(s, bridge, port, &p); end != nil {
		return *end
	}
	to, end := k.behind(s, bridge, port, &p, next)
	filtered := port != nil && s.filtersBridged(&p)
	if end != nil && end.verdict == Dropped && filtered {
		return k.apart(s, bridge, p, *end)
	}
	if end != nil {
		return *end
	}
	if filtered {
		p.port = port
		was := next
		if end := k.prebridged(s, bridge, &p, &next); end != nil {
			return *end
		}
		if next != was {
			s.neighbour(bridge, next, &p)
			if to, end = k.behind(s, bridge, port, &p, next); end != nil {
				return *end
			}
		}
	}
	if to == bridge {
		k.step(s, AtBridge, fmt.Sprintf("bridge %s takes it itself: it has %s", bridge.Name, next))
		if end := k.taken(s, bridge, port, &p, next); end != nil {
			return *end
		}
		if filtered {
			return k.routed(s, bridge, p)
		}
		return k.input(s, bridge, p)
	}
	k.step(s, AtBridge, fmt.Sprintf("bridge %s passes it on to port %s", bridge.Name, to.Name))
	if end := k.leaves(s, port, to, &p); end != nil {
		return *end
	}
	if filtered {
		if end := k.postbridged(s, bridge, &p); end != nil {
			return *end
		}
	}
	return k.transmit(s, to, p, next)
}

// apart is for two ports that are kept apart: their stations don't find each other. One that
// knows the other from before sends all the same, and where br_netfilter translates that, it
// doesn't go to the other port.
func (k *walker) apart(s *Space, bridge *Link, p Packet, end outcome) outcome {
	probe := walker{w: k.w, conns: k.conns, back: k.back}
	dst := p.Dst
	next := p.Dst
	if o := probe.prebridged(s, bridge, &p, &next); o != nil && o.verdict != Dropped || p.Dst != dst {
		return outcome{verdict: Unknown, reason: fmt.Sprintf("%s; but whoever knows the neighbour from before they were is translated, and may get through", end.reason)}
	}
	return end
}

// behind finds the port that leads to an address, or the bridge itself, for what has come in
// by a port (nil: from the bridge).
func (k *walker) behind(s *Space, bridge, port *Link, p *Packet, next netip.Addr) (*Link, *outcome) {
	if port != nil && s.takes(bridge, p, next) {
		return bridge, nil
	}
	var beyond []*Link
	for i := range s.Links {
		q := &s.Links[i]
		if q.Master != bridge.Index || !q.Up || q.Blocked || q == port && !q.Hairpin {
			continue
		}
		other, peer := k.w.peer(s, q)
		switch {
		case peer == nil:
			beyond = append(beyond, q)
			continue
		case !k.found(other, peer, p, next, nil):
			continue
		case port != nil && port.Isolated && q.Isolated:
			reason := fmt.Sprintf("bridge %s keeps its ports %s and %s apart: both are isolated", bridge.Name, port.Name, q.Name)
			k.step(s, AtBridge, reason)
			return nil, &outcome{verdict: Dropped, reason: reason}
		}
		return q, nil
	}
	switch len(beyond) {
	case 0:
		end := k.unreached(s, bridge, p, next)
		return nil, &end
	case 1:
		return beyond[0], nil
	}
	return nil, &outcome{verdict: Unknown, reason: fmt.Sprintf("behind which port of bridge %s the address %s is can't be told", bridge.Name, next)}
}

// filtersBridged reports whether what crosses bridges passes iptables too (br_netfilter).
func (s *Space) filtersBridged(p *Packet) bool {
	if p.six() {
		return s.on("bridge/bridge-nf-call-ip6tables")
	}
	return s.on("bridge/bridge-nf-call-iptables")
}

// prebridged has a frame that comes into a bridge pass PREROUTING, where br_netfilter has
// it so. A packet that is translated there is routed, unless it stays on the bridge.
func (k *walker) prebridged(s *Space, bridge *Link, p *Packet, next *netip.Addr) *outcome {
	p.in, p.out = bridge.Name, ""
	k.track(s, p)
	dst := p.Dst
	if end := k.hook(s, "PREROUTING", p); end != nil || p.Dst == dst {
		return end
	}
	r, end := k.route(s, p, bridge.Name, "")
	if end == nil && r.Kind == Unicast && r.Link == bridge.Index && !r.Via.IsValid() && k.forwards(s, bridge, p) && k.martian(s, bridge, p, r) == "" {
		*next = p.Dst
		return nil
	}
	o := k.routed(s, bridge, *p)
	return &o
}

// postbridged has a frame that crosses a bridge pass FORWARD and POSTROUTING.
func (k *walker) postbridged(s *Space, bridge *Link, p *Packet) *outcome {
	p.in, p.out, p.crossing = bridge.Name, bridge.Name, true
	if end := k.hook(s, "FORWARD", p); end != nil {
		return end
	}
	p.in = ""
	if end := k.hook(s, "POSTROUTING", p); end != nil {
		return end
	}
	p.crossing = false
	p.confirm()
	return nil
}

// found reports whether an address is to be found behind a link that a frame comes in by.
func (k *walker) found(s *Space, l *Link, p *Packet, next netip.Addr, seen []*Link) bool {
	if !l.Up || slices.Contains(seen, l) {
		return false
	}
	if l.Master == 0 {
		return s.takes(l, p, next)
	}
	bridge := s.link(l.Master)
	if bridge == nil || !bridge.Up || bridge.Kind != "bridge" {
		return false
	}
	if s.takes(bridge, p, next) {
		return true
	}
	seen = append(seen, l)
	for i := range s.Links {
		q := &s.Links[i]
		if q.Master != bridge.Index || q == l && !q.Hairpin {
			continue
		}
		if other, peer := k.w.peer(s, q); peer != nil && k.found(other, peer, p, next, append(seen, q)) {
			return true
		}
	}
	return false
}
