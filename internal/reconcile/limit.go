package reconcile

import (
	"net/netip"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/model"
)

// limitedNetworks are the networks with limits, their own or of endpoints.
func limitedNetworks(s model.Snapshot) map[string]bool {
	all := map[string]bool{}
	for _, n := range s.Networks {
		all[n.ID] = len(n.From)+len(n.FromSet) > 0
	}
	for _, e := range s.Endpoints {
		all[e.NetworkID] = all[e.NetworkID] || len(e.From)+len(e.FromSet) > 0
	}
	return all
}

// renderLimits has everybody who could let others in know who reaches an endpoint's ports: the
// packet filter, who looks for flows, and the process, which relays.
func (h *Host) renderLimits(n model.Network, e model.Endpoint, admitted map[model.ContainerPort]model.Clients) {
	for _, l := range limits(n, e, admitted) {
		h.Firewall.Limits = append(h.Firewall.Limits, l)
		own := n.Subnet(model.FamilyOf(l.Addr)).Prefix
		h.Flows.Limits = append(h.Flows.Limits, conntrack.Limit{Addr: l.Addr, PortSpan: l.PortSpan, Own: own, From: l.From})
	}
}

// limits lists them for consecutive ports of the same clients together.
func limits(n model.Network, e model.Endpoint, admitted map[model.ContainerPort]model.Clients) (all []firewall.Limit) {
	for p, from := range admitted {
		f := model.FamilyOf(p.At.Addr())
		if !n.Subnet(f).Prefix.IsValid() || from.All(f) {
			continue
		}
		all = append(all, firewall.Limit{Bridge: n.Bridge, Link: e.HostIface(), Addr: p.At.Addr(), From: from,
			PortSpan: model.PortSpan{Proto: p.Proto, First: p.At.Port(), Count: 1}})
	}
	sortBy(all, compareLimits)
	joined := all[:0]
	for _, l := range all {
		if i := len(joined) - 1; i >= 0 && joined[i].Addr == l.Addr && joined[i].Proto == l.Proto && joined[i].From == l.From &&
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
func servedFor(n model.Network, from, further model.Clients) hostport.Limit {
	if from == "" && !n.ICCListed() {
		return hostport.Limit{}
	}
	return hostport.Limit{Clients: from, Bridge: n.Bridge, V4: n.V4.Prefix, V6: n.V6.Prefix, Apart: n.ICCListed(), Further: further}
}

// relayed is a binding as the process holds it: one for each run of ports with the same clients.
func relayed(n model.Network, e model.Endpoint, b model.PortBinding, admitted map[model.ContainerPort]model.Clients, further model.Clients) (all []hostport.Binding) {
	near := netip.Prefix{}
	if !TurnsBack(n) && !n.ICCListed() {
		near = n.Subnet(model.FamilyOf(b.Container.Addr())).Prefix
	}
	if admitted == nil {
		return []hostport.Binding{{Owner: e.PortOwner(), Link: e.HostIface(), PortBinding: b, Neighbours: near, Limit: servedFor(n, "", further)}}
	}
	for i := range b.Count {
		at := netip.AddrPortFrom(b.Container.Addr(), b.Container.Port()+i)
		limit := servedFor(n, admitted[model.ContainerPort{Proto: b.Proto, At: at}], further)
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
