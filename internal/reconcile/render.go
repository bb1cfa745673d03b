package reconcile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/sysctl"
)

// Host is everything that mybr wants true of the host.
type Host struct {
	Firewalld firewalld.Set
	Firewall  firewall.Policy
	Links     link.Set
	Sysctls   sysctl.Set
	Ports     hostport.Set
}

// Options is what Render goes by besides the records: how the process was started, and
// what the host can do.
type Options struct {
	// NoIPv6 says that the host has no IPv6, or nothing that could filter it: of the
	// records, only what is about IPv4 is brought about.
	NoIPv6 bool
	// DirectRouting lets whoever routes to a container's address reach its published
	// ports there.
	DirectRouting bool
	// Accept is the mark of packets that pass to every network.
	Accept firewall.Mark
}

// Render says what the host must be like for what is recorded. It is pure: equal
// snapshots give deeply equal hosts. An endpoint whose network has no record wants
// nothing.
func Render(s model.Snapshot, o Options) Host {
	h := Host{Sysctls: sysctl.Set{}}
	h.Firewall.Accept = o.Accept
	networks := make(map[string]model.Network, len(s.Networks))
	for _, n := range s.Networks {
		if o.NoIPv6 && n.V6.Prefix.IsValid() {
			n.V6 = model.Subnet{Mode: model.ModeIsolated} // nothing could filter what containers still send
		}
		networks[n.ID] = n
		h.Links.Bridges = append(h.Links.Bridges, renderBridge(n))
		h.Firewall.Networks = append(h.Firewall.Networks, renderPolicy(n, o))
		renderSysctls(h.Sysctls, n)
		h.Firewalld.Interfaces = append(h.Firewalld.Interfaces, n.Bridge)
		h.Firewalld.Forward = h.Firewalld.Forward || entered(n, o)
		if n.Internal {
			h.Ports.Shun = append(h.Ports.Shun, n.Bridge)
		}
	}
	for _, e := range s.Endpoints {
		n, ok := networks[e.NetworkID]
		if !ok {
			continue
		}
		if o.NoIPv6 {
			e = withoutIPv6(e)
		}
		h.Links.Veths = append(h.Links.Veths, renderVeth(n, e))
		renderEndpointSysctls(h.Sysctls, n, e)
		h.Firewall.Openings = append(h.Firewall.Openings, openings(n, e, o)...)
		for _, b := range e.Ports {
			h.Ports.Bindings = append(h.Ports.Bindings, hostport.Binding{Owner: e.PortOwner(), PortBinding: b})
			if translated(n, b) {
				h.Firewall.Ports = append(h.Firewall.Ports, firewall.Port{Bridge: n.Bridge, ICC: n.ICC, Link: e.HostIface(), PortBinding: b})
			}
		}
	}
	h.sort()
	return h
}

// entered reports whether connections come into the network that no published port has
// led there.
func entered(n model.Network, o Options) bool {
	direct := func(m model.Mode) bool { return m == model.ModeRouted || m == model.ModeNATUnprotected }
	return o.DirectRouting || o.Accept != (firewall.Mark{}) || len(n.Trusted) > 0 || direct(n.V4.Mode) || direct(n.V6.Mode)
}

// withoutIPv6 is an endpoint with its IPv4 address alone, and the ports that lead there
// from IPv4.
func withoutIPv6(e model.Endpoint) model.Endpoint {
	e.V6 = netip.Prefix{}
	e.Ports = slices.DeleteFunc(slices.Clone(e.Ports), func(b model.PortBinding) bool {
		return b.Host.Addr().Is6() || b.Container.Addr().Is6()
	})
	return e
}

func renderBridge(n model.Network) link.Bridge {
	b := link.Bridge{Name: n.Bridge, Owned: n.Owned}
	if !n.V4.AddressKept {
		b.V4 = n.V4.Address
	}
	if !n.V6.AddressKept {
		b.V6 = n.V6.Address
	}
	if n.Owned {
		b.Alias, b.MAC, b.MTU = model.AliasNetwork+n.ID, n.BridgeMAC, n.MTU
	}
	return b
}

