package iptables

import (
	"net/netip"

	"github.com/mybr/mybr/internal/firewall"
)

// family is what one address family has of its own.
type family struct {
	name     string
	command  string // what the commands' names begin with
	inUse    string // lists the legacy tables in use in the namespace of the calling thread
	of       func(firewall.Network) firewall.Family
	shut     func(firewall.Policy) bool // nothing is forwarded that no rule accepts
	owns     func(netip.Addr) bool
	loopback netip.Prefix // of the host, carried by the process and never translated
	clients  netip.Prefix // those whose packets are not translated, since the process serves them; zero: none
	icmp     string       // the protocol's name
}

func ipv4() family {
	return family{
		name:     "IPv4",
		command:  "iptables",
		inUse:    "/proc/thread-self/net/ip_tables_names",
		of:       func(n firewall.Network) firewall.Family { return n.V4 },
		shut:     func(p firewall.Policy) bool { return p.Closed.V4 },
		owns:     netip.Addr.Is4,
		loopback: netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
		icmp:     "icmp",
	}
}

func ipv6() family {
	return family{
		name:     "IPv6",
		command:  "ip6tables",
		inUse:    "/proc/thread-self/net/ip6_tables_names",
		of:       func(n firewall.Network) firewall.Family { return n.V6 },
		shut:     func(p firewall.Policy) bool { return p.Closed.V6 },
		owns:     func(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" },
		loopback: netip.PrefixFrom(netip.IPv6Loopback(), 128),
		clients:  netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10),
		icmp:     "ipv6-icmp",
	}
}

func (fam family) String() string { return fam.name }

// only is a network without what doesn't matter to the family's rules.
func (fam family) only(n firewall.Network) firewall.Network {
	out := firewall.Network{Bridge: n.Bridge, Internal: n.Internal, ICC: n.ICC}
	out.V4 = fam.of(n)
	return out
}

// closed reports whether nothing passes between the network and other interfaces.
func (fam family) closed(n firewall.Network) bool {
	return n.Internal || !fam.of(n).Prefix.IsValid()
}

// unprotected reports whether the network lets in what comes from anywhere but the
// bridges of other networks.
func (fam family) unprotected(n firewall.Network) bool {
	return !fam.closed(n) && fam.of(n).Direct == firewall.DirectAll
}

// aloof reports whether the network lets in what comes from outside, all of it or what
// is listed, and still nothing from the bridges of other networks.
func (fam family) aloof(n firewall.Network) bool {
	return fam.unprotected(n) || fam.choosy(n) && fam.of(n).Direct == firewall.DirectOpenings
}

// choosy reports whether the network lets in what is listed in MYBR-DIRECT.
func (fam family) choosy(n firewall.Network) bool {
	d := fam.of(n).Direct
	return !fam.closed(n) && (d == firewall.DirectOpenings || d == firewall.DirectRouted)
}
