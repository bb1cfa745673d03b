package view

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mybr/mybr/internal/model"
)

// Facts is what a view needs beside the records of networks and endpoints.
type Facts struct {
	Taken   time.Time
	Pools   []Pool
	Traffic map[model.PortBinding]Traffic // what has been counted
	Unknown string                        // why some of this could not be read
	// PublishByHost says that the host's firewall decides who reaches published ports, on networks that
	// don't say it themselves.
	PublishByHost bool
}

// Of is the view of what is recorded. It is pure. An endpoint whose network has no record is
// left out: nothing of it is on the host.
func Of(s model.Snapshot, f Facts) View {
	v := View{
		Version: Version, Taken: f.Taken, Unknown: f.Unknown,
		Networks: []Network{}, Endpoints: []Endpoint{}, Ports: []Port{}, Pools: []Pool{}, // never null in JSON
	}
	networks := make(map[string]model.Network, len(s.Networks))
	counts := make(map[string]int, len(s.Networks))
	for _, n := range s.Networks {
		networks[n.ID] = n
	}
	for _, e := range s.Endpoints {
		n, ok := networks[e.NetworkID]
		if !ok {
			continue
		}
		counts[n.ID]++
		v.Endpoints = append(v.Endpoints, endpoint(n, *e))
		v.Ports = append(v.Ports, ports(n, *e, f)...)
	}
	for _, n := range s.Networks {
		v.Networks = append(v.Networks, network(n, counts[n.ID]))
	}
	v.Pools = append(v.Pools, f.Pools...)
	v.Lists = lists(s)
	slices.SortFunc(v.Networks, func(a, b Network) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(v.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(v.Ports, comparePorts)
	slices.SortFunc(v.Pools, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return v
}

func network(n model.Network, endpoints int) Network {
	v := Network{
		ID: n.ID, Bridge: n.Bridge, Owned: n.Owned, MTU: n.MTU, Internal: n.Internal, ICC: n.ICCInForce() != model.ICCNone,
		HostBinding: n.HostBinding, Trusted: slices.Clone(n.Trusted), Subnets: []Subnet{}, Endpoints: endpoints,
		Settings: slices.Concat(settings(n.From, n.FromSet), textSetting(policyName, n.Policy, n.PolicySet), textSetting(EgressName, n.Egress, n.EgressSet), textSetting(modeName, n.EgressMode, n.EgressModeSet),
			textSetting(iccName, n.ICCList, n.ICCSet), spoofSettings(n.Spoof, n.SpoofSet)),
	}
	if n.ICCListed() {
		v.ICCList = n.ICCInForce()
	}
	for _, r := range n.Routes {
		text := r.Destination.String()
		if r.NextHop.IsValid() {
			text += " via " + r.NextHop.String()
		}
		v.Routes = append(v.Routes, text)
	}
	for _, f := range model.Families() {
		if s := *n.Subnet(f); s.Prefix.IsValid() {
			v.Subnets = append(v.Subnets, Subnet{
				Family: strings.ToLower(f.String()), Prefix: s.Prefix, Gateway: s.Gateway, Address: s.Address,
				Mode: mode(s.Mode), Masquerade: s.Masquerade, SNAT: s.SNAT,
			})
		}
	}
	return v
}

// mode is the word that `docker network create` takes for it.
func mode(m model.Mode) string {
	if m == model.ModeNAT {
		return "nat"
	}
	return string(m)
}

func endpoint(n model.Network, e model.Endpoint) Endpoint {
	v := Endpoint{
		ID: e.ID, Network: n.ID, Bridge: n.Bridge, Veth: e.HostIface(), MAC: e.MAC.String(),
		IPv4: e.V4, IPv6: e.V6, Sandbox: e.Sandbox,
		Settings: slices.Concat(settings(e.From, e.FromSet), textSetting(policyName, e.Policy, e.PolicySet), textSetting(EgressName, e.Egress, e.EgressSet), textSetting(modeName, e.EgressMode, e.EgressModeSet),
			textSetting(groupName, e.Group, e.GroupSet), spoofSettings(e.Spoof, e.SpoofSet)),
	}
	for _, b := range e.Removed {
		v.Removed = append(v.Removed, b.String())
	}
	return v
}

// ports lists what an endpoint has published at the host, and what can be reached at its own
// address because its network is routed.
func ports(n model.Network, e model.Endpoint, facts Facts) (all []Port) {
	of := func(proto model.Proto, container netip.AddrPort, count uint16) Port {
		return Port{Proto: proto.String(), Container: container, Count: count, Network: n.ID, Bridge: n.Bridge, Endpoint: e.ID}
	}
	added := model.Ports(e.Added...)
	for _, b := range e.Ports {
		p := of(b.Proto, b.Container, b.Count)
		p.Host, p.Carried = b.Host, ByProcess
		switch {
		case n.ByHost(e, facts.PublishByHost):
			p.Policy = model.PublishHost
			if !b.Proto.Carried() {
				p.Carried = Closed
			}
		case n.Translates(b):
			p.Carried = ByNAT
		}
		p.admitted(n, e, b.Proto, b.Host.Port())
		p.Added = count(b, added)
		if t, ok := facts.Traffic[b]; ok {
			p.Traffic = &t
		}
		all = append(all, p)
	}
	for _, f := range model.Families() {
		a := e.Address(f).Addr()
		if n.Internal || !a.IsValid() || n.Subnet(f).Mode != model.ModeRouted {
			continue
		}
		for _, s := range *e.Open(f) {
			p := of(s.Proto, netip.AddrPortFrom(a, s.First), s.Count)
			p.Carried = Directly
			p.admitted(n, e, s.Proto, s.First)
			p.Added = count(model.PortBinding{Proto: s.Proto, Container: p.Container, Count: s.Count}, added)
			all = append(all, p)
		}
	}
	return all
}

// count is how many ports of a binding are among some.
func count(b model.PortBinding, among model.PortSet) (n int) {
	if len(among) == 0 {
		return 0
	}
	for one := range b.Ones() {
		if among[one] {
			n++
		}
	}
	return n
}

func comparePorts(a, b Port) int {
	return cmp.Or(a.Host.Addr().Compare(b.Host.Addr()), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Host.Port(), b.Host.Port()),
		a.Container.Compare(b.Container), cmp.Compare(a.Endpoint, b.Endpoint))
}

// Escape applies fn to all texts that others may have chosen. Unknown keeps its lines.
func (v *View) Escape(fn func(string) string) {
	all := func(texts ...*string) {
		for _, t := range texts {
			*t = fn(*t)
		}
	}
	lines := strings.Split(v.Unknown, "\n")
	for i := range lines {
		all(&lines[i])
	}
	v.Unknown = strings.Join(lines, "\n")
	for i := range v.Networks {
		n := &v.Networks[i]
		all(&n.ID, &n.Name, &n.Bridge, &n.ICCList)
		escapeSettings(n.Settings, all)
		for _, list := range [][]string{n.Routes, n.Trusted} {
			for j := range list {
				all(&list[j])
			}
		}
		for j := range n.Subnets {
			all(&n.Subnets[j].Family, &n.Subnets[j].Mode)
		}
	}
	for i := range v.Endpoints {
		e := &v.Endpoints[i]
		all(&e.ID, &e.Container, &e.Network, &e.Bridge, &e.Veth, &e.MAC, &e.Sandbox)
		escapeSettings(e.Settings, all)
		for j := range e.Removed {
			all(&e.Removed[j])
		}
	}
	for i := range v.Ports {
		p := &v.Ports[i]
		all(&p.Proto, &p.Carried, &p.Network, &p.Bridge, &p.Endpoint, &p.Name, &p.From, &p.Interface, &p.Policy)
	}
	for i := range v.Lists {
		all(&v.Lists[i].Name)
		for j := range v.Lists[i].Egress {
			all(&v.Lists[i].Egress[j])
		}
	}
	for i := range v.Pools {
		all(&v.Pools[i].ID, &v.Pools[i].Space)
	}
}

func escapeSettings(settings []Setting, all func(texts ...*string)) {
	for i := range settings {
		s := &settings[i]
		all(&s.Name, &s.Value)
		if s.Given != nil {
			all(s.Given)
		}
	}
}

// Name puts Docker's names in, as far as they are known: those of containers by endpoint ID,
// those of networks by network ID.
func (v *View) Name(containers, networks map[string]string) {
	for i := range v.Networks {
		name(&v.Networks[i].Name, networks, v.Networks[i].ID)
	}
	for i := range v.Endpoints {
		name(&v.Endpoints[i].Container, containers, v.Endpoints[i].ID)
	}
	for i := range v.Ports {
		name(&v.Ports[i].Name, containers, v.Ports[i].Endpoint)
	}
}

func name(to *string, names map[string]string, id string) {
	if name, ok := names[id]; ok {
		*to = name
	}
}
