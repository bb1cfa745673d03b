package reconcile

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/conntrack"
	"github.com/mybr/mybr/internal/egress/byname"
	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/firewalld"
	"github.com/mybr/mybr/internal/hostport"
	"github.com/mybr/mybr/internal/link"
	"github.com/mybr/mybr/internal/model"
	"github.com/mybr/mybr/internal/spoof"
	"github.com/mybr/mybr/internal/sysctl"
)

// Host is everything that mybr wants true of the host.
type Host struct {
	Firewalld firewalld.Set
	Firewall  firewall.Policy
	Spoof     spoof.Set
	Links     link.Set
	Sysctls   sysctl.Set
	Flows     conntrack.Set
	Ports     hostport.Set
	Names     byname.Set // whom the process serves; no aspect of the host, see Config.Process
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
	// PublishByHost says that the host's firewall decides who reaches published ports, on networks that
	// don't say it themselves.
	PublishByHost bool
	// SpoofDefault is whether ports send from their own addresses alone, on networks that don't say
	// it themselves (model.SpoofMode).
	SpoofDefault string
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
	var h Host
	networks := o.networks(s)
	var needed needs
	policies, limited := policiesOf(s), limitedNetworks(s, networks, o)
	for _, n := range s.Networks {
		h.addNetwork(n, limited[n.ID], policies.listings[n.ID], o)
		h.renderNetworkNames(o.network(n), policies.listings[n.ID])
	}
	for _, e := range s.Endpoints {
		h.addEndpoint(e, networks, policies, o)
		needed.count(e, networks, o, 1)
	}
	if len(h.Spoof.Ports) > 0 {
		h.addShares(s.Endpoints, nil, networks, o)
	}
	h.addLists(s, networks, o)
	h.Firewall.Accept, h.Firewall.DefaultDrop, h.Firewall.DropInDoubt = o.Accept, o.DefaultDrop, o.DropInDoubt
	h.Sysctls = forwardingSettings(needed.families(), o)
	h.sort()
	if !h.Names.Listen {
		h.Names.Own = nil // nobody needs to know
	}
	return h
}

// policies is what endpoints' policies depend on beside their own records.
type policies struct {
	lists    model.Lists
	listings map[string]listing
	allowed  recorded                 // is only looked at: renderers share it
	further  map[string]model.Clients // furtherNeighbours
}

func policiesOf(s model.Snapshot) policies {
	lists := model.ListsOf(s)
	all, allowed := listings(s, lists)
	return policies{lists, all, allowed, furtherNeighbours(s)}
}

// addNetwork adds what a network wants, of which some ports are limited or none, and some egress
// or none.
func (h *Host) addNetwork(recorded model.Network, limits limited, listed listing, o Options) {
	n := o.network(recorded)
	b, policy := renderBridge(n), renderPolicy(n, o)
	policy.Limited, policy.Arrivals = limits.clients, limits.interfaces
	if policy.Listed = listed.any(); policy.Listed {
		h.renderEgress(n, listed)
		listed.lead(&policy, n)
	}
	if n.Owned {
		b.Alias = recorded.Alias(o.turnedOn()...)
	}
	if o.FixedSettings {
		b.AcceptRA, b.DisableIPv6, policy.V6.Input = fixedSettings(b)
	}
	h.Links.Bridges = append(h.Links.Bridges, b)
	h.Firewall.Networks = append(h.Firewall.Networks, policy)
	h.Firewalld.Interfaces = append(h.Firewalld.Interfaces, n.Bridge)
	h.Firewalld.Forward = h.Firewalld.Forward || entered(n, o)
	h.Flows.Subnets = append(h.Flows.Subnets, flowSubnets(policy, o)...)
	if !TurnsBack(n) {
		h.Flows.Relayed = append(h.Flows.Relayed, prefixes(n)...)
	}
	if n.Internal {
		h.Ports.Blocked = append(h.Ports.Blocked, n.Bridge)
	}
}

