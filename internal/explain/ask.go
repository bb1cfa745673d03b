package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mybr/mybr/internal/view"
)

// Words for places that are no names of containers or networks.
const (
	HostWord = "host" // the host itself
	LANWord  = "lan"  // somebody beyond its uplink
)

// SpaceName is what a World calls the namespace of an endpoint. That of a container which is
// called as the host is here has another name.
func SpaceName(e view.Endpoint) string {
	if e.Container == HostWord {
		return "container " + HostWord
	}
	return cmp.Or(e.Container, fmt.Sprintf("endpoint %.12s", e.ID))
}

// Asked is a question in an operator's words: two places, and what is sent.
type Asked struct {
	Src, Dst string // the places
	Proto    string
	Port     uint16
	Six      bool // by IPv6, where there is a choice
}

// ParseTarget reads DST[:PORT][/PROTO]. Without a protocol it is tcp, and without a port
// too an echo request.
func ParseTarget(text string) (dst, proto string, port uint16, err error) {
	dst, proto, given := strings.Cut(text, "/")
	if given && !slices.Contains([]string{TCP, UDP, SCTP, ICMP}, proto) {
		return "", "", 0, fmt.Errorf("protocol %q of %q: want tcp, udp, sctp or icmp", proto, text)
	}
	number, numbered := "", false
	switch inside, rest, closed := strings.Cut(strings.TrimPrefix(dst, "["), "]"); {
	case strings.HasPrefix(dst, "["):
		if number, numbered = strings.CutPrefix(rest, ":"); !closed || rest != "" && !numbered {
			return "", "", 0, fmt.Errorf("destination %q: want [ADDRESS] or [ADDRESS]:PORT", text)
		}
		dst = inside
	case strings.Count(dst, ":") == 1:
		dst, number, numbered = strings.Cut(dst, ":")
	}
	if numbered {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return "", "", 0, fmt.Errorf("port %q of %q: want a number from 1 to 65535", number, text)
		}
		port = uint16(n)
	}
	switch {
	case dst == "":
		return "", "", 0, fmt.Errorf("destination %q: want a place", text)
	case proto == "" && port == 0:
		proto = ICMP
	case proto == "":
		proto = TCP
	case proto == ICMP && port != 0:
		return "", "", 0, fmt.Errorf("port %d of %q: icmp has no ports", port, text)
	case proto != ICMP && port == 0:
		return "", "", 0, fmt.Errorf("destination %q: %s needs a port", text, proto)
	}
	return dst, proto, port, nil
}

// party is one end of a question.
type party struct {
	endpoints []view.Endpoint // of one sandbox; none: it is not a container
	space     string          // the namespace, if it is known; "": it isn't, or it is beyond
	host      bool
	lan       bool
	addr      netip.Addr // as it was given; zero: it was not
}

// Query turns a question into what is to be predicted.
func (a Asked) Query(w *World, v view.View) (q Query, err error) {
	src, err := find(w, v, a.Src)
	if err != nil {
		return q, fmt.Errorf("source %q: %w", a.Src, err)
	}
	dst, err := find(w, v, a.Dst)
	if err != nil {
		return q, fmt.Errorf("destination %q: %w", a.Dst, err)
	}
	six := a.Six
	for _, p := range []party{src, dst} {
		if p.addr.IsValid() {
			six = p.addr.Is6()
		}
	}
	q = Query{Proto: a.Proto, Dport: a.Port, Src: src.addr}
	if q.Dst, q.Notes, err = dst.address(w, v, src, six); err != nil {
		return q, fmt.Errorf("destination %q: %w", a.Dst, err)
	}
	for i, note := range q.Notes {
		q.Notes[i] = a.Dst + ": " + note
	}
	six = q.Dst.Is6()
	switch {
	case src.space != "":
		q.From = src.space
	case len(src.endpoints) > 0:
		return q, fmt.Errorf("source %q: no container has joined its endpoint, or its namespace can't be found", a.Src)
	default:
		if !q.Src.IsValid() {
			if q.Src, err = w.neighbour(six); err != nil {
				return q, fmt.Errorf("source %q: %w", a.Src, err)
			}
		}
		if l, _ := w.way(six); src.addr != q.Src && l != nil {
			q.In = l.Name
		} else if q.In, err = w.uplink(q.Src); err != nil {
			return q, fmt.Errorf("source %q: %w", a.Src, err)
		}
	}
	if q.Src.IsValid() && q.Src.Is6() != q.Dst.Is6() {
		return q, fmt.Errorf("source %q and destination %q: they are of two address families", a.Src, a.Dst)
	}
	return q, nil
}

