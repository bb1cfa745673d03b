// Package rebuild makes records of what the kernel still shows of mybr's networks, for the
// case that the records are lost while containers run. It is a pure function of the host's
// links.
//
// What a network or an endpoint was is in the aliases of its links (model.Network.Alias,
// model.Endpoint.Alias). What an alias has no room for, or was not given by an older mybr,
// is read from the link where it can be, and is otherwise what lets least in: a network of
// which it is not known whether it was internal is.
//
// Be aware: networks without a link are not found, and neither are the marks of networks
// that were being made, static leases or what an endpoint wanted and did not get. Sandboxes
// get names of their own, so that two endpoints of one container are two owners of ports.
// Address pools are for package ipam to make again, when Docker asks for them.
package rebuild

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mybr/mybr/internal/model"
)

// Found is what the links show and no record says.
type Found struct {
	Networks   []model.Network
	Endpoints  []model.Endpoint
	Forwarding []model.Family // in which mybr turned it on, recorded or not

	// Notes says for each of them what is known, a line for a person.
	Notes []string
}

// SandboxPrefix begins the sandbox key of an endpoint whose own is not known; its ID
// follows. Docker's are paths.
const SandboxPrefix = "rebuilt:"

// Find looks for networks and endpoints that the records don't have.
func Find(links []model.Link, have model.Snapshot) Found {
	f := finder{names: map[string]model.Link{}, networks: map[string]model.Network{}, bridges: map[string]string{}}
	for _, l := range links {
		f.names[l.Name] = l
		f.forwarding(l)
	}
	for _, n := range have.Networks {
		f.networks[n.ID], f.bridges[n.Bridge] = n, n.ID
	}
	for _, l := range links {
		f.network(l)
	}
	for _, l := range links {
		if !slices.ContainsFunc(have.Endpoints, func(e *model.Endpoint) bool { return e.HostIface() == l.Name }) {
			f.endpoint(l)
		}
	}
	return f.found
}

type finder struct {
	found    Found
	names    map[string]model.Link
	networks map[string]model.Network // by ID, recorded ones too
	bridges  map[string]string        // network IDs
}

func (f *finder) note(format string, args ...any) {
	f.found.Notes = append(f.found.Notes, fmt.Sprintf(format, args...))
}

func (f *finder) add(n model.Network) {
	f.found.Networks = append(f.found.Networks, n)
	f.networks[n.ID], f.bridges[n.Bridge] = n, n.ID
}

// forwarding notes in which families mybr turned it on, as a link says that mybr made, of a
// network that has a record or not: a network's record does not have it.
func (f *finder) forwarding(l model.Link) {
	e, _, ok := model.ParseEndpointAlias(l.Alias)
	if l.Kind != "bridge" && (!ok || l.Kind != "veth" || e.HostIface() != l.Name) {
		return // such as the other end of a pair, whose alias a container can have given it
	}
	for _, family := range model.AliasForwarding(l.Alias) {
		if !slices.Contains(f.found.Forwarding, family) {
			f.found.Forwarding = append(f.found.Forwarding, family)
		}
	}
}

// network takes the network of a bridge that mybr made.
func (f *finder) network(l model.Link) {
	n, complete, ok := model.ParseNetworkAlias(l.Alias)
	if !ok || l.Kind != "bridge" {
		return
	}
	if _, known := f.networks[n.ID]; known || f.bridges[l.Name] != "" {
		return
	}
	n.Bridge, n.Owned, n.BridgeMAC = l.Name, true, l.MAC
	unknown := ""
	if !complete {
		unknown = f.guess(&n, l)
	}
	f.add(n)
	f.note("network %s: rebuilt from bridge %s (%s)%s", model.ShortID(n.ID), l.Name, subnets(n), unknown)
}

// guess fills in what the alias does not say of a network, from its bridge, and returns what
// can't be known.
func (f *finder) guess(n *model.Network, l model.Link) (unknown string) {
	if !strings.Contains(l.Alias, " o=") { // an older mybr's
		n.Internal = true
		n.ICC = !slices.ContainsFunc(f.ports(l.Name), func(p model.Link) bool { return p.Isolated })
		unknown = "; whether it was internal is not known, so it is now, and nothing leaves it"
	}
	if n.MTU == 0 {
		n.MTU = mtuOf(l)
	}
	n.IfacePrefix = cmp.Or(n.IfacePrefix, "eth")
	fromAddresses(n, l)
	return unknown + "; not all of its options are known: create it again when its containers can be stopped"
}

