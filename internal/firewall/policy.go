// Package firewall says what the packet filter must achieve for the networks and
// published ports of mybr, as values, and what a backend that brings it about offers.
// The backends are in the packages below, each of which renders a Policy in its own
// idiom; package backend opens one by its name.
//
// The seam is here, at the meaning, and not at single rules, because iptables and
// nftables reach the same end in different ways.
//
// Be aware: a Policy says nothing of Docker. That Docker's own bridges are kept
// apart from mybr's, and that the administrator's DOCKER-USER rules come first, is
// for each backend to bring about.
package firewall

import (
	"net/netip"

	"github.com/mybr/mybr/internal/model"
)

// Policy is everything that the packet filter must do. Networks are sorted by
// bridge, Ports by protocol, host address and host port, Openings by bridge, address,
// protocol, port and interface, so that equal policies are deeply equal.
type Policy struct {
	Networks []Network
	Ports    []Port
	Openings []Opening
	Limits   []Limit  // sorted by bridge, address, protocol and port; no two are of one port
	Egress   []Egress // sorted by bridge and address; no two are of one address of a bridge
	Grants   []Grant  // sorted as CompareGrants has it; no two have a port in common
	Process  Process  // where what the Egresses with Names lead to is listened for
	// DefaultDrop are the families in which mybr turned forwarding on: a packet that no
	// rule in the host accepts is not forwarded there, with or without networks.
	DefaultDrop Families
	// DropInDoubt are families of which that can't be told: there the rule stays if it is
	// there, and none is made.
	DropInDoubt Families
	// Untold says that the kernel can't tell of what egress lists refuse: it is dropped, and
	// what would be refused passes, without a word.
	Untold bool
	Accept Mark // what bears this mark passes to and from every network, even an internal one; zero mask: nothing does
}

// Families is a choice of address families.
type Families struct{ V4, V6 bool }

// Has reports whether a family is chosen.
func (s Families) Has(f model.Family) bool {
	if f == model.IPv4 {
		return s.V4
	}
	return s.V6
}

// Mark is a firewall mark and the bits of it that count (iptables-extensions(8), mark).
type Mark struct{ Value, Mask uint32 }

// Network is what one bridge needs.
//
// Always: nothing reaches the bridge's containers from another interface but
// replies, what a published port leads there, and what Direct and the Openings let in;
// the host itself is free to. In a family that is off, nothing passes at all.
type Network struct {
	ID       string // for messages only
	Bridge   string
	Internal bool // nothing passes between this bridge and another interface, in either direction
	ICC      bool // what passes from the bridge back into it is accepted; otherwise dropped
	Limited  bool // there are Limits of it with clients
	Arrivals bool // there are Limits of it with interfaces
	Listed   bool // there are Egresses of it, of which one is without an address
	Names    bool // some of them has Names
	V4, V6   Family
}

// Family is one address family of a network. A zero Prefix: the family is off.
type Family struct {
	Prefix     netip.Prefix
	Masquerade bool       // what leaves by another interface takes the host's address
	SNAT       netip.Addr // that address, where it is fixed
	Hairpin    bool       // the bridge has an address, so what is sent back to the bridge it came from can be masqueraded with it
	Gateway    netip.Addr // the bridge's own address, where Names lead to; zero without Names, or where it has none
	Direct     Direct
	Input      Input
}

// Direct is what reaches containers at their own addresses from other interfaces.
type Direct string

const (
	// DirectNone: nothing. The network has no Openings in this family, and never will
	// have any.
	DirectNone Direct = ""
	// DirectOpenings: what an Opening lets in, and nothing else; nothing that comes from
	// bridges of other networks.
	DirectOpenings Direct = "openings"
	// DirectRouted: that, and ICMP.
	DirectRouted Direct = "routed"
	// DirectAll: everything, save what comes from bridges of other networks, Docker's
	// included.
	DirectAll Direct = "all"
)

