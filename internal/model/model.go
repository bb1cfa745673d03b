// Package model holds what mybr remembers: networks, endpoints, port bindings,
// address pools and leases, as plain values.
//
// A record is at once what the store keeps, what the reconciler renders and what
// tests write by hand, so every field is exported, comparable with
// reflect.DeepEqual, and survives a round trip through encoding/json.
//
// Be aware: nothing here talks to the kernel, to Docker or to the disk, and the
// package imports the standard library only. Whether a record fits beside the
// others (a taken bridge name, an overlapping subnet) is the driver's question.
package model

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address of 48 bits. The zero value means "none".
type MAC [6]byte

// ParseMAC reads a 48-bit address in any form that net.ParseMAC takes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%w MAC address %q", ErrInvalid, s)
	}
	return MAC(hw), nil
}

// IsZero reports whether no address is set.
func (m MAC) IsZero() bool { return m == MAC{} }

// HardwareAddr returns the address as the net package has it.
func (m MAC) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(m[:]) }

// String returns the address as six hexadecimal pairs, or "" for none.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return m.HardwareAddr().String()
}

// MarshalText makes the address a JSON string.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// Network is one Docker network of this driver.
type Network struct {
	ID     string // Docker's network ID
	Bridge string // the bridge's name, at most 15 bytes (IFNAMSIZ-1)
	Owned  bool   // mybr made the bridge, so it may delete it

	BridgeMAC   MAC        // the bridge's own address, kept over reboots; zero when not Owned
	MTU         int        // of the bridge and both veth ends, in bytes; 0: the kernel's default
	Internal    bool       // no way out, no way in but from the host
	ICC         bool       // containers of the network may talk to each other, unless ICCList or ICCSet says otherwise
	IfacePrefix string     // the container's interface is this and a number; Docker's default is "eth"
	HostBinding netip.Addr // where ports are published that name no address; zero: everywhere, both families
	Routes      []Route    // static routes given to each container
	NoAnnounce  bool       // the addresses of new containers are not announced on the link
	Trusted     []string   // host interfaces from which published ports can be reached at the containers' own addresses
	Engine      string     // the process of the Docker Engine that used the network last, as driver.WithEngine has it; "": not known

	From    []Limit `json:",omitempty"` // who reaches published ports, as given when the network was created; sorted
	FromSet []Limit `json:",omitempty"` // as set since

	Policy    string `json:",omitempty"` // PublishOpen or PublishHost, as given when the network was created; "": as the process was started
	PolicySet string `json:",omitempty"` // as set since

	Spoof     Spoof  `json:",omitzero"`  // whether its ports send from their own addresses alone, as given when it was created
	SpoofSet  Spoof  `json:",omitzero"`  // as set since
	Egress    string `json:",omitempty"` // what containers may begin connections to, as given at the creation and as package egress writes it; "": everything
	EgressSet string `json:",omitempty"` // as set since
	ICCList   string `json:",omitempty"` // what containers may begin connections to each other, as given at the creation: ICCAll, ICCNone, or as package icc writes it; "": as ICC says
	ICCSet    string `json:",omitempty"` // as set since

	EgressMode    string `json:",omitempty"` // whether that is enforced: EgressEnforce or EgressAudit, as given at the creation; "": it is
	EgressModeSet string `json:",omitempty"` // as set since

	V4, V6 Subnet
}

// Translates reports whether the packet filter leads the traffic of a binding to the
// container, unless the host's firewall decides about it (ByHost); otherwise the process carries it. The kernel does not route to or from
// 127.0.0.0/8 over other interfaces (route_localnet in ip-sysctl), and NAT does not change
// the address family.
func (n Network) Translates(b PortBinding) bool {
	host := b.Host.Addr()
	return !n.Internal && !host.IsLoopback() && host.Is4() == b.Container.Addr().Is4()
}

// Mode says how the containers of one address family are reached from outside and go
// there (Docker's gateway modes, docs.docker.com, "Bridge network driver").
type Mode string

// The modes. The zero value is Docker's "nat".
const (
	// ModeNAT: only replies and what a published port leads there come in; what leaves
	// can take the host's address.
	ModeNAT Mode = ""
	// ModeNATUnprotected is ModeNAT, but every port can be reached at the container's own
	// address, save from other bridge networks.
	ModeNATUnprotected Mode = "nat-unprotected"
	// ModeRouted: no translation; the published ports, and ICMP, can be reached at the
	// container's own address.
	ModeRouted Mode = "routed"
	// ModeIsolated: the bridge has no address; for internal networks only.
	ModeIsolated Mode = "isolated"
)