// mtuOf is the MTU that a network was given, from a link of it.
func mtuOf(l model.Link) int {
	if l.MTU == 1500 { // the kernel's default for Ethernet
		return 0
	}
	return l.MTU
}

func (f *finder) ports(bridge string) (ports []model.Link) {
	for _, l := range f.names {
		if l.Master == bridge {
			ports = append(ports, l)
		}
	}
	return ports
}

// fromAddresses takes the subnets that are not known from the addresses of a bridge of mybr's.
func fromAddresses(n *model.Network, l model.Link) {
	for _, a := range l.Addresses {
		s := n.Subnet(model.FamilyOf(a.Addr()))
		if !s.Prefix.IsValid() && !a.Addr().IsLinkLocalUnicast() {
			s.Prefix, s.Gateway, s.Address = a.Masked(), a.Addr(), a
			s.Masquerade = s.Masquerade || !n.Internal
		}
	}
}

// endpoint takes the endpoint of a pair that mybr made.
func (f *finder) endpoint(l model.Link) {
	e, complete, ok := model.ParseEndpointAlias(l.Alias)
	if !ok || l.Kind != "veth" || e.HostIface() != l.Name {
		return
	}
	if e.NetworkID == "" {
		e.NetworkID = f.bridges[l.Master]
	}
	n, known := f.networks[e.NetworkID]
	if !known {
		if n, known = f.foreign(l, e); !known {
			f.note("endpoint %s: its pair %s is a port of no network that is known, and is removed", model.ShortID(e.ID), l.Name)
			return
		}
	}
	if n.Bridge != l.Master {
		f.note("endpoint %s: its pair %s is not a port of its network's bridge %s, and is put there", model.ShortID(e.ID), l.Name, n.Bridge)
	}
	if _, here := f.names[e.PeerIface()]; !here {
		e.Sandbox = SandboxPrefix + e.ID
	}
	unknown := ""
	if !complete {
		unknown = "; not all that it publishes is known, or which addresses it has: start its container again for that"
	}
	f.found.Endpoints = append(f.found.Endpoints, e)
	f.note("endpoint %s: rebuilt from %s, network %s, addresses %s, publishes %s%s",
		model.ShortID(e.ID), l.Name, model.ShortID(n.ID), addresses(e), published(e), unknown)
}

// foreign takes the network of a bridge that mybr did not make, from one of its endpoints. Of
// the bridge's addresses those count that are in the endpoint's subnets: it may have others.
func (f *finder) foreign(l model.Link, e model.Endpoint) (n model.Network, ok bool) {
	n, ok = model.ParseForeignNetwork(l.Alias)
	bridge, there := f.names[l.Master]
	if !ok || !there || bridge.Kind != "bridge" || f.bridges[bridge.Name] != "" {
		return n, false
	}
	n.Bridge, n.IfacePrefix, n.MTU = bridge.Name, "eth", mtuOf(l)
	for _, family := range model.Families() {
		own, s := e.Address(family), n.Subnet(family)
		if !own.IsValid() {
			continue
		}
		s.Prefix = own.Masked()
		if i := slices.IndexFunc(bridge.Addresses, func(a netip.Prefix) bool { return a.Masked() == s.Prefix }); i >= 0 {
			s.Address = bridge.Addresses[i]
			s.Gateway, s.AddressKept = s.Address.Addr(), true
		}
	}
	f.add(n)
	f.note("network %s: rebuilt from its endpoints and bridge %s, which mybr did not make (%s); not all of its options are known: create it again when its containers can be stopped",
		model.ShortID(n.ID), n.Bridge, subnets(n))
	return n, true
}

func subnets(n model.Network) string {
	var all []string
	for _, f := range model.Families() {
		if p := n.Subnet(f).Prefix; p.IsValid() {
			all = append(all, p.String())
		}
	}
	return orNone(all)
}

func addresses(e model.Endpoint) string {
	var all []string
	for _, p := range []netip.Prefix{e.V4, e.V6} {
		if p.IsValid() {
			all = append(all, p.Addr().String())
		}
	}
	return orNone(all)
}

func published(e model.Endpoint) string {
	var all []string
	for _, b := range e.Ports {
		all = append(all, b.String())
	}
	return orNone(all)
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
