package driver

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/model"
)

// portEntry is one element of optPortMap, one for each port of the container.
type portEntry struct {
	Proto       uint8  // IP protocol number
	Port        uint16 // the container's
	HostIP      string // "": the network's default
	HostPort    uint16 // the first to choose from; 0: any
	HostPortEnd uint16 // the last; 0: only HostPort
}

// maxEntries is how many ports a container has: 65535 of each protocol.
const maxEntries = 3 * 65535

// parsePortMap reads optPortMap; absent means that nothing is published.
func parsePortMap(opts map[string]any) ([]portEntry, error) {
	v := opts[optPortMap]
	if v == nil {
		return nil, nil
	}
	text, written := v.(json.RawMessage)
	if !written {
		var err error
		if text, err = json.Marshal(v); err != nil {
			return nil, model.Invalid("option %s: %w", optPortMap, err)
		}
	}
	entries, ok := scanEntries(text)
	if !ok {
		var err error
		if entries, err = readEntries(text); err != nil {
			return nil, err
		}
	}
	if len(entries) > maxEntries {
		return nil, model.Invalid("option %s: there are %d ports: a container has %d at most", optPortMap, len(entries), maxEntries)
	}
	for _, entry := range entries {
		if err := entry.check(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// readEntries reads the text of optPortMap, whatever it is.
func readEntries(text []byte) (entries []portEntry, err error) {
	err = json.Unmarshal(text, &entries)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return nil, model.Invalid("option %s: have %s, want an array of objects", optPortMap, wrong.Value)
	} else if errors.As(err, &wrong) {
		return nil, model.Invalid("option %s: %s: have %s, want %s", optPortMap, wrong.Field, wrong.Value, describe(wrong.Type.String()))
	} else if err != nil {
		return nil, model.Invalid("option %s: %w", optPortMap, err)
	}
	return entries, nil
}

// check refuses what no network could publish.
func (p portEntry) check() error {
	switch proto := model.Proto(p.Proto); {
	case proto != model.TCP && proto != model.UDP && proto != model.SCTP:
		return model.Invalid("%s has no ports that can be published: tcp, udp and sctp have", proto)
	case p.Port == 0:
		return model.Invalid("the container's port is 0")
	case p.HostPortEnd != 0 && (p.HostPort == 0 || p.HostPort > p.HostPortEnd):
		return model.Invalid("%d-%d is not a range of host ports", p.HostPort, p.HostPortEnd)
	}
	_, err := p.host()
	return err
}

// host is the address of the host that was asked for, zero if none was.
func (p portEntry) host() (netip.Addr, error) {
	if p.HostIP == "" {
		return netip.Addr{}, nil
	}
	a, err := parseHostIP(p.HostIP)
	if err != nil {
		return a, model.Invalid("host address: %s %w", quoted(p.HostIP), err)
	}
	return a, nil
}

// hostOn is the address of the host that the port is published at: the one that was asked
// for, or else the network's default; zero: all addresses, of both families. 0.0.0.0 as a
// default means that as well, for it is Docker's own default; as the address of a published
// port it stands for all of IPv4 alone (docs.docker.com, "Port publishing and mapping").
func (p portEntry) hostOn(n model.Network) (netip.Addr, error) {
	a, err := p.host()
	if err == nil && !a.IsValid() && n.HostBinding != netip.IPv4Unspecified() {
		a = n.HostBinding
	}
	return a, err
}

// describe says in words what a field of portEntry takes.
func describe(goType string) string {
	switch goType {
	case "uint8":
		return "a number from 0 to 255"
	case "uint16":
		return "a number from 0 to 65535"
	}
	return "a " + goType
}

// opened are the container's ports of the entries, each once, in the fewest spans.
func opened(entries []portEntry) (spans []model.PortSpan) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b portEntry) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
	})
	for _, entry := range entries {
		one := model.PortSpan{Proto: model.Proto(entry.Proto), First: entry.Port, Count: 1}
		if n := len(spans); n > 0 && spans[n-1].Proto == one.Proto {
			last := &spans[n-1]
			switch end := int(last.First) + int(last.Count); {
			case int(one.First) < end:
				continue
			case int(one.First) == end:
				last.Count++
				continue
			}
		}
		spans = append(spans, one)
	}
	return spans
}