// Input is what the host itself takes from a bridge. It stands in for settings below
// /proc/sys/net/ipv6/conf where those can't be written: accept_ra and disable_ipv6
// (ip-sysctl.rst).
type Input string

const (
	// InputAll: everything; the filter has no rule for it.
	InputAll Input = ""
	// InputNoAdvertisements: no router advertisements (ICMPv6 type 134, RFC 4861). Not
	// for IPv4.
	InputNoAdvertisements Input = "no-advertisements"
	// InputNone: nothing of this family.
	InputNone Input = "none"
)

// Port leads host ports to a container on Bridge. Only bindings whose host and
// container addresses are of one family, and whose host address is not a loopback
// address, are here, and none of which the host's own firewall decides who reaches it: the
// process relays the others itself. It relays IPv6 clients
// with link-local addresses (fe80::/10) too, which can't be masqueraded with another.
//
// With ICC false a port is not translated for what comes from Bridge itself: the
// bridge ports are isolated from each other, and the process relays that traffic; or a list says
// what containers may begin to each other (mybr.icc), and the process serves nobody there.
type Port struct {
	Bridge string
	ICC    bool
	Link   string // the host's end of the endpoint's veth pair: the subject of its errors; no rule depends on it
	model.PortBinding
}

// Opening lets packets to ports of a container on Bridge in, at the container's own
// address. The network's family is one of DirectOpenings or DirectRouted.
type Opening struct {
	Bridge string
	Link   string // as a Port's
	Addr   netip.Addr
	model.PortSpan
	From string // the interface that they come from; "": any
}

// Limit keeps others than some clients from ports of a container on Bridge: from other
// interfaces nobody else enters there, translated or not, and nothing that begins at these ports
// goes to anybody else. What comes from Bridge itself is not limited, and neither is the host.
//
// The second half is for connections that have ended because From has changed: the server's next
// packet would begin a flow of its own, of which the client's packets would be the replies.
//
// With Via each packet to the ports has to come by one of these interfaces, whatever its state is:
// a tracked flow does not tell by which interface it began. Where answers leave is for the host's
// routes.
type Limit struct {
	Bridge string
	Link   string // as a Port's
	Addr   netip.Addr
	model.PortSpan
	From model.Clients    // all of the address's family: Via alone counts
	Via  model.Interfaces // "": From alone counts; one of the two does
}

// Family returns one address family of the network.
func (n Network) Family(f model.Family) Family {
	if f == model.IPv4 {
		return n.V4
	}
	return n.V6
}

// Forwards reports whether anything may pass between the network and other interfaces.
func (n Network) Forwards(f model.Family) bool {
	return !n.Internal && n.Family(f).Prefix.IsValid()
}

// TakesOpenings reports whether the Openings say what may enter at the containers' own
// addresses.
func (n Network) TakesOpenings(f model.Family) bool {
	d := n.Family(f).Direct
	return n.Forwards(f) && (d == DirectOpenings || d == DirectRouted)
}

// Unprotected reports whether everything may enter that doesn't come from the bridge of
// another network.
func (n Network) Unprotected(f model.Family) bool {
	return n.Forwards(f) && n.Family(f).Direct == DirectAll
}

// KeepsBridgesOut reports whether something may enter at the containers' own addresses,
// but not from the bridges of other networks.
func (n Network) KeepsBridgesOut(f model.Family) bool {
	return n.Unprotected(f) || n.TakesOpenings(f) && n.Family(f).Direct == DirectOpenings
}

// Decided is the policy with its last drop wanted in a family of which DropInDoubt says that
// it can't be told, if the drop is there: without it the host might be a router for everybody.
func (p Policy) Decided(f model.Family, there bool) Policy {
	if there && p.DropInDoubt.Has(f) {
		p.DefaultDrop.V4 = p.DefaultDrop.V4 || f == model.IPv4
		p.DefaultDrop.V6 = p.DefaultDrop.V6 || f == model.IPv6
	}
	return p
}
