package firewall

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/mybr/mybr/internal/egress"
	"github.com/mybr/mybr/internal/model"
)

// Process is the host's ports at which mybr's own process listens, at whatever address, for what
// containers begin whose list has host names. Nobody reaches them who was not led there. Zero: it
// listens nowhere, and what would be led there is dropped as everything else that is not listed.
type Process struct {
	DNS uint16 // UDP and TCP
	TCP uint16 // connections at the ports that Egress.Carried has
}

// Grant lets the container with an address begin flows through the host to another one, as if its
// list had that: DNS has given the address for a host name that is listed. It does not count where
// the container's list has no names, and not for what is sent to the host itself.
type Grant struct {
	Bridge string
	Link   string      // as a Port's
	Addr   netip.Addr  // the container's
	To     netip.Addr  // of the same family
	Proto  model.Proto // ICMP is that of the family
	First  uint16      // the ports; 0: all, and what has none
	Last   uint16
}

// Leads reports whether something that begins in the network may be led to the process.
func (n Network) Leads(f model.Family) bool {
	return n.Names && n.Family(f).Prefix.IsValid() && n.Family(f).Gateway.IsValid()
}

// validGrant refuses what would not do what it says.
func validGrant(n Network, g Grant) error {
	f := model.FamilyOf(g.Addr)
	s := n.Family(f)
	switch {
	case !n.Names:
		return fmt.Errorf("%w: the network %s has no names", model.ErrInvalid, n.ID)
	case !f.Has(g.Addr) || !f.Has(g.To):
		return fmt.Errorf("to %s: %w: both addresses must be IPv4 addresses, or both IPv6 addresses", g.To, model.ErrInvalid)
	case !s.Prefix.IsValid() || !s.Prefix.Contains(g.Addr):
		return fmt.Errorf("%w: the network's subnet is %s", model.ErrInvalid, subnet(s.Prefix))
	case g.Proto == 0:
		return fmt.Errorf("to %s: %w: there is no protocol", g.To, model.ErrInvalid)
	case g.First > g.Last || g.First == 0 && g.Last != 0:
		return fmt.Errorf("to %s, ports %d to %d: %w: ports are numbers from 1 to 65535", g.To, g.First, g.Last, model.ErrInvalid)
	case g.First != 0 && g.Proto == egress.ICMP:
		return fmt.Errorf("to %s: %w: ICMP has no ports", g.To, model.ErrInvalid)
	}
	return nil
}

// overlaps reports whether a grant has something of another one, of which it is the last before
// that in their order.
func (g Grant) overlaps(next Grant) bool {
	return g.Bridge == next.Bridge && g.Addr == next.Addr && g.To == next.To && g.Proto == next.Proto &&
		(g.First == 0 || next.First <= g.Last)
}

// CompareGrants is the order of a policy's grants.
func CompareGrants(a, b *Grant) int {
	return cmp.Or(cmp.Compare(a.Bridge, b.Bridge), a.Addr.Compare(b.Addr), a.To.Compare(b.To), cmp.Compare(a.Proto, b.Proto),
		cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last), cmp.Compare(a.Link, b.Link))
}
