package dockerproxy

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// port is one port of a container.
type port struct {
	number uint16
	proto  string
}

// String is the port as the engine writes it: 80/tcp.
func (p port) String() string { return strconv.Itoa(int(p.number)) + "/" + p.proto }

// parsePort reads what String writes; without a protocol it is tcp's.
func parsePort(s string) (port, bool) {
	number, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	return port{uint16(n), strings.ToLower(proto)}, err == nil
}

// shown are a container's ports with the places where each is published, in the engine's
// order; none: it is only exposed.
type shown map[port][]netip.AddrPort

// portsOf is what the engine would show of a container with these endpoints of mybr's.
func (a *answer) portsOf(s *spec, endpoints []string, known map[string]Endpoint) shown {
	ports := shown{}
	if s == nil {
		s = &spec{}
	}
	for name := range s.Config.ExposedPorts {
		ports.expose(name)
	}
	for name := range s.HostConfig.PortBindings {
		ports.expose(name)
	}
	slices.Sort(endpoints) // Networks has no order; a port is published by one endpoint only
	for _, id := range endpoints {
		for _, b := range known[id].Ports {
			ports.add(b)
		}
	}
	for name, asked := range s.HostConfig.PortBindings {
		if p, ok := parsePort(name); ok {
			ports[p] = inOrder(ports[p], requests(asked, p.proto, a.sorted))
		}
	}
	return ports
}

func (s shown) expose(name string) {
	if p, ok := parsePort(name); ok {
		s.publish(p)
	}
}

// publish adds places where a port is published; none: it is exposed.
func (s shown) publish(p port, at ...netip.AddrPort) {
	places := s[p]
	for _, place := range at {
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	slices.SortFunc(places, byNumber)
	s[p] = places
}

// byNumber is the order of ports that were chosen for one request: both families of a
// number, IPv4 first.
func byNumber(a, b netip.AddrPort) int {
	return cmp.Or(cmp.Compare(a.Port(), b.Port()), a.Addr().Compare(b.Addr()))
}

// add adds the ports of a binding. The engine shows those that are reached at the
// container's own address without a port of the host.
func (s shown) add(b Binding) {
	for i := range b.Count {
		at := netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+i)
		switch {
		case b.Host.IsValid():
		case b.Container.Addr().Is4():
			at = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		default:
			at = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		}
		s.publish(port{b.Container.Port() + i, b.Proto}, at)
	}
}

// request is one published port as it was asked for.
type request struct {
	host        netip.Addr // zero: not named
	first, last uint16     // 0: any
	at          []netip.AddrPort
}

// requests are what was asked for of one port, in the order in which the engine publishes
// it. Engines up to 26 compare the requests in a way that puts those of one TCP port in the
// reverse order, and those of other protocols with the highest number first
// (nat.SortPortMap in Docker's go-connections). With several ports, some by TCP, that order
// also hangs on a map's, and is a matter of chance.
func requests(asked []wanted, proto string, sorted bool) (list []*request) {
	for _, w := range asked {
		if r, ok := w.parse(); ok {
			list = append(list, r)
		}
	}
	switch {
	case sorted:
		slices.SortStableFunc(list, (*request).compare)
	case proto == "tcp":
		slices.Reverse(list)
	default:
		slices.SortStableFunc(list, func(a, b *request) int { return cmp.Compare(b.first, a.first) })
	}
	return list
}

// inOrder gives the places of one port in the order of the requests. What was asked for
// with fewer numbers and addresses to choose from is found first.
func inOrder(places []netip.AddrPort, requests []*request) []netip.AddrPort {
	left := slices.Clone(places)
	narrow := slices.Clone(requests)
	slices.SortStableFunc(narrow, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.leeway(), b.leeway()), -a.host.Compare(b.host))
	})
	for _, r := range narrow {
		left = r.take(left)
	}
	out := make([]netip.AddrPort, 0, len(places))
	for _, r := range requests {
		out = append(out, r.at...)
	}
	return append(out, left...)
}

