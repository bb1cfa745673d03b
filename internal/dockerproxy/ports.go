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
