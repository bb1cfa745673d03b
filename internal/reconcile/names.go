package reconcile

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// renderNetworkNames has the process listen if some list of the network has names.
func (h *Host) renderNetworkNames(n model.Network, of listing) {
	h.Names.Listen = h.Names.Listen || of.named
	h.Names.Own = append(h.Names.Own, prefixes(n)...)
}

// renderNames has the process serve an endpoint's container if its list has names. It is known by
// the addresses from which it may send by itself, and not by those that mybr.spoof.addresses adds:
// several containers may have those.
func (h *Host) renderNames(n model.Network, e model.Endpoint, p policies) {
	names := p.of(n, e).names
	if names == "" {
		return
	}
	c := byname.Client{Network: n.ID, Endpoint: e.ID, Bridge: n.Bridge, Link: e.HostIface(), Names: names}
	for _, f := range []struct {
		at     *netip.Addr
		family model.Family
	}{{&c.V4, model.IPv4}, {&c.V6, model.IPv6}} {
		if a, own := e.Address(f.family).Addr(), n.Subnet(f.family).Prefix; a.IsValid() && own.IsValid() && own.Contains(a) {
			*f.at = a
		}
	}
	h.Names.Clients = append(h.Names.Clients, c)
}

// process has the process serve whom h says, and the rules lead to it.
func (r *Reconciler) process(h *Host, decide bool) error {
	if r.Config.Process == nil {
		return nil
	}
	at, err := r.Config.Process(h.Names, decide)
	h.Firewall.Process = firewall.Process(at)
	return err
}

// named lists the links of what the process serves, and their bridges, sorted.
func (h Host) named() []string {
	links := []string{}
	for _, c := range h.Names.Clients {
		links = append(links, c.Link, c.Bridge)
	}
	slices.Sort(links)
	return slices.Compact(links)
}