// addEndpoint adds what an endpoint wants, given the networks of Options.networks.
func (h *Host) addEndpoint(recorded *model.Endpoint, networks map[string]*model.Network, p policies, o Options) {
	e := o.endpoint(*recorded)
	h.Flows.Endpoints = append(h.Flows.Endpoints, flowEndpoint(e))
	n, ok := networks[e.NetworkID]
	if !ok {
		return
	}
	v := renderVeth(*n, e)
	v.Alias = recorded.Alias(*n, o.turnedOn()...)
	h.Links.Veths = append(h.Links.Veths, &v)
	if v.Isolated {
		h.Spoof.Apart = append(h.Spoof.Apart, v.Host)
	}
	if mode := model.SpoofMode(*n, e, o.SpoofDefault); mode != model.SpoofAllow {
		h.Spoof.Ports = append(h.Spoof.Ports, spoofPort(*n, e, mode))
	}
	h.Firewall.Openings = append(h.Firewall.Openings, openings(*n, e, o)...)
	h.renderEndpointEgress(*n, e, p)
	h.renderNames(*n, e, p)
	admitted := p.lists.Admitted(*n, e)
	byHost := n.ByHost(e, o.PublishByHost)
	h.renderLimits(*n, e, admitted, o)
	for _, b := range e.Ports {
		h.Ports.Bindings = append(h.Ports.Bindings, relayed(*n, e, b, admitted, p.further[n.ID], byHost)...)
		if byHost {
			continue
		}
		h.Flows.Bindings = append(h.Flows.Bindings, b)
		if n.Translates(b) {
			h.Firewall.Ports = append(h.Firewall.Ports, firewall.Port{Bridge: n.Bridge, ICC: TurnsBack(*n), Link: v.Host, PortBinding: b})
		}
	}
	if byHost {
		h.carry(*n, e)
	}
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

// networks returns what can be brought about of the networks on the host, by ID.
func (o Options) networks(s model.Snapshot) map[string]*model.Network {
	all := make(map[string]*model.Network, len(s.Networks))
	for _, n := range s.Networks {
		n = o.network(n)
		all[n.ID] = &n
	}
	return all
}

// network is what can be brought about of a network on the host.
func (o Options) network(n model.Network) model.Network {
	if o.NoIPv6 && n.V6.Prefix.IsValid() {
		n.V6 = model.Subnet{Mode: model.ModeIsolated} // nothing could filter what containers still send
	}
	n.ICC = n.ICCInForce() != model.ICCNone
	return n
}

// endpoint is what can be brought about of an endpoint on the host.
func (o Options) endpoint(e model.Endpoint) model.Endpoint {
	if o.NoIPv6 {
		return withoutIPv6(e)
	}
	return e
}

// needs is how many endpoints need the host to forward, in each family.
type needs struct{ v4, v6 int }

// count counts an endpoint so many times.
func (c *needs) count(e *model.Endpoint, networks map[string]*model.Network, o Options, times int) {
	n, ok := networks[e.NetworkID]
	if !ok {
		return
	}
	f := forwards(n, e)
	if f.V4 {
		c.v4 += times
	}
	if f.V6 && !o.NoIPv6 {
		c.v6 += times
	}
}

// families are those in which some endpoint needs the host to forward.
func (c needs) families() firewall.Families {
	return firewall.Families{V4: c.v4 > 0, V6: c.v6 > 0}
}

// flowEndpoints lists the addresses that flows of containers can have.
func flowEndpoints(s model.Snapshot) (all []conntrack.Endpoint) {
	for _, e := range s.Endpoints {
		all = append(all, flowEndpoint(*e))
	}
	return all
}

func flowEndpoint(e model.Endpoint) conntrack.Endpoint {
	return conntrack.Endpoint{ID: e.ID, V4: e.V4.Addr(), V6: e.V6.Addr()}
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

// forwardingSettings are those with which the host forwards in the families in which some
// endpoint needs that.
//
// Forwarding (ip_forward and conf/all/forwarding in ip-sysctl) is wanted by endpoints and
// not by networks: after a reboot the networks are back before dockerd starts, and dockerd
// sets the policy of FORWARD to DROP only if it is the one who turns forwarding on. Turning
// it on earlier would make the host a router for everybody.
func forwardingSettings(needed firewall.Families, o Options) sysctl.Set {
	set := sysctl.Set{}
	if o.KeepForwarding {
		return set
	}
	if needed.V4 {
		set[forwarding4] = "1"
	}
	if needed.V6 {
		set[forwarding6] = "1"
		set["net/ipv6/conf/default/forwarding"] = "1"
	}
	return set
}
