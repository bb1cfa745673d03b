package model

import "net/netip"

// reserved are the ranges in which no host has an address: of IPv4 "this network", loopback,
// multicast (RFC 6890) and the limited broadcast (RFC 919); of IPv6 the unspecified address,
// loopback, multicast (RFC 4291, sections 2.5 and 2.7), and what stands for an IPv4 address.
// The rest of 240.0.0.0/4 is reserved for future use (RFC 1112, section 4), but Linux takes
// it for unicast addresses, and overlay networks are built on it.
var reserved = [...]struct{ prefix, name string }{
	{"0.0.0.0/8", "this network"},
	{"127.0.0.0/8", "loopback"},
	{"224.0.0.0/4", "multicast"},
	{"255.255.255.255/32", "broadcast"},
	{"::/128", "unspecified"},
	{"::1/128", "loopback"},
	{"::ffff:0:0/96", "IPv4-mapped"},
	{"ff00::/8", "multicast"},
}

// linkLocal is the IPv6 subnet that every link has of itself (RFC 4291, section 2.5.6).
var linkLocal = netip.MustParsePrefix("fe80::/64")

// CheckSubnet says why a network can't have a subnet whatever else there is: it overlaps a
// range in which no host has an address, or the link-local subnet. A network may have all of
// that one, as with Docker's own driver, but no part of it and nothing wider: that would hide
// the link-local addresses. The error is ErrInvalid, and its text follows the subnet's.
func CheckSubnet(p netip.Prefix) error {
	for _, r := range reserved {
		if netip.MustParsePrefix(r.prefix).Overlaps(p) {
			return Invalid("overlaps %s (%s), which no host can have addresses of", r.prefix, r.name)
		}
	}
	if p != linkLocal && p.Overlaps(linkLocal) {
		return Invalid("clashes with the Link-Local prefix '%s': want exactly that or nothing of it", linkLocal)
	}
	return nil
}

// VeryWide reports whether an address or a route has so short a prefix that it says nothing
// about any subnet in it. VPNs split their default route, so that it wins over the other
// one: into 0.0.0.0/1 and 128.0.0.0/1, ::/1 and 8000::/1, or 2000::/3. A prefix of all unique
// local addresses (fc00::/7, or the half that is in use, fd00::/8) is one as well: it would
// leave none of them, which are random in order not to meet.
func VeryWide(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() < 4
	}
	return p.Bits() <= 8
}