// Route is a static route inside the containers of a network.
type Route struct {
	Destination netip.Prefix
	NextHop     netip.Addr // zero: the destination is on the link
}

// Subnet is one address family of a network.
type Subnet struct {
	Prefix      netip.Prefix // zero: the family is off
	Gateway     netip.Addr   // the containers' default route; zero: none
	Address     netip.Prefix // on the bridge, with the subnet's length; zero: none (inhibit_ipv4)
	AddressKept bool         // Address was on the bridge before mybr used it, so it stays when the network goes
	Masquerade  bool         // what leaves the network takes the host's address
	SNAT        netip.Addr   // that address, where it is fixed; zero: that of the interface it leaves by
	Space       string       // the address space that IPAM took Prefix from; "" if Docker did not say
	Mode        Mode         // how its containers are reached
}

// Endpoint is one attachment of a container to a network.
type Endpoint struct {
	ID        string // Docker's endpoint ID
	NetworkID string
	MAC       MAC          // the container's end of the veth pair
	MACGiven  bool         // Docker named the MAC, so it isn't told it
	V4, V6    netip.Prefix // addresses with the subnets' lengths; zero: none
	Sandbox   string       // Docker's sandbox key; "" until Join and after Leave
	Ports     []PortBinding
	OpenV4    []PortSpan // published ports of a container that joined a network which is routed in that family
	OpenV6    []PortSpan

	// Wanted is all that the endpoint would publish if its sandbox had no other endpoint,
	// if that is more than Ports: another one that was asked to publish the same has the
	// rest, until it goes.
	Wanted []PortRequest

	// Added is what an operator has published while the container runs, beside what Docker asked
	// for: of Ports, as long as the endpoint publishes any, and of OpenV4 and OpenV6, as bindings
	// without a host address. Removed is what an operator has taken away of what Docker asked for.
	// Docker knows of neither, so what it asks for again is changed accordingly.
	Added   []PortBinding `json:",omitempty"`
	Removed []PortBinding `json:",omitempty"`

	From    []Limit `json:",omitempty"` // who reaches its published ports, as given when it was created; sorted
	FromSet []Limit `json:",omitempty"` // as set since

	Policy    string `json:",omitempty"` // PublishOpen or PublishHost, as given when it was created; "": as its network says
	PolicySet string `json:",omitempty"` // as set since

	Spoof     Spoof  `json:",omitzero"`  // what else its port may send, as given when it was created
	SpoofSet  Spoof  `json:",omitzero"`  // as set since
	Egress    string `json:",omitempty"` // what its container may begin connections to, as given when it was created; "": what the network says
	EgressSet string `json:",omitempty"` // as set since
	Group     string `json:",omitempty"` // the groups that a network's list is about, as given when it was created and as package icc writes them; "": none
	GroupSet  string `json:",omitempty"` // as set since

	EgressMode    string `json:",omitempty"` // whether that is enforced, as given when it was created; "": what the network says
	EgressModeSet string `json:",omitempty"` // as set since
}

// PortOwner is who holds the endpoint's host ports: its sandbox, whose endpoints Docker
// may ask to publish the same.
func (e *Endpoint) PortOwner() string {
	if e.Sandbox != "" {
		return e.Sandbox
	}
	return e.ID
}

// PortSpan is Count consecutive ports of a container.
type PortSpan struct {
	Proto Proto
	First uint16
	Count uint16 // at least 1
}

// HostIface is the name of the host's end of the endpoint's veth pair: a function
// of the endpoint's ID, so that nothing has to be remembered to find it.
func (e Endpoint) HostIface() string { return "veth" + short(e.ID) }

// CompareIface compares two endpoints' HostIface, without writing them out.
func (e *Endpoint) CompareIface(o *Endpoint) int { return cmp.Compare(short(e.ID), short(o.ID)) }

// PeerIface is the name that the container's end has until Docker moves it into
// the sandbox, and again after Docker has moved it back.
func (e Endpoint) PeerIface() string { return "veth" + short(e.ID) + "c" }

// short returns the first ten characters of an ID (40 bits of Docker's random hex).
func short(id string) string {
	if len(id) < 10 {
		id += hex.EncodeToString([]byte("mybr-short"))
	}
	return id[:10]
}

