package reconcile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/conntrack"
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
	Flows     conntrack.Set
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
	// FixedSettings says that settings of links can't be written, as where /proc/sys is
	// mounted read-only: the packet filter stands in for those that protect the host.
	FixedSettings bool
	// DefaultDrop are the families in which nothing is forwarded that no rule accepts.
	DefaultDrop firewall.Families
	// DropInDoubt are the families of which that can't be told.
	DropInDoubt firewall.Families
	// KeepForwarding says that forwarding must not be turned on now.
	KeepForwarding bool
}

// Render says what the host must be like for what is recorded. It is pure: equal
// snapshots give deeply equal hosts. An endpoint whose network has no record wants
// nothing.
func Render(s model.Snapshot, o Options) Host {
	h := Host{Sysctls: sysctl.Set{}}
	h.Firewall.Accept, h.Firewall.DefaultDrop, h.Firewall.DropInDoubt = o.Accept, o.DefaultDrop, o.DropInDoubt
	recorded := s // in the same order
	s = o.usable(s)
	networks := make(map[string]model.Network, len(s.Networks))
	for i, n := range s.Networks {
		networks[n.ID] = n
		b, policy := renderBridge(n), renderPolicy(n, o)
		if n.Owned {
			b.Alias = recorded.Networks[i].Alias(o.turnedOn()...)
		}
		if o.FixedSettings {
			b.AcceptRA, b.DisableIPv6, policy.V6.Input = fixedSettings(b)
		}
		h.Links.Bridges = append(h.Links.Bridges, b)
		h.Firewall.Networks = append(h.Firewall.Networks, policy)
		h.Firewalld.Interfaces = append(h.Firewalld.Interfaces, n.Bridge)
		h.Firewalld.Forward = h.Firewalld.Forward || entered(n, o)
		h.Flows.Subnets = append(h.Flows.Subnets, flowSubnets(policy, o)...)
		if !n.ICC {
			h.Flows.Relayed = append(h.Flows.Relayed, prefixes(n)...)
		}
		if n.Internal {
			h.Ports.Blocked = append(h.Ports.Blocked, n.Bridge)
		}
	}
	for i, e := range s.Endpoints {
		n, ok := networks[e.NetworkID]
		if !ok {
			continue
		}
		v := renderVeth(n, e)
		v.Alias = recorded.Endpoints[i].Alias(n, o.turnedOn()...)
		h.Links.Veths = append(h.Links.Veths, v)
		renderForwarding(h.Sysctls, n, e, o)
		h.Firewall.Openings = append(h.Firewall.Openings, openings(n, e, o)...)
		for _, b := range e.Ports {
			h.Ports.Bindings = append(h.Ports.Bindings, hostport.Binding{Owner: e.PortOwner(), Link: e.HostIface(), PortBinding: b})
			h.Flows.Bindings = append(h.Flows.Bindings, b)
			if n.Translates(b) {
				h.Firewall.Ports = append(h.Firewall.Ports, firewall.Port{Bridge: n.Bridge, ICC: n.ICC, Link: e.HostIface(), PortBinding: b})
			}
		}
	}
	h.Flows.Endpoints = flowEndpoints(s)
	h.sort()
	return h
}

// turnedOn lists the families in which mybr has turned forwarding on.
func (o Options) turnedOn() (families []model.Family) {
	for _, f := range model.Families() {
		if o.DefaultDrop.Has(f) {
			families = append(families, f)
		}
	}
	return families
}