func renderVeth(n model.Network, e model.Endpoint) link.Veth {
	return link.Veth{
		Host: e.HostIface(), Peer: e.PeerIface(),
		Bridge: n.Bridge,
		Alias:  e.Alias(),
		MAC:    e.MAC, V4: e.V4.Addr(), V6: e.V6.Addr(),
		MTU: n.MTU,
		// Translated traffic that turns back is switched inside the bridge when
		// br_netfilter is on, and then leaves by the port it came in when a
		// container uses its own published port. Isolated ports never get that far.
		Hairpin:  n.ICC,
		Isolated: !n.ICC,
		Joined:   e.Sandbox != "",
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
// advertisements, which any container could send (CVE-2020-13401); one that speaks IPv6
// where it has an address, whatever the host's default; and one that doesn't where it
// must not: for an internal network without IPv6, a container that gives itself an
// address would get out by the ports that the process carries from IPv6, and that of an
// isolated one would have the host for a neighbour.
func renderSysctls(set sysctl.Set, n model.Network) {
	maps.Copy(set, BridgeSettings(renderBridge(n)))
	if n.Owned && (n.V6.Mode == model.ModeIsolated || n.Internal && !n.V6.Prefix.IsValid()) {
		set[conf(n.Bridge)+"disable_ipv6"] = "1"
	}
}

// BridgeSettings is what a bridge needs of this before it comes up, or gets an IPv6
// address.
func BridgeSettings(b link.Bridge) sysctl.Set {
	set := sysctl.Set{}
	if b.V6.IsValid() {
		set[conf(b.Name)+"disable_ipv6"] = "0"
	}
	if b.Owned {
		set[conf(b.Name)+"accept_ra"] = "0"
	}
	return set
}

// conf is where the IPv6 settings of a link are.
func conf(link string) string { return "net/ipv6/conf/" + link + "/" }

// renderEndpointSysctls adds what an endpoint needs. A bridge port needs no address, not
// even a link-local one: addresses live on the bridge.
//
// Forwarding (ip_forward and conf/all/forwarding in ip-sysctl) is wanted by endpoints and
// not by networks: after a reboot the networks are back before dockerd starts, and dockerd
// sets the policy of FORWARD to DROP only if it is the one who turns forwarding on. Turning
// it on earlier would make the host a router for everybody.
func renderEndpointSysctls(set sysctl.Set, n model.Network, e model.Endpoint) {
	set[conf(e.HostIface())+"disable_ipv6"] = "1"
	if n.Internal {
		return
	}
	if e.V4.IsValid() {
		set["net/ipv4/ip_forward"] = "1"
	}
	if e.V6.IsValid() {
		set[conf("all")+"forwarding"] = "1"
		set[conf("default")+"forwarding"] = "1"
	}
}

func (h *Host) sort() {
	slices.Sort(h.Firewalld.Interfaces)
	slices.SortFunc(h.Links.Bridges, func(a, b link.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(h.Ports.Shun)
	slices.SortFunc(h.Links.Veths, func(a, b link.Veth) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(h.Firewall.Networks, func(a, b firewall.Network) int { return cmp.Compare(a.Bridge, b.Bridge) })
	slices.SortFunc(h.Firewall.Ports, func(a, b firewall.Port) int { return compareBindings(a.PortBinding, b.PortBinding) })
	slices.SortFunc(h.Firewall.Openings, compareOpenings)
	slices.SortStableFunc(h.Ports.Bindings, func(a, b hostport.Binding) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), compareBindings(a.PortBinding, b.PortBinding))
	})
}

func compareBindings(a, b model.PortBinding) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container), cmp.Compare(a.Count, b.Count))
}
