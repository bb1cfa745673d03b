package nftables

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/firewall"
	"github.com/mybr/mybr/internal/model"
)

// family is what one address family has of its own.
type family struct {
	model.Family
	word      string // as nft(8) has it: of the table, and of addresses
	own       string // the name of mybr's table
	table     nftables.TableFamily
	number    uint32 // NFPROTO_… of linux/netfilter.h
	address   kind
	source    uint32       // where a packet's source address is in its header (RFC 791, RFC 8200)
	loopback  netip.Prefix // of the host, relayed by the process and never translated
	linkLocal netip.Prefix // clients whose packets are not translated, since the process serves them; zero: none
	icmp      string       // the protocol's name, and its number
	icmpProto byte
}

func ipv4() family {
	return family{
		Family:    model.IPv4,
		word:      "ip",
		own:       tableName,
		table:     nftables.TableFamilyIPv4,
		number:    unix.NFPROTO_IPV4,
		address:   addressKind(nftables.TypeIPAddr, 4),
		source:    12,
		loopback:  netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
		icmp:      "icmp",
		icmpProto: unix.IPPROTO_ICMP,
	}
}

func ipv6() family {
	return family{
		Family:    model.IPv6,
		word:      "ip6",
		own:       tableName,
		table:     nftables.TableFamilyIPv6,
		number:    unix.NFPROTO_IPV6,
		address:   addressKind(nftables.TypeIP6Addr, 16),
		source:    8,
		loopback:  netip.PrefixFrom(netip.IPv6Loopback(), 128),
		linkLocal: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10),
		icmp:      "ipv6-icmp",
		icmpProto: unix.IPPROTO_ICMPV6,
	}
}

// name is the table's, with the family in front, as commands have it.
func (fam family) name() string { return fam.word + " " + fam.own }

// layout is what the rules themselves depend on. Everything else is elements of sets.
type layout struct {
	networks bool
	input    bool          // the host doesn't take everything from some bridge
	last     bool          // what nobody has accepted is dropped here, for iptables has no table where it could be
	beside   bool          // iptables has a table that must be told what may pass
	limited  bool          // some network has ports that only some clients reach
	arrivals bool          // some has ports that are reached by some interfaces alone
	listed   bool          // some network's containers may not begin everything
	names    bool          // some may begin what is led to the process
	untold   bool          // and nobody is told of what they begin all the same
	process  bool          // the process listens, be it for what the other family leads there
	accept   firewall.Mark // the administrator's
}

// layout of a policy in the family, on a host of which that is known.
func (fam family) layout(p firewall.Policy, beside bool) layout {
	return layout{
		networks: len(p.Networks) > 0,
		input: slices.ContainsFunc(p.Networks, func(n firewall.Network) bool {
			return n.Listed || n.Family(fam.Family).Input != firewall.InputAll
		}),
		listed:   slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Listed }),
		names:    slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Leads(fam.Family) }),
		untold:   p.Untold,
		process:  slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Names }),
		last:     p.DefaultDrop.Has(fam.Family) && !beside,
		beside:   beside && len(p.Networks) > 0,
		limited:  slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) && n.Limited }),
		arrivals: slices.ContainsFunc(p.Networks, func(n firewall.Network) bool { return n.Forwards(fam.Family) && n.Arrivals }),
		accept:   p.Accept,
	}
}

// none reports whether nothing at all is needed.
func (l layout) none() bool { return !l.networks && !l.last }