// prefixes lists the subnets of a network.
func prefixes(n model.Network) (all []netip.Prefix) {
	for _, f := range model.Families() {
		if p := n.Subnet(f).Prefix; p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// usable returns the records of which something can be brought about on the host.
func (o Options) usable(s model.Snapshot) model.Snapshot {
	if !o.NoIPv6 {
		return s
	}
	s.Networks, s.Endpoints = slices.Clone(s.Networks), slices.Clone(s.Endpoints)
	for i := range s.Networks {
		if n := &s.Networks[i]; n.V6.Prefix.IsValid() {
			n.V6 = model.Subnet{Mode: model.ModeIsolated} // nothing could filter what containers still send
		}
	}
	for i, e := range s.Endpoints {
		s.Endpoints[i] = withoutIPv6(e)
	}
	return s
}

// needsForwarding returns the families in which some endpoint needs the host to forward.
func needsForwarding(s model.Snapshot, o Options) (f firewall.Families) {
	s = o.usable(s)
	networks := make(map[string]model.Network, len(s.Networks))
	for _, n := range s.Networks {
		networks[n.ID] = n
	}
	for _, e := range s.Endpoints {
		if n, ok := networks[e.NetworkID]; ok {
			of := forwards(n, e)
			f.V4, f.V6 = f.V4 || of.V4, f.V6 || of.V6
		}
	}
	return f
}

// flowEndpoints lists the addresses that flows of containers can have.
func flowEndpoints(s model.Snapshot) (all []conntrack.Endpoint) {
	for _, e := range s.Endpoints {
		all = append(all, conntrack.Endpoint{ID: e.ID, V4: e.V4.Addr(), V6: e.V6.Addr()})
	}
	return all
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

// renderBridge makes a bridge that takes no router advertisements, which any container
// could send (CVE-2020-13401); one that speaks IPv6 where it has an address, whatever the
// host's default; and one that doesn't where it must not: on an internal network without
// IPv6, a container that gives itself an address would get out by the ports that the
// process relays from IPv6, and that of an isolated one would have the host for a
// neighbour.
func renderBridge(n model.Network) link.Bridge {
	b := link.Bridge{Name: n.Bridge, Owned: n.Owned}
	if !n.V4.AddressKept {
		b.V4 = n.V4.Address
	}
	if !n.V6.AddressKept {
		b.V6 = n.V6.Address
	}
	if b.V6.IsValid() {
		b.DisableIPv6 = "0"
	}
	if n.Owned {
		b.AcceptRA = "0"
		if n.V6.Mode == model.ModeIsolated || n.Internal && !n.V6.Prefix.IsValid() {
			b.DisableIPv6 = "1"
		}
		b.MAC, b.MTU = n.BridgeMAC, n.MTU
	}
	return b
}

// fixedSettings returns which of a bridge's settings are wanted where none can be written,
// and what the host may take from the bridge in IPv6 instead. IPv6 that is needed can't be
// had by a rule: should it be off, the link says so.
func fixedSettings(b link.Bridge) (acceptRA, disableIPv6 string, input firewall.Input) {
	switch {
	case b.DisableIPv6 == "1":
		return "", "", firewall.InputNone
	case b.AcceptRA == "0":
		return "", b.DisableIPv6, firewall.InputNoAdvertisements
	}
	return b.AcceptRA, b.DisableIPv6, firewall.InputAll
}

func renderVeth(n model.Network, e model.Endpoint) link.Veth {
	return link.Veth{
		Host: e.HostIface(), Peer: e.PeerIface(),
		Bridge: n.Bridge,
		MAC:    e.MAC, V4: e.V4.Addr(), V6: e.V6.Addr(),
		MTU: n.MTU,
		// Translated traffic that turns back is switched inside the bridge when
		// br_netfilter is on, and then leaves by the port it came in when a
		// container uses its own published port. Isolated ports never get that far.
		Hairpin:  n.ICC,
		Isolated: !n.ICC,
		Joined:   e.Sandbox != "",
		Announce: !n.NoAnnounce,
		// A bridge port needs no address, not even a link-local one: addresses live on
		// the bridge.
		DisableIPv6: "1",
	}
}

// renderForwarding adds what an endpoint needs of the host.
//
// Forwarding (ip_forward and conf/all/forwarding in ip-sysctl) is wanted by endpoints and
// not by networks: after a reboot the networks are back before dockerd starts, and dockerd
// sets the policy of FORWARD to DROP only if it is the one who turns forwarding on. Turning
// it on earlier would make the host a router for everybody.
func renderForwarding(set sysctl.Set, n model.Network, e model.Endpoint, o Options) {
	if o.KeepForwarding {
		return
	}
	f := forwards(n, e)
	if f.V4 {
		set[forwarding4] = "1"
	}
	if f.V6 {
		set[forwarding6] = "1"
		set["net/ipv6/conf/default/forwarding"] = "1"
	}
}

func (h *Host) sort() {
	slices.Sort(h.Firewalld.Interfaces)
	slices.SortFunc(h.Links.Bridges, func(a, b link.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(h.Ports.Blocked)
	slices.SortFunc(h.Links.Veths, func(a, b link.Veth) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(h.Firewall.Networks, func(a, b firewall.Network) int { return cmp.Compare(a.Bridge, b.Bridge) })
	slices.SortFunc(h.Firewall.Ports, func(a, b firewall.Port) int { return compareBindings(a.PortBinding, b.PortBinding) })
	slices.SortFunc(h.Firewall.Openings, compareOpenings)
	slices.SortFunc(h.Flows.Bindings, compareBindings)
	slices.SortFunc(h.Flows.Relayed, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	slices.SortFunc(h.Flows.Subnets, func(a, b conntrack.Subnet) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	slices.SortFunc(h.Flows.Endpoints, func(a, b conntrack.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(h.Ports.Bindings, func(a, b hostport.Binding) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), compareBindings(a.PortBinding, b.PortBinding))
	})
}

func compareBindings(a, b model.PortBinding) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container), cmp.Compare(a.Count, b.Count))
}
