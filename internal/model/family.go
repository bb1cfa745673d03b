package model

import "net/netip"

// Family is an address family of the Internet protocol.
type Family uint8

// The two families.
const (
	IPv4 Family = iota
	IPv6
)

// Families returns both families, IPv4 first.
func Families() [2]Family { return [2]Family{IPv4, IPv6} }

// FamilyOf returns the family of a valid address. An IPv4 address inside an IPv6 one
// (RFC 4291, section 2.5.5.2) is of IPv6 here, and Has refuses it.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Other returns the other family.
func (f Family) Other() Family { return 1 - f }

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// Has reports whether an address is of the family. An IPv4 address inside an IPv6 one is
// of neither, and neither is an address with a zone.
func (f Family) Has(a netip.Addr) bool {
	if f == IPv4 {
		return a.Is4()
	}
	return a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// Unspecified returns the address that stands for all of the host's: 0.0.0.0 or [::].
func (f Family) Unspecified() netip.Addr {
	if f == IPv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Subnet returns the network's subnet of a family, to be read or set.
func (n *Network) Subnet(f Family) *Subnet {
	if f == IPv4 {
		return &n.V4
	}
	return &n.V6
}

// Address returns the endpoint's address of a family, to be read or set.
func (e *Endpoint) Address(f Family) *netip.Prefix {
	if f == IPv4 {
		return &e.V4
	}
	return &e.V6
}

// Open returns the published ports that a routed family of the endpoint's network lets
// in, to be read or set.
func (e *Endpoint) Open(f Family) *[]PortSpan {
	if f == IPv4 {
		return &e.OpenV4
	}
	return &e.OpenV6
}

// Target returns the request's target for the host addresses of a family, to be read or
// set.
func (r *PortRequest) Target(f Family) *Target {
	if f == IPv4 {
		return &r.V4
	}
	return &r.V6
}
