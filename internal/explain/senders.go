package explain

import (
	"fmt"
	"net/netip"
	"slices"
)

// SendersTable is the table, of the family "bridge", in which mybr has who may send from where
// (mybr.spoof). It is evaluated for the packets that can be asked about: what else it looks into,
// such as ARP, comes from the kernel of a namespace, with its own MAC.
const (
	SendersTable  = "mybr-spoof"
	sendersFamily = "bridge"
)

// The ports that servers of DHCP and DHCPv6 answer from, and those of their clients, which the
// table looks at, too.
const (
	dhcpServer  = 67
	dhcpClient  = 68
	dhcp6Client = 546
	dhcp6Server = 547
)

// sends has a packet pass the check of what a port may send.
func (k *walker) sends(s *Space, port *Link, p *Packet) *outcome {
	may, checked := s.Senders[port.Name]
	if !checked {
		return nil
	}
	table := fmt.Sprintf("the nf_tables table %s %s of %s", sendersFamily, SendersTable, s.Name)
	if p.Proto == UDP && (p.Sport == dhcpServer || p.Sport == dhcp6Server || p.Dport == dhcpClient || p.Dport == dhcp6Client) {
		return &outcome{verdict: Unknown, reason: fmt.Sprintf("%s may drop it: it has the ports of a DHCP server's answer", table)}
	}
	src := p.Src.WithZone("")
	if slices.ContainsFunc(may, func(of netip.Prefix) bool { return of.Contains(src) }) {
		return nil
	}
	o := dead("%s drops it: port %s may not send from %s (mybr.spoof)", table, port.Name, src)
	k.step(s, AtRule, o.reason)
	return &o
}
