// Package firewall says what the packet filter must achieve for the networks and
// published ports of mybr, as values. The folders below it are the backends, each
// of which renders a Policy in its own idiom.
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
	// Closed are the families that mybr alone has the host forward: what no rule of anybody's
	// accepts is not forwarded, with or without networks.
	Closed Families
	Accept Mark // what bears this mark passes to and from every network, even an internal one; zero mask: nothing does
}

// Families is a choice of address families.
type Families struct{ V4, V6 bool }

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
	V4, V6   Family
}

// Family is one address family of a network. A zero Prefix: the family is off.
type Family struct {
	Prefix     netip.Prefix
	Masquerade bool       // what leaves by another interface takes the host's address
	SNAT       netip.Addr // that address, where it is fixed
	Hairpin    bool       // the bridge has an address, so what is sent back to the bridge it came from can be masqueraded with it
	Direct     Direct
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
	// included where Docker keeps a list of them.
	DirectAll Direct = "all"
)

// Port leads host ports to a container on Bridge. Only bindings whose host and
// container addresses are of one family, and whose host address is not a loopback
// address, are here: the process carries the others itself. It carries IPv6 clients
// with link-local addresses (fe80::/10) too, which can't be masqueraded with another.
//
// With ICC false a port is not translated for what comes from Bridge itself: the
// bridge ports are isolated from each other, and the process carries that traffic.
type Port struct {
	Bridge string
	ICC    bool
	model.PortBinding
}

// Opening lets packets to ports of a container on Bridge in, at the container's own
// address. The network's family is one of DirectOpenings or DirectRouted.
type Opening struct {
	Bridge string
	Addr   netip.Addr
	model.PortSpan
	From string // the interface that they come from; "": any
}
