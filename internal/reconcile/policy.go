package reconcile

import (
	"net/netip"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

func renderPolicy(n model.Network, o Options) firewall.Network {
	return firewall.Network{
		ID: n.ID, Bridge: n.Bridge,
		Internal: n.Internal,
		ICC:      n.ICC,
		V4:       renderFamily(n, n.V4, o),
		V6:       renderFamily(n, n.V6, o),
	}
}

// renderFamily says what one address family of a network needs of the packet filter.
func renderFamily(n model.Network, s model.Subnet, o Options) firewall.Family {
	f := firewall.Family{Prefix: s.Prefix}
	if n.Internal || !s.Prefix.IsValid() {
		return f
	}
	switch s.Mode {
	case model.ModeRouted:
		f.Direct = firewall.DirectRouted
		return f
	case model.ModeNATUnprotected:
		f.Direct = firewall.DirectAll
	default:
		if o.DirectRouting || len(n.Trusted) > 0 {
			f.Direct = firewall.DirectOpenings
		}
	}
	f.Masquerade, f.SNAT = s.Masquerade, s.SNAT
	f.Hairpin = s.Address.IsValid() && TurnsBack(n)
	return f
}

// flowSubnets says how the rules treat flows of a network. What bears the mark passes those
// of the filter.
func flowSubnets(n firewall.Network, o Options) (all []conntrack.Subnet) {
	closed := o.Accept == (firewall.Mark{})
	for _, f := range model.Families() {
		if of := n.Family(f); of.Prefix.IsValid() {
			all = append(all, conntrack.Subnet{Prefix: of.Prefix, Masquerade: of.Masquerade && !n.Internal,
				Closed: closed && of.Direct == firewall.DirectNone, Internal: closed && n.Internal, Apart: closed && !n.ICC})
		}
	}
	return all
}

// openings lists the ports of an endpoint that can be reached at its own addresses: in a
// routed family those that were published when it joined, whether or not it is the
// container's gateway; in a translated one those that are published, from trusted
// interfaces or, with direct routing and unless the host's firewall decides about them, from
// anywhere.
func openings(n model.Network, e model.Endpoint, o Options) (all []firewall.Opening) {
	if n.Internal {
		return nil
	}
	for _, f := range []struct {
		subnet  model.Subnet
		address netip.Addr
		open    []model.PortSpan
	}{{n.V4, e.V4.Addr(), e.OpenV4}, {n.V6, e.V6.Addr(), e.OpenV6}} {
		from := n.Trusted
		switch {
		case !f.address.IsValid() || !f.subnet.Prefix.IsValid() || f.subnet.Mode == model.ModeNATUnprotected:
			continue
		case f.subnet.Mode == model.ModeRouted:
			from = []string{""}
		case o.DirectRouting && !n.ByHost(e, o.PublishByHost): // it would be a way past the host's firewall
			from = []string{""}
		}
		if len(from) == 0 {
			continue
		}
		for _, span := range published(e, f.address, f.subnet.Mode, f.open) {
			for _, iface := range from {
				all = append(all, firewall.Opening{Bridge: n.Bridge, Link: e.HostIface(), Addr: f.address, PortSpan: span, From: iface})
			}
		}
	}
	return all
}

// published lists what leads to one address of an endpoint, each once: what was open when it
// joined, where the family is routed.
func published(e model.Endpoint, address netip.Addr, mode model.Mode, open []model.PortSpan) (spans []model.PortSpan) {
	if mode == model.ModeRouted {
		return open
	}
	seen := make(map[model.PortSpan]bool, len(e.Ports))
	for _, b := range e.Ports {
		span := model.PortSpan{Proto: b.Proto, First: b.Container.Port(), Count: b.Count}
		if b.Container.Addr() == address && !seen[span] {
			seen[span] = true
			spans = append(spans, span)
		}
	}
	return spans
}
