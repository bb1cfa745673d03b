package reconcile

import (
	"cmp"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/sysctl"
)

// Host is everything that mybr wants true of the host.
type Host struct {
	Firewall firewall.Policy
	Links    link.Set
	Sysctls  sysctl.Set
	Ports    hostport.Set
}

// Render says what the host must be like for what is recorded. It is pure: equal
// snapshots give deeply equal hosts. An endpoint whose network has no record wants
// nothing.
func Render(s model.Snapshot) Host {
	h := Host{Sysctls: sysctl.Set{}}
	networks := make(map[string]model.Network, len(s.Networks))
	for _, n := range s.Networks {
		networks[n.ID] = n
		h.Links.Bridges = append(h.Links.Bridges, renderBridge(n))
		h.Firewall.Networks = append(h.Firewall.Networks, renderPolicy(n))
		renderSysctls(h.Sysctls, n)
	}
	for _, e := range s.Endpoints {
		n, ok := networks[e.NetworkID]
		if !ok {
			continue
		}
		h.Links.Veths = append(h.Links.Veths, renderVeth(n, e))
		renderEndpointSysctls(h.Sysctls, n, e)
		for _, b := range e.Ports {
			h.Ports = append(h.Ports, hostport.Binding{Owner: e.ID, PortBinding: b})
			if translated(n, b) {
				h.Firewall.Ports = append(h.Firewall.Ports, firewall.Port{Bridge: n.Bridge, ICC: n.ICC, PortBinding: b})
			}
		}
	}
	h.sort()
	return h
}

func renderBridge(n model.Network) link.Bridge {
	b := link.Bridge{Name: n.Bridge, Owned: n.Owned}
	if !n.V4.AddressKept {
		b.Address = n.V4.Address
	}
	if n.Owned {
		b.Alias, b.MAC, b.MTU = link.AliasNetwork+n.ID, n.BridgeMAC, n.MTU
	}
	return b
}

func renderVeth(n model.Network, e model.Endpoint) link.Veth {
	return link.Veth{
		Host: e.HostIface(), Peer: e.PeerIface(),
		Bridge: n.Bridge,
		Alias:  link.AliasEndpoint + e.ID,
		MAC:    e.MAC, Address: e.V4.Addr(),
		MTU: n.MTU,
		// Translated traffic that turns back is switched inside the bridge when
		// br_netfilter is on, and then leaves by the port it came in when a
		// container uses its own published port. Isolated ports never get that far.
		Hairpin:  n.ICC,
		Isolated: !n.ICC,
		Joined:   e.Sandbox != "",
	}
}

func renderPolicy(n model.Network) firewall.Network {
	return firewall.Network{
		ID: n.ID, Bridge: n.Bridge,
		Internal: n.Internal,
		ICC:      n.ICC,
		V4: firewall.Family{
			Prefix:     n.V4.Prefix,
			Masquerade: n.V4.Masquerade && !n.Internal,
			SNAT:       n.V4.SNAT,
			Hairpin:    n.V4.Address.IsValid() && n.ICC && !n.Internal,
		},
	}
}

// translated reports whether the packet filter leads the binding's traffic to the
// container; otherwise the process carries it. The kernel does not route to or from
// 127.0.0.0/8 over other interfaces (route_localnet in ip-sysctl), and NAT does not
// change the address family.
func translated(n model.Network, b model.PortBinding) bool {
	host := b.Host.Addr()
	return !n.Internal && !host.IsLoopback() && host.Is4() == b.Container.Addr().Is4()
}

// renderSysctls adds what the network needs: a bridge that takes no router
// advertisements, which any container could send (CVE-2020-13401); and, for an internal
// network, none that speaks IPv6: a container that gives itself an address would get out
// by the ports that the process carries from IPv6, or where the host routes IPv6.
func renderSysctls(set sysctl.Set, n model.Network) {
	if !n.Owned {
		return
	}
	set["net/ipv6/conf/"+n.Bridge+"/accept_ra"] = "0"
	if n.Internal {
		set["net/ipv6/conf/"+n.Bridge+"/disable_ipv6"] = "1"
	}
}

// renderEndpointSysctls adds what an endpoint needs. A bridge port needs no address, not
// even a link-local one: addresses live on the bridge.
//
// Forwarding (ip_forward in ip-sysctl) is wanted by endpoints and not by networks: after
// a reboot the networks are back before dockerd starts, and dockerd sets the policy of
// FORWARD to DROP only if it is the one who turns forwarding on. Turning it on earlier
// would make the host a router for everybody.
func renderEndpointSysctls(set sysctl.Set, n model.Network, e model.Endpoint) {
	set["net/ipv6/conf/"+e.HostIface()+"/disable_ipv6"] = "1"
	if !n.Internal {
		set["net/ipv4/ip_forward"] = "1"
	}
}

func (h *Host) sort() {
	slices.SortFunc(h.Links.Bridges, func(a, b link.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(h.Links.Veths, func(a, b link.Veth) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(h.Firewall.Networks, func(a, b firewall.Network) int { return cmp.Compare(a.Bridge, b.Bridge) })
	slices.SortFunc(h.Firewall.Ports, func(a, b firewall.Port) int { return compareBindings(a.PortBinding, b.PortBinding) })
	slices.SortStableFunc(h.Ports, func(a, b hostport.Binding) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), compareBindings(a.PortBinding, b.PortBinding))
	})
}

func compareBindings(a, b model.PortBinding) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container), cmp.Compare(a.Count, b.Count))
}
