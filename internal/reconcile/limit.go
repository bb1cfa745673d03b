package reconcile

import (
	"maps"
	"net/netip"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
)

// limited is which kinds of limits a network has, its own or of endpoints.
type limited struct{ clients, interfaces bool }

// with are those kinds, and those of some limits.
func (l limited) with(lists ...[]model.Limit) limited {
	for _, all := range lists {
		for _, one := range all {
			l.clients, l.interfaces = l.clients || !one.ByInterface(), l.interfaces || one.ByInterface()
		}
	}
	return l
}

// limitedNetworks are the networks with limits, given those of Options.networks.
func limitedNetworks(s model.Snapshot, networks map[string]*model.Network, o Options) map[string]limited {
	all := map[string]limited{}
	for _, n := range s.Networks {
		l := all[n.ID].with(n.From, n.FromSet)
		l.clients = l.clients || led(*networks[n.ID], model.Endpoint{}, o)
		all[n.ID] = l
	}
	for _, e := range s.Endpoints {
		l := all[e.NetworkID].with(e.From, e.FromSet)
		if n := networks[e.NetworkID]; n != nil && e.PolicyInForce() != "" {
			l.clients = l.clients || led(*n, *e, o)
		}
		all[e.NetworkID] = l
	}
	return all
}

// led reports whether all that reaches an endpoint's published ports from outside is to come by the
// process, since the host's firewall decides about it (closed).
func led(n model.Network, e model.Endpoint, o Options) bool {
	return n.ByHost(e, o.PublishByHost) && n.TakesPolicy()
}

// closed is who reaches an endpoint's ports past the process where all is to come by it: nobody by
// TCP. When the flows of connections are forgotten that were translated before (carry), the server's
// next packet would begin a flow of its own, which leaves from the same port of the host if the two
// numbers are equal, and the client's packets would be the replies. A server of UDP may ask others
// from its port, so that it is not limited.
func closed(e model.Endpoint, admitted map[model.ContainerPort]model.Admission) map[model.ContainerPort]model.Admission {
	all := make(map[model.ContainerPort]model.Admission, len(admitted))
	maps.Copy(all, admitted)
	for _, b := range e.Ports {
		for i := range b.Count {
			if p := (model.ContainerPort{Proto: b.Proto, At: netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)}); b.Proto == model.TCP {
				who := all[p]
				who.From = model.NewClients(nil)
				all[p] = who
			}
		}
	}
	return all
}

// renderLimits has everybody who could let others in know who reaches an endpoint's ports: the
// packet filter, who looks for flows, and the process, which relays. No flow tells by which
// interface it began: the packet filter compares each packet.
func (h *Host) renderLimits(n model.Network, e model.Endpoint, admitted map[model.ContainerPort]model.Admission, o Options) {
	carried := led(n, e, o)
	if carried {
		admitted = closed(e, admitted)
	}
	for _, l := range limits(n, e, admitted) {
		h.Firewall.Limits = append(h.Firewall.Limits, l)
		f := model.FamilyOf(l.Addr)
		if l.From.All(f) || carried && l.Proto != model.UDP { // then nobody has any (carry), but for what a server of UDP began
			continue
		}
		own := n.Subnet(f).Prefix
		h.Flows.Limits = append(h.Flows.Limits, conntrack.Limit{Addr: l.Addr, PortSpan: l.PortSpan, Own: own, From: l.From})
	}
}

// carry has flows forgotten that were translated to ports which the process carries now, since the
// host's firewall is to decide about them: they would pass its rules. Whoever comes from outside has
// none. Where ports are reached at the containers' own addresses, too, those flows stay; and so do
// those that a server of UDP began from its port, but when this comes: it may do so (closed), and
// would be without answers after each start of mybr. Those with who is none of the port's clients end
// by the limit that says who these are (renderLimits).
func (h *Host) carry(n model.Network, e model.Endpoint) {
	seen := make(map[conntrack.Limit]bool, len(e.Ports))
	for _, b := range e.Ports {
		own := n.Subnet(model.FamilyOf(b.Container.Addr())).Prefix
		limit := conntrack.Limit{Addr: b.Container.Addr(), Own: own, From: model.NewClients(nil),
			PortSpan: model.PortSpan{Proto: b.Proto, First: b.Container.Port(), Count: b.Count}, Translated: !n.TakesPolicy(), Asks: b.Proto == model.UDP}
		if own.IsValid() && !seen[limit] { // it may be published in both families, or twice
			seen[limit] = true
			h.Flows.Limits = append(h.Flows.Limits, limit)
		}
	}
}

// limits lists them for consecutive ports of the same clients together.
func limits(n model.Network, e model.Endpoint, admitted map[model.ContainerPort]model.Admission) (all []firewall.Limit) {
	for p, who := range admitted {
		f := model.FamilyOf(p.At.Addr())
		if !n.Subnet(f).Prefix.IsValid() || who.From.All(f) && who.Via == "" {
			continue
		}
		all = append(all, firewall.Limit{Bridge: n.Bridge, Link: e.HostIface(), Addr: p.At.Addr(), From: who.From, Via: who.Via,
			PortSpan: model.PortSpan{Proto: p.Proto, First: p.At.Port(), Count: 1}})
	}
	sortBy(all, compareLimits)
	joined := all[:0]
	for _, l := range all {
		if i := len(joined) - 1; i >= 0 && joined[i].Addr == l.Addr && joined[i].Proto == l.Proto && joined[i].From == l.From && joined[i].Via == l.Via &&
			int(joined[i].First)+int(joined[i].Count) == int(l.First) {
			joined[i].Count++
			continue
		}
		joined = append(joined, l)
	}
	return joined
}

// servedFor says for whom the process serves a port. With a list of what containers may begin to
// each other that is nobody on the network, from whichever of their addresses: it would be a way past
// the list.
func servedFor(n model.Network, who model.Admission, further model.Clients, byHost bool) hostport.Limit {
	if who == (model.Admission{}) && !n.ICCListed() {
		return hostport.Limit{Carried: byHost}
	}
	return hostport.Limit{Carried: byHost, Clients: who.From, Via: who.Via, Bridge: n.Bridge, V4: n.V4.Prefix, V6: n.V6.Prefix, Apart: n.ICCListed(), Further: further}
}

// relayed is a binding as the process holds it: one for each run of ports with the same clients.
func relayed(n model.Network, e model.Endpoint, b model.PortBinding, admitted map[model.ContainerPort]model.Admission, further model.Clients, byHost bool) (all []hostport.Binding) {
	near := netip.Prefix{}
	if !TurnsBack(n) && !n.ICCListed() {
		near = n.Subnet(model.FamilyOf(b.Container.Addr())).Prefix
	}
	if admitted == nil {
		return []hostport.Binding{{Owner: e.PortOwner(), Link: e.HostIface(), PortBinding: b, Neighbours: near, Limit: servedFor(n, model.Admission{}, further, byHost)}}
	}
	for i := range b.Count {
		at := netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
		limit := servedFor(n, admitted[model.ContainerPort{Proto: b.Proto, At: at}], further, byHost)
		if last := len(all) - 1; last >= 0 && all[last].Limit == limit {
			all[last].Count++
			continue
		}
		one := hostport.Binding{Owner: e.PortOwner(), Link: e.HostIface(), PortBinding: b, Limit: limit, Neighbours: near}
		one.Host, one.Container, one.Count = netip.AddrPortFrom(b.Host.Addr(), b.Host.Port()+i), at, 1
		all = append(all, one)
	}
	return all
}