func (w wanted) parse() (*request, bool) {
	r := &request{}
	if w.HostIP != "" {
		a, err := netip.ParseAddr(w.HostIP)
		if err != nil {
			return nil, false
		}
		r.host = a.Unmap()
	}
	if w.HostPort == "" {
		return r, true
	}
	from, to, isRange := strings.Cut(w.HostPort, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	last, errLast := strconv.ParseUint(to, 10, 16)
	r.first, r.last = uint16(first), uint16(last)
	return r, err == nil && errLast == nil
}

// leeway is how many numbers beside one could be chosen.
func (r *request) leeway() int {
	if r.first == 0 {
		return 1 << 16
	}
	return int(r.last) - int(r.first)
}

// take moves the places of a request from those that are left: one number, on one address
// or, where none was named, on one of each family.
func (r *request) take(left []netip.AddrPort) []netip.AddrPort {
	i := slices.IndexFunc(left, r.fits)
	if i < 0 {
		return left
	}
	number := left[i].Port()
	return slices.DeleteFunc(left, func(at netip.AddrPort) bool {
		mine := at.Port() == number && r.fits(at) && !slices.ContainsFunc(r.at, func(have netip.AddrPort) bool {
			return have.Addr().Is4() == at.Addr().Is4()
		})
		if mine {
			r.at = append(r.at, at)
		}
		return mine
	})
}

func (r *request) fits(at netip.AddrPort) bool {
	if r.host.IsValid() && at.Port() != 0 && at.Addr() != r.host {
		return false
	}
	return r.first == 0 || at.Port() == 0 || r.first <= at.Port() && at.Port() <= r.last
}

// compare is the order in which engines from 27.0 on publish the ports of a container:
// those with one number, then the others, by number and address.
func (r *request) compare(o *request) int {
	choice := func(r *request) int { return min(r.leeway(), 1) }
	return cmp.Or(
		cmp.Compare(choice(r), choice(o)),
		cmp.Compare(r.first, o.first),
		cmp.Compare(r.last, o.last),
		r.host.Compare(o.host),
	)
}

// listedPort is a port as lists have it.
type listedPort struct {
	IP          string `json:",omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

// listPorts adds ports to those that the engine lists: a JSON array, or null. Those that
// other drivers have published stay.
func listPorts(have []byte, ports shown) ([]byte, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(have, &all); err != nil {
		return nil, err
	}
	kept := []json.RawMessage{} // never null
	published := map[port]bool{}
	for _, text := range all {
		var p listedPort
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, err
		}
		key := port{p.PrivatePort, p.Type}
		places, ours := ports[key]
		if ours && (p.IP == "" || slices.ContainsFunc(places, p.is)) {
			continue // it comes below
		}
		kept = append(kept, text)
		published[key] = true
	}
	for _, key := range ports.sorted() {
		var lines []listedPort
		for _, at := range ports[key] {
			lines = append(lines, listedPort{at.Addr().String(), key.number, at.Port(), key.proto})
		}
		if len(lines) == 0 && !published[key] {
			lines = []listedPort{{PrivatePort: key.number, Type: key.proto}}
		}
		for _, line := range lines {
			text, err := json.Marshal(line)
			if err != nil {
				return nil, err
			}
			kept = append(kept, text)
		}
	}
	return json.Marshal(kept)
}

// is reports whether the port is published at a place.
func (p listedPort) is(at netip.AddrPort) bool {
	return p.IP == at.Addr().String() && p.PublicPort == at.Port()
}

// sorted are the ports by number and protocol.
func (s shown) sorted() []port {
	return slices.SortedFunc(maps.Keys(s), func(a, b port) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.proto, b.proto))
	})
}

// binding is a published port as the inspection of a container has it.
type binding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// inspectPorts adds ports to those that the engine shows: a JSON object, or null.
func inspectPorts(have []byte, ports shown) ([]byte, error) {
	var all map[string][]json.RawMessage
	if err := json.Unmarshal(have, &all); err != nil {
		return nil, err
	}
	if all == nil {
		all = map[string][]json.RawMessage{}
	}
	for key, places := range ports {
		bindings := all[key.String()]
		for _, at := range places {
			one := binding{HostIP: at.Addr().String()}
			if at.Port() != 0 {
				one.HostPort = strconv.Itoa(int(at.Port()))
			}
			text, err := json.Marshal(one)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(bindings, func(b json.RawMessage) bool { return string(b) == string(text) }) {
				bindings = append(bindings, text)
			}
		}
		all[key.String()] = bindings
	}
	return json.Marshal(all)
}