// Proto is an IP protocol number, as Docker sends it (IANA protocol numbers).
type Proto uint8

// The protocols whose ports can be published.
const (
	TCP  Proto = 6
	UDP  Proto = 17
	SCTP Proto = 132
)

// String returns the protocol's lower-case name.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Carried reports whether the process can carry a protocol's ports, and not only rules lead there.
func (p Proto) Carried() bool { return p != SCTP }

// PortBinding publishes Count consecutive ports of a container on as many
// consecutive host ports: host port Host.Port()+i leads to Container.Port()+i.
type PortBinding struct {
	Proto     Proto
	Host      netip.AddrPort // 0.0.0.0 or ::, or one address of the host; the first port. Zero, in Added and Removed: none (routed)
	Container netip.AddrPort // the first port
	Count     uint16         // at least 1
}

// Last returns the last host port of the binding.
func (b PortBinding) Last() uint16 { return b.Host.Port() + b.Count - 1 }

// String returns the binding as `tcp 0.0.0.0:8000-8009 -> 172.18.0.2:80-89`, and what is reached
// without a port of the host as `tcp 172.18.0.2:80-89`.
func (b PortBinding) String() string {
	span := func(ap netip.AddrPort) string {
		if b.Count <= 1 {
			return ap.String()
		}
		return fmt.Sprintf("%s-%d", ap, int(ap.Port())+int(b.Count)-1)
	}
	if !b.Host.IsValid() {
		return b.Proto.String() + " " + span(b.Container)
	}
	return b.Proto.String() + " " + span(b.Host) + " -> " + span(b.Container)
}

// PortRequest is one port of a container that is to be published: with one number for
// both of its targets.
type PortRequest struct {
	Proto Proto
	First uint16 // the host ports to choose from, of which the first that is free is taken;
	Last  uint16 // both 0: any of net.ipv4.ip_local_port_range

	// V4 and V6 are the targets of addresses of the host of either family. At least one is
	// wanted. Where both are, V6 is given up on a host without IPv6.
	V4, V6 Target
}

// Target is where at the host a port is published, and where that leads: the families of
// the two addresses may differ.
type Target struct {
	Host      netip.Addr     // 0.0.0.0 or ::, or one address of the host; zero: this target is not wanted
	Container netip.AddrPort // the container's address and port
}

// Compare orders targets by the host's address, then by where they lead.
func (t Target) Compare(o Target) int {
	return cmp.Or(t.Host.Compare(o.Host), t.Container.Compare(o.Container))
}

// Wanted reports whether there is such a target.
func (t Target) Wanted() bool { return t.Host.IsValid() }

// Snapshot is everything the host must be made to match, sorted by ID.
//
// Endpoints are as many as there are containers, and each call makes a new snapshot: so two that
// follow each other share the records that are the same in both. Nobody writes to a record through
// these pointers: who changes one changes a copy (Clone), and makes a list that has that instead.
type Snapshot struct {
	Networks  []Network
	Endpoints []*Endpoint
	Lists     []List // by name
}

// Pool is a range of addresses that the IPAM driver hands out one by one.
type Pool struct {
	ID     string       // unique among the pools that are held
	Space  string       // address space
	Prefix netip.Prefix // the whole subnet
	Sub    netip.Prefix // addresses are chosen from this part of it; zero: from all of it
	Last   netip.Addr   // the address chosen last, so that the next search starts behind it

	Released bool `json:",omitempty"` // Docker has released it, but its network is there still
}

// LeaseKind says what an address was leased for.
type LeaseKind string

// The kinds of lease: Docker marks gateways; it gives a MAC for endpoints; what
// has neither is an auxiliary address.
const (
	LeaseGateway  LeaseKind = "gateway"
	LeaseAux      LeaseKind = "aux"
	LeaseEndpoint LeaseKind = "endpoint"

	LeaseResting LeaseKind = "resting" // nobody's: it was released, and is not to be used again yet
)

// Lease is one address of a pool that is in use, or rests.
type Lease struct {
	Addr netip.Addr
	Kind LeaseKind
	MAC  MAC // of the endpoint that holds it; zero: none was given

	Named bool  `json:",omitempty"` // an endpoint was to have this one and no other (docker run --ip)
	Freed int64 `json:",omitempty"` // when it was released, in ns since 1970; 0: it is in use
}
