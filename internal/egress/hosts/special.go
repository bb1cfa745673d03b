package hosts

import "net/netip"

// Ranges that no host of a network has (IANA's special-purpose address registries, RFC 6890).
// Private ones (RFC 1918, RFC 4193) are not among them: a listed name may be in the LAN.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this host (RFC 791): Linux connects to itself
	netip.MustParsePrefix("127.0.0.0/8"),    // loopback
	netip.MustParsePrefix("169.254.0.0/16"), // link-local: metadata services of clouds, too
	netip.MustParsePrefix("224.0.0.0/3"),    // multicast, reserved, limited broadcast
	netip.MustParsePrefix("::/96"),          // unspecified, loopback, IPv4-compatible
	netip.MustParsePrefix("fe80::/10"),      // link-local
	netip.MustParsePrefix("fec0::/10"),      // site-local, deprecated (RFC 3879)
	netip.MustParsePrefix("ff00::/8"),       // multicast
}

// Prefixes of IPv6 with an IPv4 address in them, and the byte at which it begins.
var embedding = []struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
}

// Never tells the addresses that no listed name can lead to, whoever answers for it: this
// host itself, links, and groups. A name whose answer has one of them points inwards (DNS
// rebinding). An address with a zone, and one that is none, is among them.
func Never(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return true
	}
	a = a.Unmap()
	for _, p := range never {
		if p.Contains(a) {
			return true
		}
	}
	for _, e := range embedding {
		if e.Contains(a) {
			b := a.As16()
			return Never(netip.AddrFrom4([4]byte(b[e.at:])))
		}
	}
	return false
}
