package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// track finds what connection tracking knows of a packet's flow in a namespace. Of a new
// flow it remembers it from now on.
func (k *walker) track(s *Space, p *Packet) {
	p.conn = nil
	from := p.Src
	if p.kind == fault {
		from = p.inner
	}
	for _, c := range k.conns {
		if c.space != s {
			continue
		}
		if p.Reply {
			if (c.confirmed || p.kind != "") && (c.toDst == from && c.toDport == p.Sport && c.toSrc == p.Dst && c.toSport == p.Dport ||
				c.dst == from && c.dport == p.Sport && c.src == p.Dst && c.sport == p.Dport) {
				p.conn = c
			}
		} else if c.toDst == p.Dst && c.toDport == p.Dport && c.toSrc == p.Src && c.toSport == p.Sport ||
			p.kind == third && c.dst == p.Dst && c.dport == p.Dport && c.src == p.Src && c.sport == p.Sport {
			p.conn = c
		}
	}
	if p.conn == nil && !p.Reply {
		p.conn = &conn{space: s, src: p.Src, dst: p.Dst, sport: p.Sport, dport: p.Dport,
			toSrc: p.Src, toDst: p.Dst, toSport: p.Sport, toDport: p.Dport}
		k.conns = append(k.conns, p.conn)
	}
}

// nat translates: by the rules what begins a connection, and as it was done then the rest.
func (k *walker) nat(s *Space, hook string, p *Packet) *outcome {
	dst := hook == "PREROUTING" || hook == "OUTPUT"
	if p.conn == nil {
		return nil
	}
	if p.kind == third {
		if c := p.conn; dst {
			p.Dst, p.Dport = c.toDst, c.toDport
		} else {
			p.Src, p.Sport = c.toSrc, c.toSport
		}
		return nil
	}
	if p.Reply {
		before := p.String()
		switch c := p.conn; {
		case dst:
			p.Dst, p.Dport = c.src, c.sport
		case p.kind == fault:
			if p.inner, p.Sport = c.dst, c.dport; c.dnat {
				p.Src = c.dst
			}
		default:
			p.Src, p.Sport = c.dst, c.dport
		}
		k.translated(s, "the translation is undone", before, p, nil)
		return nil
	}
	done := &p.conn.srcDone
	if dst {
		done = &p.conn.dstDone
	}
	if *done {
		return nil
	}
	*done = true
	for _, pass := range s.translating(hook) {
		if end := pass(k, p); end != nil {
			return end
		}
		if p.conn.dstSet && dst || p.conn.srcSet && !dst {
			return nil // whoever translates first is the only one
		}
	}
	return nil
}

// chain has a packet pass one table of one variant.
func (k *walker) chain(s *Space, f *Filter, table, hook string, p *Packet) *outcome {
	if f.Six != p.six() {
		return nil
	}
	i := slices.IndexFunc(f.Tables, func(t Table) bool { return t.Name == table })
	if i < 0 {
		return nil
	}
	v := k.w.table(s, f, &f.Tables[i], hook, *p)
	return k.judged(s, hook, table == "nat", fmt.Sprintf("(%s -t %s)", f.Command, table), p, v)
}

// confirm says that a flow is known from now on: it has passed the last hook.
func (p *Packet) confirm() {
	if p.conn != nil {
		p.conn.confirmed = true
	}
}

// translated is a step, if the packet is not what it was.
func (k *walker) translated(s *Space, what, before string, p *Packet, r *RuleAt) {
	if after := p.String(); after != before {
		k.step(s, AtNAT, fmt.Sprintf("%s: %s becomes %s", what, before, after))
		last := &k.steps[len(k.steps)-1]
		last.Before, last.After, last.Rule = before, after, r
	}
}

// socket finds who takes a packet: the one that is bound closest.
func (s *Space) socket(l *Link, p *Packet) (best *Socket) {
	score := -1
	for i := range s.Sockets {
		c := &s.Sockets[i]
		if c.Proto != p.Proto || c.Port != p.Dport || c.Link != 0 && c.Link != l.Index {
			continue
		}
		n := 0
		switch a := c.Addr.Unmap().WithZone(""); {
		case a == p.Dst.WithZone(""):
			n = 4
		case !c.Addr.IsUnspecified():
			continue
		case c.Addr.Is6() != p.Dst.Is6():
			if c.V6Only || c.Addr.Is4() {
				continue
			}
		default:
			n = 2
		}
		if c.Link != 0 {
			n++
		}
		if n > score {
			best, score = c, n
		}
	}
	return best
}

// relay finds where a process carries on what it takes at a socket of the host.
//
// One socket may hold a port of both families, and then each leads to where its own does.
func (w *World) relay(s *Space, c *Socket, p *Packet) *Relay {
	if s != w.Spaces[0] {
		return nil
	}
	at := []netip.Addr{c.Addr.WithZone("")}
	if !p.six() && c.Addr == netip.IPv6Unspecified() {
		at = append([]netip.Addr{netip.IPv4Unspecified()}, at...)
	}
	for _, a := range at {
		for i := range w.Relays {
			r := &w.Relays[i]
			if r.Proto == c.Proto && r.Listen.Port() == c.Port && r.Listen.Addr().WithZone("") == a {
				return r
			}
		}
	}
	return nil
}

// relay follows what a process carries on: a flow of its own from the host to the container.
func (k *walker) relay(s *Space, l *Link, p Packet, at string, r *Relay) outcome {
	if slices.Contains(r.Blocked, l.Name) {
		return dead("%s, which holds %s, takes nothing from %s", r.Process, at, l.Name)
	}
	inside := p.Src.IsLoopback() || s.owner(p.Src) != nil || l.Name == r.Network
	switch {
	case r.Via == "" || inside:
	case r.Via == view.ByPort:
		return outcome{verdict: Unknown, reason: fmt.Sprintf("%s holds %s, of which some ports are reached by other interfaces than others", r.Process, at), space: s, packet: p}
	case !slices.Contains(strings.Split(r.Via, ","), l.Name):
		return dead("%s, which holds %s, takes nothing from outside that comes by %s, only by %s (mybr.publish.interface)", r.Process, at, l.Name, r.Via)
	}
	switch {
	case r.From == "" || inside:
	case r.From == view.ByPort:
		return outcome{verdict: Unknown, reason: fmt.Sprintf("%s holds %s, of which some ports have other clients than others", r.Process, at), space: s, packet: p}
	case !among(r.Clients, p.Src):
		return dead("%s, which holds %s, takes nothing from %s, only from %s (mybr.publish.from)", r.Process, at, p.Src, r.From)
	}
	k.step(s, AtSocket, fmt.Sprintf("%s holds %s, and carries it on to %s", r.Process, at, r.To))
	if k.relays >= mostRelays {
		return dead("processes lead it round in a circle")
	}
	leg := predict(k.w, Query{From: s.Name, Dst: r.To.Addr(), Proto: p.Proto, Dport: r.To.Port()}, k.relays+1)
	k.steps = append(k.steps, leg.Steps...)
	o := outcome{verdict: leg.Verdict, reason: leg.Reason, rule: leg.Rule, mend: leg.Mend, space: s, packet: p, relay: r,
		client: leg.Client, server: leg.Server, to: leg.To}
	if leg.Verdict != Delivered {
		o.reason = r.Process + " can't carry it on: " + leg.Reason
	}
	return o
}