// parsePorts turns Docker's entries, which come in any order, into requests for the
// ports of endpoint e, sorted.
func parsePorts(entries []portEntry, n model.Network, e model.Endpoint, relay bool) ([]model.PortRequest, error) {
	var reqs []model.PortRequest
	for _, entry := range entries {
		req, err := parsePort(entry, n, e, relay)
		if err != nil {
			return nil, err
		}
		if req.V4.Wanted() || req.V6.Wanted() {
			reqs = append(reqs, req)
		}
	}
	slices.SortFunc(reqs, compareRequests)
	return reqs, nil
}

// parsePort turns one entry into a request. Ports lead from each family of the host to
// the container's address of the same family; where the container has none, to that of the
// other family, by the process as a relay. relay says whether that is wanted for addresses
// of the host that the user has not named, and for those of IPv6. A family that is routed
// needs no host port, and no port of the other family is relayed to it.
func parsePort(entry portEntry, n model.Network, e model.Endpoint, relay bool) (r model.PortRequest, err error) {
	r = model.PortRequest{Proto: model.Proto(entry.Proto), First: entry.HostPort, Last: max(entry.HostPort, entry.HostPortEnd)}
	host, err := entry.hostOn(n)
	if err != nil {
		return r, err
	}
	for _, f := range model.Families() {
		if host.IsValid() && !f.Has(host) {
			continue
		}
		target := model.Target{Host: host, Container: containerPort(f, n, e, entry.Port)}
		if !target.Host.IsValid() {
			target.Host = f.Unspecified()
		}
		if sameFamily := f.Has(target.Container.Addr()); !target.Container.IsValid() ||
			!sameFamily && f == model.IPv6 && !relay ||
			!sameFamily && !host.IsValid() && (f == model.IPv4 || r.Proto == model.SCTP) {
			continue
		}
		*r.Target(f) = target
	}
	return r, checkSCTP(r)
}

// containerPort is where a port at the host's addresses of a family leads: to the container's
// address of that family, or else of the other one; zero: nowhere.
func containerPort(f model.Family, n model.Network, e model.Endpoint, port uint16) netip.AddrPort {
	for _, to := range []model.Family{f, f.Other()} {
		a := e.Address(to).Addr()
		switch {
		case !a.IsValid():
			continue
		case n.Subnet(to).Mode == model.ModeRouted:
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(a, port)
	}
	return netip.AddrPort{}
}

// checkSCTP refuses what only the process could relay, which relays TCP and UDP: SCTP
// needs NAT, which works within one family and not from a loopback address.
func checkSCTP(r model.PortRequest) error {
	if r.Proto != model.SCTP {
		return nil
	}
	for _, t := range []model.Target{r.V4, r.V6} {
		if t.Wanted() && (t.Host.IsLoopback() || t.Host.Is4() != t.Container.Addr().Is4()) {
			return model.Invalid("host address: sctp can't be published at %s: it takes NAT, within one address family and not from a loopback address", t.Host)
		}
	}
	return nil
}

// compareRequests orders requests: those for one number first, those for any last.
func compareRequests(a, b model.PortRequest) int {
	return cmp.Or(
		cmp.Compare(leeway(a), leeway(b)),
		cmp.Compare(a.Proto, b.Proto),
		cmp.Compare(a.First, b.First),
		a.V4.Compare(b.V4),
		a.V6.Compare(b.V6),
	)
}

// leeway is how many host ports beside one could be chosen.
func leeway(r model.PortRequest) int {
	if r.First == 0 {
		return 1 << 16
	}
	return int(r.Last) - int(r.First)
}
