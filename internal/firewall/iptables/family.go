package iptables

import (
	"net/netip"
	"slices"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// family is what one address family has of its own.
type family struct {
	model.Family
	command   string       // what the commands' names begin with
	inUse     string       // lists the legacy tables in use in the namespace of the calling thread
	loopback  netip.Prefix // of the host, relayed by the process and never translated
	linkLocal netip.Prefix // clients whose packets are not translated, since the process serves them; zero: none
	icmp      string       // the protocol's name
	// neighbours are the types of ICMPv6 by which neighbours are found, and found to be there:
	// solicitation and advertisement (RFC 4861). IPv4 has ARP for that, which is not filtered.
	neighbours []string
}

func ipv4() family {
	return family{
		Family:   model.IPv4,
		command:  "iptables",
		inUse:    "/proc/thread-self/net/ip_tables_names",
		loopback: netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
		icmp:     "icmp",
	}
}

func ipv6() family {
	return family{
		Family:    model.IPv6,
		command:   "ip6tables",
		inUse:     "/proc/thread-self/net/ip6_tables_names",
		loopback:  netip.PrefixFrom(netip.IPv6Loopback(), 128),
		linkLocal: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10),
		icmp:      "ipv6-icmp",

		neighbours: []string{"135", "136"},
	}
}

// only is a network without what doesn't matter to the family's rules.
func (fam family) only(n firewall.Network) firewall.Network {
	return firewall.Network{Bridge: n.Bridge, Internal: n.Internal, ICC: n.ICC, Limited: n.Limited, Arrivals: n.Arrivals, Listed: n.Listed, Names: n.Names, V4: n.Family(fam.Family)}
}

// layout is which chains and jumps there are in a family, and what stands in them before
// the rules of networks.
type layout struct {
	networks    bool
	open        bool // something may pass between some network and other interfaces
	closed      bool // nothing may, of some network
	guarded     bool // some network keeps the bridges of others out
	limited     bool // some network has ports that only some clients reach
	arrivals    bool // some has ports that are reached by some interfaces alone
	listed      bool // some network's containers may not begin everything
	names       bool // some may begin what is led to the process
	guards      bool // the process listens, be it for what the other family leads there
	process     firewall.Process
	untold      bool // and nobody is told of what they begin all the same
	input       bool // the host doesn't take everything from some bridge
	defaultDrop bool
	dropInDoubt bool
	accept      firewall.Mark
}

func (fam family) layout(p firewall.Policy) layout {
	l := layout{
		networks: len(p.Networks) > 0,
		open:     slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) }),
		closed:   slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return !n.Forwards(fam.Family) }),
		guarded:  slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.KeepsBridgesOut(fam.Family) }),
		limited:  slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) && n.Limited }),
		arrivals: slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) && n.Arrivals }),
		listed:   slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Listed }),
		untold:   p.Untold,
		input: slices.ContainsFunc(p.Networks, func(n firewall.Network) bool {
			return n.Listed || n.Family(fam.Family).Input != firewall.InputAll
		}),
		names:       slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Leads(fam.Family) }),
		guards:      slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Names }),
		defaultDrop: p.DefaultDrop.Has(fam.Family),
		dropInDoubt: p.DropInDoubt.Has(fam.Family),
		accept:      p.Accept,
	}
	if l.guards {
		l.process = p.Process
	}
	return l
}

// dropped reports whether what no rule has accepted is dropped in some variant.
func dropped(all []found) bool {
	return slices.ContainsFunc(all, func(f found) bool { _, ok := f.chain("filter", chainForwardDrop); return ok })
}