// find resolves the name of a place.
func find(w *World, v view.View, text string) (p party, err error) {
	host := w.Spaces[0]
	switch text {
	case HostWord:
		return party{host: true, space: host.Name}, nil
	case LANWord:
		return party{lan: true}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return w.at(v, a.Unmap()), nil
	}
	if p.endpoints = sandbox(v, func(e view.Endpoint) bool { return e.Container == text }); len(p.endpoints) == 0 {
		if p.endpoints, err = byID(v, text); err != nil {
			return p, err
		}
	}
	if len(p.endpoints) > 0 {
		p.space = w.spaceOf(p.endpoints)
		return p, nil
	}
	if s := w.space(text); s != nil {
		return party{addr: first(s), space: s.Name}, nil
	}
	return p, errors.New("no container, network or address is called so; host and lan are words for the host and for what is beyond it")
}

// at is the place that has an address: an endpoint, the host, another namespace, or else
// somebody beyond.
func (w *World) at(v view.View, a netip.Addr) party {
	p := party{addr: a}
	host := w.Spaces[0]
	if a.IsLoopback() || host.owner(a) != nil {
		p.host, p.space = true, host.Name
		return p
	}
	p.endpoints = sandbox(v, func(e view.Endpoint) bool { return e.IPv4.Addr() == a || e.IPv6.Addr() == a })
	if len(p.endpoints) > 0 {
		p.space = w.spaceOf(p.endpoints)
		return p
	}
	for _, s := range w.Spaces[1:] {
		if s.owner(a) != nil {
			p.space = s.Name
			break
		}
	}
	p.lan = p.space == ""
	return p
}

// spaceOf is the name of the namespace that endpoints of one sandbox are in, "" if it isn't
// known. Where Docker has not told what the container is called, it has that of one of them.
func (w *World) spaceOf(endpoints []view.Endpoint) string {
	for _, e := range endpoints {
		if s := w.space(SpaceName(e)); s != nil {
			return s.Name
		}
	}
	return ""
}

// byID finds the containers of a network, or the one of an endpoint, by name, bridge, or the
// beginning of an ID.
func byID(v view.View, text string) ([]view.Endpoint, error) {
	const shortest = 4 // characters of an ID
	abbreviated := func(id string) bool { return len(text) >= shortest && strings.HasPrefix(id, text) }
	var networks []view.Network
	var ids []string
	exact := slices.IndexFunc(v.Networks, func(n view.Network) bool { return n.Name == text || n.Bridge == text || n.ID == text })
	if exact >= 0 {
		networks = v.Networks[exact : exact+1]
	} else {
		for _, n := range v.Networks {
			if abbreviated(n.ID) {
				networks = append(networks, n)
			}
		}
		for _, e := range v.Endpoints {
			if abbreviated(e.ID) {
				ids = append(ids, e.ID)
			}
		}
	}
	switch {
	case len(networks)+len(ids) > 1:
		return nil, errors.New("several IDs begin so")
	case len(ids) == 1:
		return sandbox(v, func(e view.Endpoint) bool { return e.ID == ids[0] }), nil
	case len(networks) == 0:
		return nil, nil
	}
	all := sandbox(v, func(e view.Endpoint) bool { return e.Network == networks[0].ID && e.Sandbox != "" })
	if len(all) == 0 {
		return nil, errors.New("no container is on the network")
	}
	return all, nil
}

// first is an address of a namespace that is not one of mybr's endpoints.
func first(s *Space) netip.Addr {
	for i := range s.Links {
		if a := primary(&s.Links[i], false); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// sandbox lists the first endpoint of which something is true, and the others of its
// sandbox.
func sandbox(v view.View, is func(view.Endpoint) bool) (all []view.Endpoint) {
	i := slices.IndexFunc(v.Endpoints, is)
	if i < 0 {
		return nil
	}
	all = append(all, v.Endpoints[i])
	for j, e := range v.Endpoints {
		if j != i && e.Sandbox != "" && e.Sandbox == all[0].Sandbox {
			all = append(all, e)
		}
	}
	return all
}
